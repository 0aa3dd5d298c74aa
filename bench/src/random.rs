//! Which znode next: the same order in every run, uniform or skewed.

/// xorshift64*: the same numbers in the same order in every run.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new() -> Random {
        Random(0x9e37_79b9_7f4a_7c15)
    }

    /// Another row of numbers for each seed.
    pub(crate) const fn seeded(seed: u64) -> Random {
        // An odd factor keeps the state from being 0, which it would never leave.
        Random(0x9e37_79b9_7f4a_7c15 ^ (seed << 1))
    }

    /// A number below the bound, which is at most 2^31.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 33) % bound
    }

    /// A number from 0 to below 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// Ranks by Zipf's law with exponent 0.99, by the approximation of Gray et al., "Quickly generating billion-record synthetic databases"
/// (1994), which YCSB uses too. The ranks are scattered over the numbers, so that what is hot does not lie together.
#[derive(Debug)]
pub(crate) struct Zipf {
    count: u64,
    zeta: f64,
    eta: f64,
}

const THETA: f64 = 0.99;

impl Zipf {
    /// Over the numbers below `count`, which is 2 at least.
    pub(crate) fn new(count: u64) -> Zipf {
        let count = count.max(2);
        let zeta = (1..=count).map(|rank| 1.0 / (rank as f64).powf(THETA)).sum::<f64>();
        let of_two = 1.0 + 0.5f64.powf(THETA);
        let eta = (1.0 - (2.0 / count as f64).powf(1.0 - THETA)) / (1.0 - of_two / zeta);
        Zipf { count, zeta, eta }
    }

    pub(crate) fn pick(&self, random: &mut Random) -> u64 {
        let rank = self.rank(random.unit());
        // A prime that divides no count we have: each rank has a number of its own.
        (rank * 2_654_435_761) % self.count
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to below the count")]
    fn rank(&self, unit: f64) -> u64 {
        let scaled = unit * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5f64.powf(THETA) {
            return 1;
        }
        let rank = self.count as f64 * (self.eta * unit - self.eta + 1.0).powf(1.0 / (1.0 - THETA));
        (rank as u64).min(self.count - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zipf_is_skewed_as_the_law_says_and_stays_below_its_count() {
        let zipf = Zipf::new(1_000);
        let mut random = Random::new();
        let mut counts = vec![0u32; 1_000];
        (0..100_000).for_each(|_| counts[usize::try_from(zipf.pick(&mut random)).unwrap()] += 1);
        counts.sort_unstable_by(|a, b| b.cmp(a));
        // The law: rank r has a share of 1 / (r^0.99 * 7.73).
        let share = |rank: usize| f64::from(counts[rank - 1]) / 100_000.0;
        assert!((0.11..0.15).contains(&share(1)), "{}", share(1));
        assert!((0.05..0.08).contains(&share(2)), "{}", share(2));
        assert!((0.010..0.017).contains(&share(10)), "{}", share(10));
    }

    #[test]
    fn seeds_give_other_numbers_and_the_same_seed_the_same() {
        let row = |seed| {
            let mut random = Random::seeded(seed);
            (0..4).map(|_| random.below(1 << 30)).collect::<Vec<_>>()
        };
        assert_eq!(row(1), row(1));
        assert_ne!(row(1), row(2));
    }
}
