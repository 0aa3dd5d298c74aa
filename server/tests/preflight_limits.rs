//! Low limits, missing privileges and a seccomp filter: each is named with its remedy, and nothing panics.
//!
//! Each test runs its body in a process of its own, so that limits, privileges and filters stay there.

use std::collections::BTreeMap;
use std::process::Command;

use ringkeeper_server::preflight::limits::{LOCKED_BYTES_PER_SHARD, ensure_locked_memory, raise_open_files};
use ringkeeper_server::preflight::uring::{self, UringError};
use ringkeeper_server::preflight::{data_dir, limits};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

const CHILD: &str = "RINGKEEPER_TEST_CHILD";

/// Runs `body` in a child process: this test binary again, with only the test `name`.
fn in_a_process_of_its_own(name: &str, body: impl FnOnce()) {
    if std::env::var_os(CHILD).is_some() {
        return body();
    }
    let binary = std::env::current_exe().expect("this test's binary");
    let output = Command::new(binary).args([name, "--exact", "--nocapture"]).env(CHILD, "1").output().expect("spawned");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

/// Gives up every privilege of this thread: limits cannot be raised past the hard one, file modes hold.
fn become_ordinary() {
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none }).expect("dropped");
}

fn set(resource: Resource, soft: u64, hard: u64) {
    setrlimit(resource, Rlimit { current: Some(soft), maximum: Some(hard) }).expect("lowered");
}

#[test]
fn too_little_lockable_memory_is_named_with_its_remedy() {
    in_a_process_of_its_own("too_little_lockable_memory_is_named_with_its_remedy", || {
        become_ordinary();
        set(Resource::Memlock, 64 * 1024, 64 * 1024);
        let text = ensure_locked_memory(2).expect_err("64 KiB are too little").to_string();
        for needle in
            ["64 KiB", "2 shard(s) need 1024 KiB", "ulimit -l 1024", "LimitMEMLOCK=1024K", "--ulimit memlock="]
        {
            assert!(text.contains(needle), "{needle} is missing in: {text}");
        }
    });
}

#[test]
fn the_soft_limit_of_lockable_memory_is_raised_to_the_hard_one() {
    in_a_process_of_its_own("the_soft_limit_of_lockable_memory_is_raised_to_the_hard_one", || {
        become_ordinary();
        set(Resource::Memlock, 64 * 1024, 2 * LOCKED_BYTES_PER_SHARD);
        ensure_locked_memory(2).expect("the hard limit is enough");
        assert_eq!(getrlimit(Resource::Memlock).current, Some(2 * LOCKED_BYTES_PER_SHARD));
        ensure_locked_memory(3).expect_err("and no more than that");
    });
}

#[test]
fn open_files_are_raised_and_what_is_still_missing_is_a_warning() {
    in_a_process_of_its_own("open_files_are_raised_and_what_is_still_missing_is_a_warning", || {
        become_ordinary();
        set(Resource::Nofile, 256, 5_000);
        let mut warnings = Vec::new();
        assert_eq!(raise_open_files(Some(1_000), &mut warnings), 5_000);
        assert_eq!(getrlimit(Resource::Nofile).current, Some(5_000));
        assert!(warnings.is_empty(), "{warnings:?}");
        raise_open_files(Some(10_000), &mut warnings);
        let need = 10_000 + limits::OPEN_FILES_RESERVE;
        assert!(warnings.iter().any(|w| w.contains(&format!("maxCnxns=10000 needs {need}"))), "{warnings:?}");
        set(Resource::Nofile, 1_024, 1_024);
        warnings.clear();
        raise_open_files(None, &mut warnings);
        assert!(warnings.iter().any(|w| w.contains("a server should have 4096")), "{warnings:?}");
    });
}

#[test]
fn a_directory_that_cannot_be_written_to_is_named() {
    in_a_process_of_its_own("a_directory_that_cannot_be_written_to_is_named", || {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mode = |bits| std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(bits)).expect("mode");
        mode(0o555);
        become_ordinary();
        let text = data_dir::prepare("dataDir", dir.path(), true).expect_err("read-only").to_string();
        assert!(text.contains("dataDir: cannot write") && text.contains("owner and mode"), "{text}");
        let below = dir.path().join("x");
        let text = data_dir::prepare("dataDir", &below, true).expect_err("cannot be created").to_string();
        assert!(text.contains("cannot be created"), "{text}");
        mode(0o755);
    });
}

#[test]
fn each_io_uring_call_that_seccomp_refuses_is_named() {
    for (name, errno, call) in [
        ("setup", libc::EPERM, libc::SYS_io_uring_setup),
        ("register", libc::EPERM, libc::SYS_io_uring_register),
        ("absent", libc::ENOSYS, libc::SYS_io_uring_setup),
    ] {
        refuse(name, errno, call);
    }
}

/// Refuses one call in a thread of its own, on which alone the filter holds, and probes there.
fn refuse(name: &str, errno: i32, call: i64) {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
    let action = SeccompAction::Errno(u32::try_from(errno).expect("an errno"));
    let arch = std::env::consts::ARCH.try_into().expect("a known architecture");
    let rules = BTreeMap::from([(call, Vec::new())]);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, arch).expect("a filter");
    let program: BpfProgram = filter.try_into().expect("a program");
    let outcome = std::thread::spawn(move || {
        seccompiler::apply_filter(&program).expect("the filter holds");
        uring::probe()
    });
    match (name, outcome.join().expect("no panic").expect_err("refused")) {
        ("setup", UringError::Forbidden { call: "io_uring_setup", .. }) => {}
        ("register", UringError::Forbidden { call: "io_uring_register", .. }) => {}
        ("absent", UringError::Absent) => {}
        (name, other) => panic!("{name}: {other}"),
    }
}

#[test]
fn this_machine_passes() {
    uring::probe().expect("io_uring works where the tests run");
}
