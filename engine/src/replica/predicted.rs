//! The digests that a Java leader predicts, beside the tree's.
//!
//! Owns what is said of the difference. Java predicts some wrongly (its prep takes back too much or too little where a multi fails, or counts a counter that runs over) and
//! is right again with the next, in ensembles of its own servers too, where each server says so in its log and goes on. So a difference is counted and told here, and
//! nothing more; between servers of ours it ends the process ([`crate::apply`]). A tree that is really another one stays different: that is told as well, again and again.

use proto::Zxid;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Predictions {
    /// Digests in a row that were not the tree's.
    row: u64,
    unsaid: Option<Mismatch>,
}

/// A digest that is not the tree's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// After this txn.
    pub zxid: Zxid,
    /// As the leader says.
    pub predicted: u64,
    /// The tree's.
    pub found: u64,
    /// So many in a row, this one included.
    pub row: u64,
}

impl Predictions {
    /// Compares one. True: they differ.
    pub(super) fn compare(&mut self, zxid: Zxid, predicted: u64, found: u64) -> bool {
        if predicted == found {
            self.row = 0;
            return false;
        }
        self.row += 1;
        if self.row == 1 || self.row.is_multiple_of(TOLD_EVERY) {
            self.unsaid = Some(Mismatch { zxid, predicted, found, row: self.row });
        }
        true
    }

    /// What is to be told.
    pub(super) const fn take(&mut self) -> Option<Mismatch> {
        self.unsaid.take()
    }
}

/// Of a row, the first is told, and then one in so many.
const TOLD_EVERY: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_row_is_told_and_then_each_thousandth() {
        let mut predictions = Predictions::default();
        assert!(!predictions.compare(Zxid(1), 5, 5));
        assert_eq!(predictions.take(), None);
        let mut told = Vec::new();
        for zxid in 2..2_002 {
            assert!(predictions.compare(Zxid(zxid), 5, 6));
            told.extend(predictions.take().map(|mismatch| (mismatch.zxid.0, mismatch.row)));
        }
        assert_eq!(told, [(2, 1), (1_001, 1_000), (2_001, 2_000)]);
        assert!(!predictions.compare(Zxid(3_000), 7, 7));
        assert!(predictions.compare(Zxid(3_001), 7, 8));
        let again = Mismatch { zxid: Zxid(3_001), predicted: 7, found: 8, row: 1 };
        assert_eq!(predictions.take(), Some(again));
    }
}
