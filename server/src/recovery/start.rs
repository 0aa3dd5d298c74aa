//! From what was recovered to what a member of an ensemble starts with ([`zab::Start`]).
//!
//! Owns which zxids are known to lie behind a server, which epochs it starts with, and what of it is known to be committed. It must never guess a history: below what
//! the log has, nothing is known. Zxids that no record has are such that a Java leader gave to no txn: that no record is lost is the log's to know. The tests below would
//! catch a mistake.

use proto::Zxid;
use snapshot::control::Control;
use zab::{Epochs, History, Start};

/// What a member starts with, of its control file and of the history up to the end of its log.
///
/// An epoch that is not noted is that of the last txn, as in ZooKeeper where its files are absent: what stood alone, or was imported, has none. Committed is what the
/// image holds, but for one that came from a leader and is not a quorum's yet: then what the image before it holds.
pub(super) fn of(control: &Control, history: History) -> Start {
    let base = match &control.former {
        Some(former) => former.image.as_ref(),
        None => control.image.as_ref(),
    };
    let current = control.current_epoch.max(history.last().epoch());
    Start {
        epochs: Epochs { accepted: control.accepted_epoch.max(current), current },
        committed: base.map_or(Zxid::ZERO, |image| image.zxid).min(history.last()),
        history,
        is_whole: control.is_whole,
    }
}

/// The history up to `base`, the zxid of the tree that the log follows on: what the control file has kept of it, if it is of this tree.
pub(super) fn history_before(control: &Control, base: Zxid) -> History {
    let kept = control.spans();
    let history = History::of_spans(kept.floor(), kept.ends()).filter(|history| history.last() == base);
    history.unwrap_or_else(|| History::new(base))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::Epoch;
    use snapshot::ImageRef;
    use snapshot::control::{Former, Spans};

    const fn z(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(Epoch(epoch), counter)
    }

    fn control(image: Zxid) -> Control {
        Control { image: Some(ImageRef::at(image)), ..Control::default() }
    }

    #[test]
    fn what_the_control_file_has_kept_is_the_history_of_its_image_and_of_no_other_tree() {
        let spans = Spans::new(z(1, 2), [(Epoch(1), 6), (Epoch(3), 4)]);
        let kept = Control { spans, ..control(z(3, 4)) };
        let history = history_before(&kept, z(3, 4));
        assert_eq!((history.floor(), history.last(), history.newest_at(z(2, 0))), (z(1, 2), z(3, 4), Some(z(1, 6))));
        assert_eq!(history_before(&kept, z(3, 5)), History::new(z(3, 5)));
        assert_eq!(history_before(&control(z(3, 4)), z(3, 4)), History::new(z(3, 4)));
        assert_eq!(history_before(&Control::default(), Zxid::ZERO), History::new(Zxid::ZERO));
    }

    #[test]
    fn epochs_that_are_not_noted_are_those_of_the_last_txn() {
        let epochs = |accepted, current, last| {
            let control =
                Control { accepted_epoch: Epoch(accepted), current_epoch: Epoch(current), ..Control::default() };
            let epochs = of(&control, History::new(last)).epochs;
            (epochs.accepted.0, epochs.current.0)
        };
        assert_eq!(epochs(0, 0, Zxid::ZERO), (0, 0));
        assert_eq!(epochs(0, 0, z(2, 7)), (2, 2));
        assert_eq!(epochs(5, 4, z(4, 7)), (5, 4));
        assert_eq!(epochs(5, 5, z(4, 7)), (5, 5), "a leader's, before its first txn");
    }

    #[test]
    fn committed_is_what_an_image_of_its_own_holds() {
        let mut history = History::new(z(1, 4));
        history.push(z(1, 5));
        let own = of(&control(z(1, 4)), history.clone());
        assert_eq!((own.committed, own.is_whole), (z(1, 4), true));
        let former = |image| Some(Former { image, log_generation: 1 });
        let taken = Control { former: former(Some(ImageRef::at(z(1, 2)))), ..control(z(1, 4)) };
        assert_eq!(of(&taken, history.clone()).committed, z(1, 2));
        assert_eq!(of(&Control { former: former(None), ..taken }, history.clone()).committed, Zxid::ZERO);
        assert!(!of(&Control { is_whole: false, ..Control::default() }, history).is_whole);
    }
}
