//! The middle of some figures and their range: what is told of several runs.

use std::fmt;

use serde::Serialize;

/// The middle of some figures and their range.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Over figures in any order; `None` without any.
    pub(crate) fn over(mut figures: Vec<f64>) -> Option<Spread> {
        figures.sort_by(f64::total_cmp);
        let middle = figures.len().checked_sub(1)? / 2;
        let upper = figures.len() / 2;
        let median = f64::midpoint(*figures.get(middle)?, *figures.get(upper)?);
        Some(Spread { median, min: *figures.first()?, max: *figures.last()? })
    }
}

impl fmt::Display for Spread {
    /// `median [min–max]`, each with the digits of the format's precision (0 without one).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(0);
        let Spread { median, min, max } = self;
        write!(f, "{median:.digits$} [{min:.digits$}–{max:.digits$}]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_the_mean_of_the_two() {
        assert_eq!(Spread::over(vec![3.0, 1.0, 10.0]), Some(Spread { median: 3.0, min: 1.0, max: 10.0 }));
        assert_eq!(Spread::over(vec![4.0, 1.0, 2.0, 3.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Spread::over(Vec::new()), None);
    }

    #[test]
    fn it_is_written_with_the_digits_asked_for() {
        let spread = Spread { median: 2.5, min: 1.0, max: 10.0 };
        assert_eq!(format!("{spread:.1}"), "2.5 [1.0–10.0]");
    }
}
