// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Sizes and times as they are written on the command line.

use std::time::Duration;

/// A size with a unit of 1024: `128M`, `1G`, `64MiB`.
pub(super) fn parse_size(text: &str) -> Result<u64, &'static str> {
    const HINT: &str = "give a whole number with a unit, such as 128M or 1G";
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim_end_matches("iB").trim_end_matches('B') {
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        "T" | "t" => 40,
        _ => return Err(HINT),
    };
    let number: u64 = number.parse().map_err(|_| HINT)?;
    number
        .checked_mul(1 << shift)
        .ok_or("this is more than any machine has")
}

/// Some thirty years: every clock of the host can still be set to it.
const MAX_TIME: Duration = Duration::from_secs(1_000_000_000);

/// A time in seconds, more than none.
pub(super) fn parse_seconds(text: &str) -> Result<Duration, &'static str> {
    let seconds: Option<f64> = text.parse().ok();
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|time| !time.is_zero() && *time <= MAX_TIME)
        .ok_or("give a number of seconds above 0 and up to 1000000000, such as 60 or 0.5")
}

/// A time in seconds, from none to `most`, which is some whole seconds.
pub(super) fn parse_limit(text: &str, most: Duration) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok();
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|time| *time <= most)
        .ok_or_else(|| {
            let most = most.as_secs();
            format!("give a number of seconds from 0 to {most}, such as 60 or 0.5")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("128M"), Ok(128 << 20));
        assert_eq!(parse_size("1g"), Ok(1 << 30));
        assert_eq!(parse_size("2048KiB"), Ok(2 << 20));
        assert_eq!(parse_size("1T"), Ok(1 << 40));
        for wrong in [
            "",
            "M",
            "128",
            "1.5G",
            "-1M",
            "1 G",
            "1X",
            "1GG",
            "99999999999T",
            "1Mi",
        ] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn seconds_are_positive_and_finite() {
        assert_eq!(parse_seconds("60"), Ok(Duration::from_secs(60)));
        assert_eq!(parse_seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["", "0", "-1", "inf", "nan", "1e300", "1e19", "soon"] {
            assert!(parse_seconds(wrong).is_err(), "{wrong}");
        }
    }
    #[test]
    fn a_limit_may_be_none_at_all_and_has_an_end() {
        let most = Duration::from_secs(600);
        for (text, time) in [
            ("0", Duration::ZERO),
            ("0.25", Duration::from_millis(250)),
            ("600", most),
        ] {
            assert_eq!(parse_limit(text, most), Ok(time));
        }
        for wrong in ["", "-1", "-0.1", "600.001", "nan", "inf", "1e300", "soon"] {
            let error = parse_limit(wrong, most).unwrap_err();
            assert!(error.contains("from 0 to 600,"), "{wrong}: {error}");
        }
    }
}
