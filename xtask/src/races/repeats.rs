// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What happens over and over is told twice, and then how often it did.

use super::steps::{Lane, Step};

/// The longest round that is recognised.
const LONGEST: usize = 6;

/// A row of a picture.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Row<'a> {
    Step(&'a Step),
    /// The rows above, as many as `of`, came so many times more.
    Again {
        of: usize,
        times: usize,
    },
}

/// The rows of a story.
pub(super) fn rows(steps: &[Step]) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    let mut at = 0;
    while at < steps.len() {
        let repeated = (1..=LONGEST)
            .map(|of| (of, times(&steps[at..], of)))
            .find(|(_, times)| *times > 3);
        match repeated {
            Some((of, times)) => {
                rows.extend(steps[at..at + 2 * of].iter().map(Row::Step));
                rows.push(Row::Again {
                    of,
                    times: times - 2,
                });
                at += times * of;
            }
            None => {
                rows.push(Row::Step(&steps[at]));
                at += 1;
            }
        }
    }
    rows
}

/// How often the first `of` steps come in a row.
fn times(steps: &[Step], of: usize) -> usize {
    let Some(first) = steps.get(..of) else {
        return 0;
    };
    let alike = |round: &[Step]| first.iter().map(kind).eq(round.iter().map(kind));
    steps.chunks(of).take_while(|round| alike(round)).count()
}

/// What makes two steps alike. The number of a round does not.
fn kind(step: &Step) -> (Lane, &str, Option<&str>) {
    let detail = step.detail.as_deref().filter(|_| step.name != "round");
    (step.lane, &step.name, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(names: &str) -> Vec<Step> {
        names
            .chars()
            .zip(0..)
            .map(|(name, nth): (char, u32)| Step {
                at: f64::from(nth),
                lane: Lane::Host,
                name: if name == 'r' {
                    "round".to_owned()
                } else {
                    name.to_string()
                },
                task: None,
                event: None,
                detail: (name == 'r').then(|| nth.to_string()),
            })
            .collect()
    }

    fn told(names: &str) -> String {
        rows(&steps(names))
            .iter()
            .map(|row| match row {
                Row::Step(step) => step.name.chars().take(1).collect(),
                Row::Again { of, times } => format!("[{of}x{times}]"),
            })
            .collect()
    }

    #[test]
    fn rounds_are_counted() {
        assert_eq!(told("abc"), "abc");
        assert_eq!(told("arcrcrcrcb"), "arcrc[2x2]b");
        assert_eq!(told("aaa"), "aaa");
        assert_eq!(told("xaaaaay"), "xaa[1x3]y");
    }
}
