//! Starts named threads, pinned to a CPU where asked. A CPU that cannot be had is logged and not fatal: the work runs all the same.

use std::thread::{Builder, JoinHandle};

use super::Error;

/// Runs `f` on a new thread called `name` (the kernel shows its first 15 bytes), pinned to `cpu` if given.
///
/// # Errors
/// [`Error::Thread`] if the kernel gives no thread.
pub fn spawn_pinned<T: Send + 'static>(
    name: &str,
    cpu: Option<usize>,
    f: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Error> {
    let label = name.to_owned();
    Builder::new()
        .name(label.clone())
        .spawn(move || {
            if let Some(id) = cpu
                && !core_affinity::set_for_current(core_affinity::CoreId { id })
            {
                tracing::warn!(thread = label, cpu = id, "cannot pin the thread to this CPU; it runs unpinned");
            }
            f()
        })
        .map_err(|source| Error::Thread { name: name.to_owned(), source })
}

/// Puts the calling thread behind those that answer requests: it is nicer by `by` than it was, and its turns on a processor are short.
///
/// The kernel lets a turn go on for milliseconds, however small the thread's share and whoever wakes meanwhile. Where requests and such a thread share a
/// processor, it would take a turn in each gap between two requests. Linux 6.12 and later take a thread's word for the length of its turns;
/// earlier ones ignore it. Where any of it is not allowed, the thread runs like everybody.
pub fn step_back(by: i32) {
    // The attributes name a nice value too: a lower one than the thread's would have all of them refused.
    let Ok(nice) = rustix::process::nice(by) else { return };
    let attributes = libc::sched_attr {
        size: u32::try_from(size_of::<libc::sched_attr>()).unwrap_or(0),
        sched_policy: 0,
        sched_flags: u64::from(libc::SCHED_FLAG_KEEP_POLICY.unsigned_abs()),
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: TURN_NS,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel reads `size` bytes of the attributes, which live through the call; 0 is the calling thread.
    #[expect(unsafe_code, reason = "rustix has no such call")]
    let _best_effort = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, std::ptr::from_ref(&attributes), 0_u32) };
}

/// The shortest turn that the kernel grants.
const TURN_NS: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_steps_back_is_nicer_and_has_short_turns() {
        let (before, stat, schedule) = std::thread::spawn(|| {
            // As in a process that was started with `nice`.
            let before = rustix::process::nice(3).unwrap();
            step_back(7);
            let own = |name| std::fs::read_to_string(format!("/proc/thread-self/{name}")).unwrap_or_default();
            (before, own("stat"), own("sched"))
        })
        .join()
        .unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        // 10, unless the tests themselves run nicer.
        assert!(before >= 3, "{before}");
        assert_eq!(fields.get(16), Some(&(before + 7).min(19).to_string().as_str()), "{stat}");
        // Kernels that can are to do it; not every one says so.
        if let Some(line) = schedule.lines().find(|line| line.starts_with("se.slice")) {
            assert!(line.ends_with("100000"), "{line}");
        }
    }

    #[test]
    fn a_pinned_thread_sees_only_its_cpu() {
        let first = core_affinity::get_core_ids().unwrap()[0].id;
        let seen =
            spawn_pinned("pinned", Some(first), || core_affinity::get_core_ids().unwrap()).unwrap().join().unwrap();
        assert_eq!(seen.iter().map(|core| core.id).collect::<Vec<_>>(), [first]);
    }

    #[test]
    fn a_cpu_that_does_not_exist_leaves_the_thread_running() {
        assert_eq!(spawn_pinned("unpinned", Some(1023), || 7).unwrap().join().unwrap(), 7);
    }
}
