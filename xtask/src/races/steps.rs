// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The steps of a trace in the order of their times: what `perfvisor` draws as instants and slices
//! are steps alike here.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// Where a step was made. vCPUs come before the host's threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    Vcpu(u32),
    Host,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    /// Microseconds since the trace began.
    pub(super) at: f64,
    pub(super) lane: Lane,
    /// As in the trace; `state` where a vCPU changes its state.
    pub(super) name: String,
    pub(super) task: Option<u64>,
    pub(super) event: Option<u64>,
    /// What else the trace says of it.
    pub(super) detail: Option<String>,
}

/// A track of the trace.
#[derive(Clone, Copy)]
enum Track {
    Main(Lane),
    Task(Lane),
    Slot(Lane),
}

/// A slice that has begun.
struct Begun {
    task: Option<u64>,
    event: Option<u64>,
    detail: Option<String>,
}

/// Reads a trace. What follows the last whole line of one that was cut off is left out.
pub(super) fn read(text: &str) -> Result<Vec<Step>> {
    let mut reader = Reader::default();
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let event = line.trim().trim_end_matches(',');
        if matches!(event, "" | "[" | "]") {
            continue;
        }
        let event: Value = match serde_json::from_str(event) {
            Ok(event) => event,
            Err(_) if at + 1 == lines.len() && at > 0 => break,
            Err(error) => bail!("line {} is no event: {error}", at + 1),
        };
        reader
            .add(&event)
            .with_context(|| format!("line {}", at + 1))?;
    }
    ensure!(!reader.steps.is_empty(), "there are no steps in the trace");
    // Tracks are in order each, but not among each other.
    reader.steps.sort_by(|a, b| a.at.total_cmp(&b.at));
    Ok(reader.steps)
}

#[derive(Default)]
struct Reader {
    tracks: BTreeMap<u64, Track>,
    open: BTreeMap<u64, Begun>,
    steps: Vec<Step>,
}

impl Reader {
    fn add(&mut self, event: &Value) -> Result<()> {
        let name = event["name"].as_str().unwrap_or_default();
        let kind = event["ph"].as_str().context("an event without ph")?;
        let id = event["tid"].as_u64().context("an event without tid")?;
        let args = &event["args"];
        if kind == "M" {
            let named = args["name"].as_str().and_then(track);
            if let Some(track) = named.filter(|_| name == "thread_name") {
                self.tracks.insert(id, track);
            }
            return Ok(());
        }
        let Some(&track) = self.tracks.get(&id) else {
            return Ok(());
        };
        let at = event["ts"].as_f64().context("an event without ts")?;
        let category = event["cat"].as_str().unwrap_or_default();
        let begun = Begun {
            task: args["task"].as_u64(),
            event: args["event"].as_u64(),
            detail: detail(args),
        };
        match (track, kind, category) {
            (Track::Main(lane), "i", "perf") => self.step(at, lane, name, begun),
            (Track::Main(lane), "B", "vcpu") => {
                let detail = Some(name.to_owned());
                self.step(at, lane, "state", Begun { detail, ..begun });
            }
            (Track::Task(lane), "B", _) => {
                let (task, event) = (begun.task, begun.event);
                let detail = None;
                self.open.insert(
                    id,
                    Begun {
                        task,
                        event,
                        detail,
                    },
                );
                self.step(at, lane, "switch in", begun);
            }
            (Track::Slot(lane), "B", _) => {
                let (task, event) = (begun.task, begun.event);
                let detail = None;
                self.open.insert(
                    id,
                    Begun {
                        task,
                        event,
                        detail,
                    },
                );
                self.step(at, lane, "slot in", begun);
            }
            (Track::Task(lane) | Track::Slot(lane), "E", _) => {
                if let Some(open) = self.open.remove(&id) {
                    let name = match track {
                        Track::Task(_) => "switch out",
                        _ => "slot out",
                    };
                    let detail = begun.detail;
                    self.step(at, lane, name, Begun { detail, ..open });
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, at: f64, lane: Lane, name: &str, about: Begun) {
        self.steps.push(Step {
            at,
            lane,
            name: name.to_owned(),
            task: about.task,
            event: about.event,
            detail: about.detail,
        });
    }
}

fn track(name: &str) -> Option<Track> {
    if name == "host" {
        return Some(Track::Main(Lane::Host));
    }
    let mut words = name.strip_prefix("vCPU ")?.split(' ');
    let lane = Lane::Vcpu(words.next()?.parse().ok()?);
    match words.next() {
        None => Some(Track::Main(lane)),
        Some("task") => Some(Track::Task(lane)),
        Some("slot") => Some(Track::Slot(lane)),
        Some(_) => None,
    }
}

/// What there is besides task and event: at most one thing.
fn detail(args: &Value) -> Option<String> {
    let mut others = args.as_object()?.iter();
    let (_, value) = others.find(|(key, _)| !matches!(key.as_str(), "task" | "event"))?;
    Some(match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// vCPU 0 opens an event on a task of vCPU 1, which has just gone.
    pub(in crate::races) const CALLED: &str = r#"[
{"name":"thread_name","cat":"trace","ph":"M","pid":1,"tid":2,"args":{"name":"vCPU 0"}},
{"name":"thread_name","cat":"trace","ph":"M","pid":1,"tid":20,"args":{"name":"vCPU 1"}},
{"name":"thread_name","cat":"trace","ph":"M","pid":1,"tid":21,"args":{"name":"vCPU 1 task"}},
{"name":"thread_name","cat":"trace","ph":"M","pid":1,"tid":22,"args":{"name":"vCPU 1 slot 0"}},
{"name":"round","cat":"perf","ph":"i","s":"t","ts":3.000,"pid":1,"tid":2,"args":{"task":7,"event":5,"round":1}},
{"name":"call","cat":"perf","ph":"i","s":"t","ts":4.000,"pid":1,"tid":2,"args":{"event":5,"to":1}},
{"name":"call refused","cat":"perf","ph":"i","s":"t","ts":6.000,"pid":1,"tid":2,"args":{"event":5,"to":1}},
{"name":"open","cat":"perf","ph":"i","s":"t","ts":7.500,"pid":1,"tid":2,"args":{"task":7,"event":5}},
{"name":"task 7","cat":"perf","ph":"B","ts":1.000,"pid":1,"tid":21,"args":{"task":7}},
{"name":"event 4","cat":"perf","ph":"B","ts":1.100,"pid":1,"tid":22,"args":{"event":4}},
{"name":"event 4","cat":"perf","ph":"E","ts":4.900,"pid":1,"tid":22,"args":{}},
{"name":"task 7","cat":"perf","ph":"E","ts":5.000,"pid":1,"tid":21,"args":{"leaves":"queued"}},
{"name":"guest","cat":"vcpu","ph":"X","ts":2.000,"dur":4.000,"pid":1,"tid":20,"args":{}},
{"name":"offline","cat":"vcpu","ph":"B","ts":5.500,"pid":1,"tid":20,"args":{}},
{"name":"#;

    #[test]
    fn instants_and_slices_are_steps_in_the_order_of_their_times() {
        let steps = read(CALLED).unwrap();
        let told: Vec<(f64, Lane, &str)> = steps
            .iter()
            .map(|step| (step.at, step.lane, step.name.as_str()))
            .collect();
        let (zero, one) = (Lane::Vcpu(0), Lane::Vcpu(1));
        assert_eq!(
            told,
            [
                (1.0, one, "switch in"),
                (1.1, one, "slot in"),
                (3.0, zero, "round"),
                (4.0, zero, "call"),
                (4.9, one, "slot out"),
                (5.0, one, "switch out"),
                (5.5, one, "state"),
                (6.0, zero, "call refused"),
                (7.5, zero, "open"),
            ]
        );
        let about = |at: usize| {
            let step = &steps[at];
            (step.task, step.event, step.detail.as_deref())
        };
        assert_eq!(about(2), (Some(7), Some(5), Some("1")));
        assert_eq!(about(4), (None, Some(4), None));
        assert_eq!(about(5), (Some(7), None, Some("queued")));
        assert_eq!(about(6), (None, None, Some("offline")));
    }

    #[test]
    fn what_is_no_trace_is_refused() {
        for text in ["", "[\n]\n", "{}", "[\nnonsense\n{}\n]"] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }
}
