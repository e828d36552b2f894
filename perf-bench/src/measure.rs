// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How things are timed: in batches, the things to be compared taking turns in blocks, so that
//! whatever else the machine does hits all of them alike.

use std::error::Error;
use std::time::{Duration, Instant};

/// Why a side cannot be measured further.
pub type Failure = Box<dyn Error + Send + Sync>;

/// One of the things that are compared.
pub struct Side<'a> {
    /// Acts that one sample is the mean of: enough to make reading the clock cheap beside them.
    batch: u32,
    run: Box<dyn FnMut(u32) -> Result<Duration, Failure> + 'a>,
}

impl<'a> Side<'a> {
    /// A side that does `act` again and again; `batch` is at least 1.
    pub fn new(batch: u32, mut act: impl FnMut() -> Result<(), Failure> + 'a) -> Self {
        Self::timing_itself(batch, move |times| {
            let started = Instant::now();
            for _ in 0..times {
                act()?;
            }
            Ok(started.elapsed())
        })
    }

    /// A side that has things to do outside the time it is measured: `run` does as many acts as it
    /// is told and returns what they took.
    pub fn timing_itself(
        batch: u32,
        run: impl FnMut(u32) -> Result<Duration, Failure> + 'a,
    ) -> Self {
        Self {
            batch: batch.max(1),
            run: Box::new(run),
        }
    }

    /// One sample: ns an act.
    fn sample(&mut self) -> Result<f64, Failure> {
        let took = (self.run)(self.batch)?;
        Ok(took.as_secs_f64() * 1e9 / f64::from(self.batch))
    }
}

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// Turns that each side gets.
    pub blocks: usize,
    /// Samples that a side takes in each of its turns.
    pub samples: usize,
}

impl Method {
    /// At least `samples` of each side, 50 a turn.
    #[must_use]
    pub const fn of(samples: usize) -> Self {
        Self {
            blocks: samples.div_ceil(50),
            samples: 50,
        }
    }
}

/// The median of each side in ns an act, in the order of `sides`.
///
/// The sides take turns, and who begins changes from round to round, so that no side always follows
/// the same other. A first round warms everything up and is not counted.
///
/// ```
/// use perf_bench::measure::{Method, Side, medians};
/// use std::time::Duration;
///
/// let slow = Side::timing_itself(10, |times| Ok(Duration::from_nanos(30) * times));
/// let fast = Side::timing_itself(10, |times| Ok(Duration::from_nanos(3) * times));
/// let medians = medians(Method::of(100), &mut [slow, fast])?;
/// assert_eq!(medians.map(|ns| ns.round()), [30.0, 3.0]);
/// # Ok::<(), perf_bench::measure::Failure>(())
/// ```
///
/// # Errors
/// The first failure of any side.
pub fn medians<const N: usize>(
    method: Method,
    sides: &mut [Side<'_>; N],
) -> Result<[f64; N], Failure> {
    let mut samples = [const { Vec::new() }; N];
    for round in 0..=method.blocks {
        for turn in 0..N {
            let which = (round + turn) % N;
            for _ in 0..method.samples {
                let sample = sides[which].sample()?;
                if round > 0 {
                    samples[which].push(sample);
                }
            }
        }
    }
    Ok(samples.map(median))
}

/// The value in the middle, the upper one of two; NaN without values.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn the_median_ignores_what_is_far_off() {
        assert_eq!(
            median(vec![3.0, 1.0, 1e9]).total_cmp(&3.0),
            std::cmp::Ordering::Equal
        );
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn sides_take_turns_and_the_first_round_is_not_counted() {
        let log = RefCell::new(String::new());
        let side = |name: char, first: u64| {
            let log = &log;
            let mut next = first;
            Side::timing_itself(1, move |_| {
                log.borrow_mut().push(name);
                // Only the warm-up takes long: a median that holds it would show it.
                let took = Duration::from_nanos(next);
                next = 7;
                Ok(took)
            })
        };
        let method = Method {
            blocks: 2,
            samples: 1,
        };
        let medians = medians(method, &mut [side('a', 9_000), side('b', 9_000)]).unwrap();
        assert_eq!(
            medians.map(|ns| ns.round().total_cmp(&7.0).is_eq()),
            [true; 2]
        );
        assert_eq!(log.into_inner(), "abbaab");
    }

    #[test]
    fn a_sample_is_the_mean_of_its_batch() {
        let mut acts = 0;
        let mut side = Side::new(16, || {
            acts += 1;
            Ok(())
        });
        side.sample().unwrap();
        drop(side);
        assert_eq!(acts, 16);
    }

    #[test]
    fn at_least_as_many_samples_are_taken_as_asked_for() {
        for asked in [1, 50, 51, 4_000] {
            let method = Method::of(asked);
            assert!(method.blocks * method.samples >= asked);
        }
    }

    #[test]
    fn a_failure_ends_the_measurement() {
        let fails = Side::new(1, || Err("no".into()));
        let failure = medians(Method::of(1), &mut [fails]).unwrap_err();
        assert_eq!(failure.to_string(), "no");
    }
}
