// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How many vCPUs, as it is written on the command line.

use std::str::FromStr;

/// The most vCPUs a guest can have: an APIC ID of 8 bits, less the one that means all of them.
const MOST: u32 = 255;

/// How many vCPUs a guest has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cpus {
    /// How many it starts with.
    pub(super) boot: u32,
    /// How many it can have while it runs; at least `boot`.
    pub(super) max: u32,
}

/// Why a text says no number of vCPUs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CpusError {
    /// It has another form.
    #[error(
        "give boot=N, or boot=N,max=M, with numbers from 1 to {MOST}, such as boot=2 or boot=2,max=4"
    )]
    Form,
    /// It starts with more than it can have.
    #[error(
        "the guest cannot start with {boot} of at most {max} vCPUs: give max={boot} or more, or boot={max} or less"
    )]
    Order {
        /// How many it was to start with.
        boot: u32,
        /// How many it was to have.
        max: u32,
    },
}

/// `boot=N`, and `max=M` where it is another number; in either order.
impl FromStr for Cpus {
    type Err = CpusError;

    fn from_str(text: &str) -> Result<Self, CpusError> {
        let (mut boot, mut max) = (None, None);
        for part in text.split(',') {
            let (key, number) = part.split_once('=').ok_or(CpusError::Form)?;
            let place = match key {
                "boot" => &mut boot,
                "max" => &mut max,
                _ => return Err(CpusError::Form),
            };
            let number = parse_count(number).ok_or(CpusError::Form)?;
            if place.replace(number).is_some() {
                return Err(CpusError::Form);
            }
        }
        let boot = boot.ok_or(CpusError::Form)?;
        let max = max.unwrap_or(boot);
        if boot > max {
            return Err(CpusError::Order { boot, max });
        }
        Ok(Self { boot, max })
    }
}

fn parse_count(text: &str) -> Option<u32> {
    // A sign is not for a count.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let count = text.parse().ok().filter(|_| digits)?;
    (1..=MOST).contains(&count).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_starts_with_all_it_can_have_unless_told() {
        for (text, boot, max) in [
            ("boot=1", 1, 1),
            ("boot=255", 255, 255),
            ("boot=2,max=4", 2, 4),
            ("max=4,boot=2", 2, 4),
            ("boot=3,max=3", 3, 3),
            ("boot=1,max=255", 1, 255),
        ] {
            assert_eq!(text.parse(), Ok(Cpus { boot, max }), "{text}");
        }
    }

    #[test]
    fn another_form_or_number_is_refused() {
        for text in [
            "",
            "1",
            "boot",
            "boot=",
            "boot=0",
            "boot=256",
            "boot=-1",
            "boot=+1",
            "boot=1 ",
            "boot=4294967297",
            "max=4",
            "boot=1,",
            "boot=1,max=",
            "boot=1,max=0",
            "boot=1,max=256",
            "boot=1,boot=2",
            "boot=1,max=2,max=3",
            "boot=1,min=1",
            "boot=1;max=2",
        ] {
            assert_eq!(text.parse::<Cpus>(), Err(CpusError::Form), "{text}");
        }
    }

    #[test]
    fn more_to_start_with_than_to_have_is_refused_with_both_ways_out() {
        let error = "boot=4,max=2".parse::<Cpus>().unwrap_err();
        assert_eq!(error, CpusError::Order { boot: 4, max: 2 });
        let text = error.to_string();
        assert!(
            text.contains("max=4 or more") && text.contains("boot=2 or less"),
            "{text}"
        );
    }
}
