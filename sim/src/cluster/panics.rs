//! What a panic said, and in which seed, for the report of a run; of a build in which a panic is the end, for whoever reads its last words.

use std::cell::{Cell, RefCell};
use std::sync::Once;

thread_local! {
    static SEED: Cell<u64> = const { Cell::new(0) };
    static REPLAY: RefCell<String> = const { RefCell::new(String::new()) };
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

static HOOK: Once = Once::new();

/// From now on panics of this process are kept, and said with the seed that this thread runs and the command that runs it again.
pub(super) fn keep(seed: u64, replay: String) {
    SEED.set(seed);
    REPLAY.set(replay);
    HOOK.call_once(|| {
        let former = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            LAST.with(|last| *last.borrow_mut() = info.to_string().replace('\n', " "));
            eprintln!("seed {}: panics: {}", SEED.get(), last());
            REPLAY.with_borrow(|replay| eprintln!("replay it: {replay}"));
            if std::env::var_os("RUST_BACKTRACE").is_some() {
                former(info);
            }
        }));
    });
}

/// The last one of this thread.
pub(super) fn last() -> String {
    LAST.with(|last| last.borrow().clone())
}
