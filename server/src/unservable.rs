//! The end of the process where a reader met damage in the image in use, told as what it is: a bad disk, and no bug of ours.
//!
//! Owns the process's panic hook. The tree panics where it would have to serve what is damaged ([`engine::tree::UNSERVABLE`]): the reader stands
//! under the lock, and there is nothing right to go on with. The hook says so in the server's words, with file, offset and zxid, and
//! ends the process with the code that a fault on a mapped page has. Every other panic is told as it was, and ends the process, too: in the profile `ci`
//! as in `release`, which does not unwind. It must never let anything run on behind a panic. `tests/tests/damage/rot.rs` and the test below would catch a mistake.
#![forbid(unsafe_code)]

use engine::tree::UNSERVABLE;

/// Installs the hook, before that of the standard library.
pub fn name_it() {
    let former = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        match panic.payload_as_str().filter(|why| why.starts_with(UNSERVABLE)) {
            Some(why) => {
                tracing::error!("{why}");
                let line = format!("ringkeeper: {why}. The server stops; look at the disk before you start it again\n");
                snapshot::fault::end_process(line.as_bytes());
            }
            None => {
                former(panic);
                std::process::abort();
            }
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::name_it;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    /// Tests unwind, as the profile `ci` does: without the hook the thread would end alone.
    #[test]
    fn a_panic_on_any_thread_ends_the_process() {
        const IS_CHILD: &str = "RINGKEEPER_TEST_PANICS";
        if std::env::var_os(IS_CHILD).is_some() {
            name_it();
            let _ended = std::thread::spawn(|| panic!("on purpose")).join();
            std::process::exit(0);
        }
        let mut child = Command::new(std::env::current_exe().expect("a test has a file"));
        child.args(["--exact", "unservable::tests::a_panic_on_any_thread_ends_the_process", "--nocapture"]);
        let child = child.env(IS_CHILD, "1").output().expect("it starts");
        assert_eq!(child.status.signal(), Some(libc::SIGABRT), "{child:?}");
        let err = String::from_utf8_lossy(&child.stderr);
        assert!(err.contains("on purpose"), "{err}");
    }
}
