//! System calls that the kernel refuses, as a container's seccomp profile or a kernel without a feature does.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;

/// From here on these system calls fail with `errno` on this thread, and in the processes that it starts: all of them, or those with
/// this first argument.
///
/// # Panics
/// If the kernel takes no filter.
pub fn refuse_calls(calls: &[(i64, Option<i32>)], errno: i32) {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for &(call, first) in calls {
        let rules = rules.entry(call).or_default();
        if let Some(first) = first {
            let value = u64::try_from(first).expect("an argument that is not negative");
            let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value);
            rules.push(SeccompRule::new(vec![condition.expect("a condition")]).expect("a rule"));
        }
    }
    let action = SeccompAction::Errno(u32::try_from(errno).expect("an errno"));
    let arch = std::env::consts::ARCH.try_into().expect("a known architecture");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, arch).expect("a filter");
    let program: BpfProgram = filter.try_into().expect("a program");
    seccompiler::apply_filter(&program).expect("the filter holds");
}
