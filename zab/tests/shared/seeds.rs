//! Numbers that follow from a seed, and which seeds to run.
#![allow(dead_code, reason = "each test takes what it needs of it")]

use std::ops::Range;

/// These seeds, or those of `RINGKEEPER_SEEDS`: `1000..2000`, or `7` for the one that failed.
pub(crate) fn seeds(usual: Range<u64>) -> Range<u64> {
    let Ok(words) = std::env::var("RINGKEEPER_SEEDS") else { return usual };
    let number = |word: &str| word.parse::<u64>().unwrap_or_else(|_| panic!("RINGKEEPER_SEEDS={words}"));
    match words.split_once("..") {
        Some((first, end)) => number(first)..number(end),
        None => number(&words)..number(&words) + 1,
    }
}

/// SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn below<N: TryFrom<u64> + TryInto<u64>>(&mut self, end: N) -> N {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let end = end.try_into().ok().expect("an end above 0");
        N::try_from((z ^ (z >> 31)) % end).ok().expect("it is below the end")
    }

    pub(crate) fn up_to(&mut self, most: usize) -> usize {
        self.below(most + 1)
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.below(from.len())].clone())
    }
}
