//! Medians with their spread, and percentiles. In: numbers. Out: numbers, and how they are written.

use std::fmt;

/// The median of some values, and the least and the most of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub least: f64,
    pub median: f64,
    pub most: f64,
}

impl Spread {
    /// `None` of nothing.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => (values[middle - 1] + values[middle]) / 2.0,
            _ => values[middle],
        };
        Some(Self {
            least,
            median,
            most,
        })
    }
}

/// Half of the values are within: the quartiles. `None` of nothing.
pub fn middle_half(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some((values[last.div_ceil(4)], values[last - last.div_ceil(4)]))
}

/// `{:.N}`: median (least to most).
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = f.precision().unwrap_or(2);
        write!(
            f,
            "{:.places$} ({:.places$} to {:.places$})",
            self.median, self.least, self.most
        )
    }
}

/// The value that `share` (0 to 1) of the values do not exceed; sorts them. 0 of nothing.
pub fn percentile(values: &mut [u64], share: f64) -> u64 {
    values.sort_unstable();
    let rank = (values.len() as f64 * share).ceil() as usize;
    values
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let of = |values: &[f64]| Spread::of(values.iter().copied()).map(|spread| spread.median);
        assert_eq!(of(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn half_of_the_values_are_in_the_middle() {
        assert_eq!(middle_half((1..=9).map(f64::from)), Some((3.0, 7.0)));
        assert_eq!(middle_half([5.0]), Some((5.0, 5.0)));
        assert_eq!(middle_half([]), None);
    }

    #[test]
    fn a_spread_is_written_with_its_ends() {
        let spread = Spread::of([1.0, 0.97, 1.021]);
        assert_eq!(
            spread.map(|spread| format!("{spread:.2}")).as_deref(),
            Some("1.00 (0.97 to 1.02)")
        );
    }

    #[test]
    fn percentiles_are_values_that_were_there() {
        let mut values: Vec<u64> = (1..=200).rev().collect();
        assert_eq!(percentile(&mut values, 0.5), 100);
        assert_eq!(percentile(&mut values, 0.99), 198);
        assert_eq!(percentile(&mut [7], 0.99), 7);
        assert_eq!(percentile(&mut [], 0.5), 0);
    }
}
