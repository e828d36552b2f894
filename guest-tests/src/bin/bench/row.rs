// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A row of the result, and how it is come by.

use anyhow::Result;
use serde::Serialize;

/// One row: a figure beside its peer's, medians of the same run.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    name: &'static str,
    /// What was measured.
    value: f64,
    unit: &'static str,
    peer: f64,
    /// The median of the pairs' ratios.
    ratio: f64,
    /// What the peer is.
    against: &'static str,
    /// What is compared with what.
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Limit>,
    /// Whether it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    within: Option<bool>,
}

#[derive(Debug, Serialize)]
struct Limit {
    of: &'static str,
    at_most: f64,
}

impl Row {
    /// A row without a limit, from ns of the measured and of its peer, pair by pair.
    pub(crate) fn new(
        name: &'static str,
        kind: &'static str,
        against: &'static str,
        pairs: &[(f64, f64)],
    ) -> Self {
        let of = |figure: fn(&(f64, f64)) -> f64| median(pairs.iter().map(figure).collect());
        Self {
            name,
            value: of(|(one, _)| *one),
            unit: "ns/op",
            peer: of(|(_, other)| *other),
            ratio: of(|(one, other)| one / other),
            against,
            kind,
            limit: None,
            within: None,
        }
    }

    /// The row with a limit on its ratio.
    pub(crate) fn ratio_at_most(self, at_most: f64) -> Self {
        Self {
            within: Some(self.ratio <= at_most),
            limit: Some(Limit {
                of: "ratio",
                at_most,
            }),
            ..self
        }
    }

    /// The row in a line.
    pub(crate) fn line(&self) -> String {
        let Self {
            name,
            value,
            unit,
            peer,
            ratio,
            against,
            ..
        } = self;
        let verdict = match (&self.limit, self.within) {
            (Some(limit), Some(true)) => format!("   limit {:.2}, kept", limit.at_most),
            (Some(limit), _) => format!("   limit {:.2}, OVER", limit.at_most),
            _ => String::new(),
        };
        format!(
            "{name:<18} {value:>12.2} {unit}   peer {peer:>12.2}   ratio {ratio:>6.3}   ({against}){verdict}"
        )
    }
}

/// Measures by turns, so that whatever else the machine does hits both; ns, pair by pair.
pub(crate) fn interleaved(
    pairs: u32,
    mut measured: impl FnMut() -> Result<f64>,
    mut peer: impl FnMut() -> Result<f64>,
) -> Result<Vec<(f64, f64)>> {
    // The first pair warms both up: translation, page faults, caches.
    measured()?;
    peer()?;
    (0..pairs).map(|_| Ok((measured()?, peer()?))).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_the_median_of_the_pairs() {
        let row = Row::new("a", "b", "c", &[(9.0, 3.0), (8.0, 8.0), (40.0, 4.0)]);
        assert_eq!((row.value, row.peer, row.ratio), (9.0, 4.0, 3.0));
        assert_eq!(row.within, None);
    }

    #[test]
    fn a_limit_is_kept_up_to_itself() {
        let row = || Row::new("a", "b", "c", &[(6.0, 2.0)]);
        assert_eq!(row().ratio_at_most(3.0).within, Some(true));
        assert_eq!(row().ratio_at_most(2.9).within, Some(false));
    }

    #[test]
    fn the_two_take_turns_and_the_first_pair_is_not_counted() {
        let turns = std::cell::RefCell::new(String::new());
        let side = |name: char, figures: [f64; 3]| {
            let turns = &turns;
            let mut figures = figures.into_iter();
            move || {
                turns.borrow_mut().push(name);
                Ok(figures.next().unwrap())
            }
        };
        let a = side('a', [100.0, 1.0, 2.0]);
        let b = side('b', [200.0, 3.0, 4.0]);
        assert_eq!(interleaved(2, a, b).unwrap(), [(1.0, 3.0), (2.0, 4.0)]);
        assert_eq!(turns.into_inner(), "ababab");
    }
}
