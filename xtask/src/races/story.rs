// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Finds the shortest stretch of a trace in which a race happened.

use std::collections::BTreeMap;

use super::catalogue::Want;
use super::steps::{Lane, Step};

/// How many steps of the trace before the first and after the last one of an event may belong to its
/// story: traces are long, and tasks switch often.
const AROUND: usize = 2_000;

/// Steps that are about one event and its task, and the states of the vCPUs meanwhile.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Story {
    pub(super) event: u64,
    pub(super) task: Option<u64>,
    pub(super) steps: Vec<Step>,
    /// Where the task was current when it began.
    pub(super) current_on: Option<Lane>,
    /// In which states vCPUs were then.
    pub(super) states: BTreeMap<Lane, String>,
}

/// Where the steps of an event are.
struct Span {
    first: usize,
    last: usize,
    task: Option<u64>,
}

/// The story of the event that had `wanted` happen, in this order and with nothing of `without` in
/// between, within the fewest steps; of the earliest one of several.
pub(super) fn find(steps: &[Step], wanted: &[Want], without: &[&str]) -> Option<Story> {
    let mut events: BTreeMap<u64, Span> = BTreeMap::new();
    for (at, step) in steps.iter().enumerate() {
        if let Some(event) = step.event {
            let (first, task) = (at, step.task);
            let span = events.entry(event).or_insert(Span {
                first,
                last: at,
                task,
            });
            span.last = at;
            span.task = span.task.or(task);
        }
    }
    let mut best: Option<(usize, Story)> = None;
    for (event, span) in events {
        let from = span.first.saturating_sub(AROUND);
        let to = steps.len().min(span.last + AROUND);
        let about: Vec<usize> = (from..to)
            .filter(|at| concerns(&steps[*at], event, span.task))
            .collect();
        let Some((first, last)) = shortest(steps, &about, wanted, without) else {
            continue;
        };
        let length = last - first;
        if best.as_ref().is_none_or(|(shorter, _)| length < *shorter) {
            let told = about[first..=last].iter().map(|at| steps[*at].clone());
            let story = Story {
                event,
                task: span.task,
                steps: told.collect(),
                current_on: current_on(&steps[..about[first]], span.task),
                states: states(&steps[..about[first]]),
            };
            best = Some((length, story));
        }
    }
    best.map(|(_, story)| story)
}

fn concerns(step: &Step, event: u64, task: Option<u64>) -> bool {
    match step.event {
        Some(of) => of == event,
        None => step.name == "state" || (task.is_some() && step.task == task),
    }
}

/// The ends of the shortest stretch of `about` that has all of `wanted` in order and none of `without`.
fn shortest(
    steps: &[Step],
    about: &[usize],
    wanted: &[Want],
    without: &[&str],
) -> Option<(usize, usize)> {
    // Where the latest stretch begins that has the first so many of them.
    let mut begins: Vec<Option<usize>> = vec![None; wanted.len()];
    let mut best: Option<(usize, usize)> = None;
    for (at, step) in about.iter().map(|at| &steps[*at]).enumerate() {
        if without.contains(&&*step.name) {
            begins.fill(None);
            continue;
        }
        for nth in (0..wanted.len()).rev() {
            if !is(step, wanted[nth]) {
                continue;
            }
            begins[nth] = match nth.checked_sub(1) {
                None => Some(at),
                Some(before) => begins[before],
            };
            if nth + 1 == wanted.len()
                && let Some(begin) = begins[nth]
                && best.is_none_or(|(first, last)| at - begin < last - first)
            {
                best = Some((begin, at));
            }
        }
    }
    best
}

fn is(step: &Step, want: Want) -> bool {
    let detail = || step.detail.as_deref();
    step.name == want.name && (want.detail.is_none() || want.detail == detail())
}

fn current_on(before: &[Step], task: Option<u64>) -> Option<Lane> {
    let switch = |step: &&Step| {
        task.is_some() && step.task == task && matches!(&*step.name, "switch in" | "switch out")
    };
    let last = before.iter().rev().find(switch)?;
    (last.name == "switch in").then_some(last.lane)
}

fn states(before: &[Step]) -> BTreeMap<Lane, String> {
    let states = before.iter().filter(|step| step.name == "state");
    states
        .filter_map(|step| Some((step.lane, step.detail.clone()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::want;
    use super::super::steps;
    use super::*;

    fn step(name: &str, task: u64, event: u64) -> Step {
        let about = |number: u64| (number > 0).then_some(number);
        Step {
            at: 0.0,
            lane: Lane::Vcpu(0),
            name: name.to_owned(),
            task: about(task),
            event: about(event),
            detail: None,
        }
    }

    fn names(story: &Story) -> Vec<&str> {
        story.steps.iter().map(|step| &*step.name).collect()
    }

    #[test]
    fn a_story_is_of_one_event_its_task_and_the_vcpus() {
        let steps = steps::read(steps::tests::CALLED).unwrap();
        let story = find(&steps, &[want("call"), want("call refused")], &[]).unwrap();
        assert_eq!((story.event, story.task), (5, Some(7)));
        assert_eq!(
            names(&story),
            ["call", "switch out", "state", "call refused"]
        );
        assert_eq!(story.current_on, Some(Lane::Vcpu(1)));
        assert!(story.states.is_empty());
        let late = find(&steps, &[want("call refused"), want("open")], &[]).unwrap();
        assert_eq!(late.current_on, None);
        assert_eq!(late.states[&Lane::Vcpu(1)], "offline");
    }

    #[test]
    fn the_shortest_is_told() {
        let steps = [
            step("a", 1, 8),
            step("a", 1, 9),
            step("x", 2, 0),
            step("b", 1, 9),
            step("x", 1, 0),
            step("b", 1, 8),
            step("a", 1, 9),
            step("x", 1, 0),
            step("x", 1, 0),
            step("b", 1, 9),
        ];
        let story = find(&steps, &[want("a"), want("b")], &[]).unwrap();
        assert_eq!((story.event, names(&story)), (9, vec!["a", "b"]));
        assert_eq!(find(&steps, &[want("b"), want("b"), want("b")], &[]), None);
        let story = find(&steps, &[want("b"), want("b")], &["x"]);
        assert_eq!(story, None, "there is an x between the two of either");
    }
}
