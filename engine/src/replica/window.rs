//! The newest txns, as they were encoded: those that are not applied yet, and as many before them as a bound of bytes lets stay.
//!
//! Owns what apply goes on with, and what a learner that lacks little is sent without the log being read. It must never forget what is not applied.
//! A txn that is asked for and not there is the caller's bug: it panics. The tests below would catch a mistake.

use proto::Zxid;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// Txns in the bytes of log and wire, several at once, in order.
#[derive(Debug, Default)]
pub struct TxnBatch {
    bytes: Vec<u8>,
    ends: Vec<(Zxid, usize)>,
}

impl TxnBatch {
    /// The txns: zxid and bytes.
    pub fn iter(&self) -> impl Iterator<Item = (Zxid, &[u8])> {
        (0..self.ends.len()).map_while(|at| self.get(at))
    }

    /// Count of txns.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Are there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all its txns.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// The last one's zxid.
    #[must_use]
    pub fn last(&self) -> Option<Zxid> {
        self.ends.last().map(|(zxid, _)| *zxid)
    }

    /// Where the next txn's bytes are written; then [`TxnBatch::end`]. What was written and not ended is no txn.
    pub(super) const fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What was written is this txn. Returns how many bytes it has.
    pub(super) fn end(&mut self, zxid: Zxid) -> usize {
        let start = self.ends.last().map_or(0, |(_, end)| *end);
        self.ends.push((zxid, self.bytes.len()));
        self.bytes.len() - start
    }

    /// A piece of it, as [`Window::apply_next`] tells.
    pub(super) fn bytes_at(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).expect("a txn lies in its batch")
    }

    fn get(&self, at: usize) -> Option<(Zxid, &[u8])> {
        let (zxid, end) = *self.ends.get(at)?;
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |(_, end)| *end);
        Some((zxid, self.bytes.get(start..end)?))
    }

    /// The first txn behind `after`.
    fn behind(&self, after: Zxid) -> usize {
        self.ends.partition_point(|(zxid, _)| *zxid <= after)
    }

    /// Bytes of the first `len` txns.
    fn bytes_of(&self, len: usize) -> usize {
        len.checked_sub(1).and_then(|last| self.ends.get(last)).map_or(0, |(_, end)| *end)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Window {
    batches: VecDeque<Held>,
    /// Later txns are here.
    forgot: Zxid,
    /// Up to here they are applied.
    applied: Zxid,
    bytes: usize,
    waiting: usize,
    waiting_bytes: usize,
}

#[derive(Debug)]
struct Held {
    txns: Arc<TxnBatch>,
    /// How many of them count: the others were cut.
    len: usize,
    /// The last of these. Here, since whoever searches would have to fetch it for many batches.
    last: Zxid,
}

impl Held {
    /// # Panics
    /// If there are none.
    fn new(txns: Arc<TxnBatch>, len: usize) -> Held {
        let last = len.checked_sub(1).and_then(|last| txns.get(last)).expect("a batch has txns").0;
        Held { txns, len, last }
    }

    fn bytes(&self) -> usize {
        self.txns.bytes_of(self.len)
    }
}

impl Window {
    /// Nothing behind a tree that is at `applied`.
    #[must_use]
    pub const fn new(applied: Zxid) -> Window {
        let batches = VecDeque::new();
        Window { batches, forgot: applied, applied, bytes: 0, waiting: 0, waiting_bytes: 0 }
    }

    /// Adds txns that follow.
    ///
    /// # Panics
    /// If they do not.
    pub fn push(&mut self, txns: Arc<TxnBatch>) {
        let Some((first, _)) = txns.get(0) else { return };
        assert!(first > self.last(), "{first} does not follow {}", self.last());
        let len = txns.len();
        let held = Held::new(txns, len);
        self.bytes += held.bytes();
        self.waiting += held.len;
        self.waiting_bytes += held.bytes();
        self.batches.push_back(held);
    }

    /// The end: the last txn, or what the tree was at.
    #[must_use]
    pub fn last(&self) -> Zxid {
        self.batches.back().map_or(self.forgot, |held| held.last)
    }

    /// Later txns are here.
    #[must_use]
    pub const fn forgot(&self) -> Zxid {
        self.forgot
    }

    /// Up to here they are applied.
    #[must_use]
    pub const fn applied(&self) -> Zxid {
        self.applied
    }

    /// Count of txns that are not applied.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Their bytes.
    #[must_use]
    pub const fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// The oldest one that is not applied, if there is one.
    #[must_use]
    pub fn next(&self) -> Option<Zxid> {
        if self.waiting == 0 {
            return None;
        }
        let held = self.batches.get(self.batch_behind(self.applied))?;
        Some(held.txns.get(held.txns.behind(self.applied))?.0)
    }

    /// The oldest one that is not applied is applied from here on: its batch, and where in its bytes it stands.
    ///
    /// # Panics
    /// If there is none.
    pub fn apply_next(&mut self) -> (Zxid, Arc<TxnBatch>, Range<usize>) {
        assert!(self.waiting > 0, "there is a txn to apply");
        let held = self.batches.get(self.batch_behind(self.applied)).expect("it is not forgotten");
        let at = held.txns.behind(self.applied);
        let (zxid, bytes) = held.txns.get(at).expect("it counts");
        let end = held.txns.bytes_of(at + 1);
        let range = end - bytes.len()..end;
        self.applied = zxid;
        self.waiting -= 1;
        self.waiting_bytes -= range.len();
        (zxid, Arc::clone(&held.txns), range)
    }

    /// The txns in `(after, to]`.
    ///
    /// # Panics
    /// If some of them were forgotten.
    pub fn range(&self, after: Zxid, to: Zxid) -> impl Iterator<Item = (Zxid, &[u8])> {
        assert!(after >= self.forgot, "txns after {after} are asked for, those up to {} were forgotten", self.forgot);
        let batches = self.batches.range(self.batch_behind(after)..);
        let txns = batches.flat_map(move |held| (held.txns.behind(after)..held.len).map_while(|at| held.txns.get(at)));
        txns.take_while(move |(zxid, _)| *zxid <= to)
    }

    /// Forgets the oldest that are applied, until no more than `bytes_max` are left. True if it did.
    pub fn forget(&mut self, bytes_max: usize) -> bool {
        let before = self.forgot;
        while self.bytes > bytes_max
            && let Some(oldest) = self.batches.pop_front_if(|oldest| oldest.last <= self.applied)
        {
            self.bytes -= oldest.bytes();
            self.forgot = oldest.last;
        }
        self.forgot > before
    }

    /// Drops what comes after `to`. `applied`: where the tree is after it.
    pub fn cut(&mut self, to: Zxid, applied: Zxid) {
        while let Some(last) = self.batches.pop_back() {
            let len = last.txns.behind(to).min(last.len);
            if len > 0 {
                self.batches.push_back(Held::new(last.txns, len));
                break;
            }
        }
        self.applied = applied;
        self.forgot = self.forgot.min(applied);
        if self.batches.is_empty() {
            self.forgot = applied;
        }
        self.bytes = self.batches.iter().map(Held::bytes).sum();
        let waits = |held: &Held| (held.txns.behind(applied).min(held.len), held.len);
        self.waiting = self.batches.iter().map(|held| waits(held).1 - waits(held).0).sum();
        self.waiting_bytes = self.batches.iter().map(|held| held.bytes() - held.txns.bytes_of(waits(held).0)).sum();
    }

    /// The batch with the first txn behind `after`.
    fn batch_behind(&self, after: Zxid) -> usize {
        self.batches.partition_point(|held| held.last <= after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Txns of three bytes each.
    fn batch(zxids: Range<u64>) -> Arc<TxnBatch> {
        let mut batch = TxnBatch::default();
        for zxid in zxids {
            batch.bytes_mut().extend([u8::try_from(zxid).unwrap(); 3]);
            assert_eq!(batch.end(Zxid(zxid)), 3);
        }
        Arc::new(batch)
    }

    fn zxids(window: &Window, after: u64, to: u64) -> Vec<u64> {
        let all = window.range(Zxid(after), Zxid(to));
        all.inspect(|(zxid, bytes)| assert_eq!(**bytes, [u8::try_from(zxid.0).unwrap(); 3]))
            .map(|(zxid, _)| zxid.0)
            .collect()
    }

    #[test]
    fn txns_are_applied_in_order_and_forgotten_behind_that() {
        let mut window = Window::new(Zxid(10));
        window.push(batch(11..14));
        window.push(batch(14..15));
        window.push(batch(15..18));
        assert_eq!((window.waiting(), window.waiting_bytes(), window.last()), (7, 21, Zxid(17)));
        for zxid in 11..15 {
            assert_eq!(window.next(), Some(Zxid(zxid)));
            let (applied, txns, range) = window.apply_next();
            assert_eq!((applied, txns.bytes_at(range)), (Zxid(zxid), &[u8::try_from(zxid).unwrap(); 3][..]));
        }
        assert_eq!(zxids(&window, 10, 99), [11, 12, 13, 14, 15, 16, 17]);
        assert_eq!(zxids(&window, 12, 15), [13, 14, 15]);
        assert!(window.forget(12) && window.forgot() == Zxid(13), "what is left of the bound stays");
        assert!(window.forget(0) && window.forgot() == Zxid(14), "what is not applied stays");
        assert!(!window.forget(0));
        assert_eq!((window.waiting(), zxids(&window, 14, 16)), (3, vec![15, 16]));
    }

    #[test]
    fn a_cut_takes_the_end_of_a_batch_that_the_log_has_too() {
        let mut window = Window::new(Zxid(10));
        window.push(batch(11..14));
        window.push(batch(14..18));
        window.apply_next();
        window.cut(Zxid(12), Zxid(11));
        assert_eq!((window.last(), window.waiting(), window.waiting_bytes()), (Zxid(12), 1, 3));
        window.push(batch(13..15));
        assert_eq!(zxids(&window, 10, 99), [11, 12, 13, 14]);
        window.apply_next();
        window.apply_next();
        assert_eq!(window.next(), Some(Zxid(14)));
        window.cut(Zxid(9), Zxid(9));
        assert_eq!((window.last(), window.forgot(), window.waiting(), window.next()), (Zxid(9), Zxid(9), 0, None));
    }

    #[test]
    fn zxids_that_no_txn_has_are_in_no_range_and_nothing_waits_for_them() {
        let mut window = Window::new(Zxid(10));
        window.push(batch(12..14));
        window.push(batch(17..18));
        window.push(batch(21..23));
        assert_eq!((zxids(&window, 10, 99), window.waiting()), (vec![12, 13, 17, 21, 22], 5));
        assert!(zxids(&window, 13, 16).is_empty());
        assert_eq!(zxids(&window, 15, 21), [17, 21]);
        for zxid in [12, 13, 17] {
            assert_eq!(window.next(), Some(Zxid(zxid)));
            assert_eq!(window.apply_next().0, Zxid(zxid));
        }
        assert!(window.forget(9) && window.forgot() == Zxid(13));
        window.cut(Zxid(21), Zxid(17));
        assert_eq!((window.last(), window.next(), window.waiting()), (Zxid(21), Some(Zxid(21)), 1));
        window.push(batch(30..31));
        assert_eq!(zxids(&window, 13, 99), [17, 21, 30]);
    }

    #[test]
    #[should_panic(expected = "were forgotten")]
    fn what_was_forgotten_is_not_asked_for() {
        let mut window = Window::new(Zxid(10));
        window.push(batch(11..13));
        window.apply_next();
        window.apply_next();
        window.forget(0);
        let _nothing = window.range(Zxid(11), Zxid(12)).count();
    }
}
