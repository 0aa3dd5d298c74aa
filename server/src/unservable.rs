//! The end of the process where a reader met damage in the image in use, told as what it is: a bad disk, and no bug of ours.
//!
//! Owns the process's panic hook. The tree panics where it would have to serve what is damaged ([`engine::tree::UNSERVABLE`]): the reader stands
//! under the lock, and there is nothing right to go on with. The hook says so in the server's words, with file, offset and zxid, and
//! ends the process with the code that a fault on a mapped page has. Every other panic takes the way it had. It must never let anything run on behind
//! such a panic. `tests/tests/damage/rot.rs` would catch a mistake.
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
            None => former(panic),
        }
    }));
}
