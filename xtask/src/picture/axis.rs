// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Where a scale has its marks, and how numbers are written beside them.

/// Round steps, ten at most, from `from` to `to`.
pub(super) fn marks(from: f64, to: f64) -> Vec<f64> {
    let least = (to - from) / 10.0;
    let mut step = 10.0_f64.powf(least.log10().floor());
    for times in [2.0, 2.5, 2.0] {
        if step >= least {
            break;
        }
        step *= times;
    }
    let mut marks = Vec::new();
    let mut mark = (from / step).ceil() * step;
    while mark <= to {
        marks.push(mark);
        mark += step;
    }
    marks
}

/// Microseconds, in the unit that fits a scale of this length.
pub(super) fn time(micros: f64, length: f64) -> String {
    let (value, unit) = if length < 1_000.0 {
        (micros, "µs")
    } else if length < 1_000_000.0 {
        (micros / 1_000.0, "ms")
    } else {
        (micros / 1_000_000.0, "s")
    };
    format!("{} {unit}", short(value))
}

/// A count with a letter for its thousands.
pub(super) fn count(value: f64) -> String {
    for (unit, letter) in [(1e9, " G"), (1e6, " M"), (1e3, " k")] {
        if value >= unit {
            return format!("{}{letter}", short(value / unit));
        }
    }
    short(value)
}

/// Without zeros that say nothing.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0" } else { text }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_not_too_many() {
        assert_eq!(marks(0.0, 10.0).len(), 11);
        assert_eq!(marks(3.0, 47.0)[..3], [5.0, 10.0, 15.0]);
        assert_eq!(marks(1_000.0, 1_090.0)[..2], [1_000.0, 1_010.0]);
        for to in [0.013, 1.7, 99.0, 12_345.0, 8e8] {
            let marks = marks(0.0, to);
            assert!((5..=11).contains(&marks.len()), "{to}: {marks:?}");
        }
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(time(1_500.0, 90_000.0), "1.5 ms");
        assert_eq!(time(20.0, 100.0), "20 µs");
        assert_eq!(time(2_000_000.0, 9e6), "2 s");
        assert_eq!(count(0.0), "0");
        assert_eq!(count(12_340.0), "12.34 k");
        assert_eq!(count(5e9), "5 G");
    }
}
