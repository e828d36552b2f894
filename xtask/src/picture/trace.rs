// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Reads Chrome trace events, one a line as `perfvisor` writes them. Times are in microseconds.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// A trace by its tracks, in the order in which they are drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Trace {
    pub(super) tracks: BTreeMap<u64, Track>,
}

/// One track.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Track {
    pub(super) name: String,
    pub(super) slices: Vec<Slice>,
    pub(super) instants: Vec<Instant>,
    /// Values by the plot's name.
    pub(super) plots: BTreeMap<String, Vec<(f64, f64)>>,
}

/// Something that lasted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Slice {
    pub(super) name: String,
    pub(super) from: f64,
    pub(super) to: f64,
    /// How many others it is in.
    pub(super) depth: usize,
}

/// Something that took no time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Instant {
    pub(super) name: String,
    pub(super) at: f64,
}

/// Reads a trace. What follows the last whole line of one that was cut off is left out.
pub(crate) fn read(text: &str) -> Result<Trace> {
    let mut trace = Trace::default();
    let mut open = BTreeMap::new();
    let mut newest = 0.0_f64;
    let lines: Vec<_> = text.lines().enumerate().collect();
    for &(at, line) in &lines {
        let event = line.trim().trim_end_matches(',');
        if matches!(event, "" | "[" | "]") {
            continue;
        }
        let event: Value = match serde_json::from_str(event) {
            Ok(event) => event,
            Err(_) if at + 1 == lines.len() && at > 0 => break,
            Err(error) => bail!("line {} is no event: {error}", at + 1),
        };
        let end = add(&mut trace, &mut open, &event).with_context(|| format!("line {}", at + 1))?;
        newest = newest.max(end);
    }
    for (track, slices) in open {
        for slice in slices {
            trace.close(track, slice, newest);
        }
    }
    ensure!(!trace.tracks.is_empty(), "there are no events in the trace");
    Ok(trace)
}

/// Adds an event; when it is over.
fn add(trace: &mut Trace, open: &mut BTreeMap<u64, Vec<Slice>>, event: &Value) -> Result<f64> {
    let name = event["name"].as_str().unwrap_or_default();
    let kind = event["ph"].as_str().context("an event without ph")?;
    let id = event["tid"].as_u64().context("an event without tid")?;
    if kind == "M" {
        if name == "thread_name" {
            let named = event["args"]["name"].as_str().unwrap_or_default();
            named.clone_into(&mut trace.tracks.entry(id).or_default().name);
        }
        return Ok(0.0);
    }
    let at = event["ts"].as_f64().context("an event without ts")?;
    let open = open.entry(id).or_default();
    let track = trace.tracks.entry(id).or_default();
    let begun = Slice {
        name: name.to_owned(),
        from: at,
        to: at,
        depth: open.len(),
    };
    match kind {
        "B" => open.push(begun),
        "E" => {
            if let Some(slice) = open.pop() {
                trace.close(id, slice, at);
            }
        }
        "X" => {
            let lasted = event["dur"].as_f64().context("a slice without dur")?;
            trace.close(id, begun, at + lasted);
            return Ok(at + lasted);
        }
        "i" => track.instants.push(Instant {
            name: name.to_owned(),
            at,
        }),
        "C" => {
            let values = event["args"]
                .as_object()
                .into_iter()
                .flat_map(|it| it.values());
            let plot = track.plots.entry(name.to_owned()).or_default();
            plot.extend(values.filter_map(Value::as_f64).map(|value| (at, value)));
        }
        other => bail!("an event of the kind {other:?}"),
    }
    Ok(at)
}

impl Trace {
    fn close(&mut self, track: u64, slice: Slice, to: f64) {
        let track = self.tracks.entry(track).or_default();
        track.slices.push(Slice { to, ..slice });
    }

    /// Drops the tracks whose names contain one of `texts`.
    pub(crate) fn leave_out(&mut self, texts: &[String]) {
        self.tracks
            .retain(|_, track| !texts.iter().any(|text| track.name.contains(text)));
    }

    /// Drops what is over before `from` or begins after `to`, and tracks on which nothing is left.
    /// Values that last into the window stay.
    pub(super) fn cut(&mut self, from: f64, to: f64) {
        let is_in = |begin: f64, end: f64| begin <= to && end >= from;
        for track in self.tracks.values_mut() {
            track.slices.retain(|slice| is_in(slice.from, slice.to));
            track
                .instants
                .retain(|instant| is_in(instant.at, instant.at));
            for values in track.plots.values_mut() {
                let before = values.iter().filter(|(at, _)| *at < from).count();
                values.drain(..before.saturating_sub(1));
                values.retain(|(at, _)| *at <= to);
            }
            track.plots.retain(|_, values| !values.is_empty());
        }
        self.tracks.retain(|_, it| {
            !(it.slices.is_empty() && it.instants.is_empty() && it.plots.is_empty())
        });
    }

    /// How many tracks there are.
    pub(crate) fn tracks(&self) -> usize {
        self.tracks.len()
    }

    /// When the first thing happens.
    pub(crate) fn begin(&self) -> f64 {
        self.times()
            .map(|(from, _)| from)
            .fold(f64::INFINITY, f64::min)
    }

    /// When the last thing is over.
    pub(crate) fn end(&self) -> f64 {
        self.times().map(|(_, to)| to).fold(0.0, f64::max)
    }

    fn times(&self) -> impl Iterator<Item = (f64, f64)> {
        self.tracks.values().flat_map(|track| {
            let slices = track.slices.iter().map(|slice| (slice.from, slice.to));
            let instants = track
                .instants
                .iter()
                .map(|instant| (instant.at, instant.at));
            slices.chain(instants)
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A vCPU that runs, leaves the guest, gets a PMI and counts.
    pub(in crate::picture) const SMALL: &str = r#"[
{"name":"process_name","cat":"trace","ph":"M","pid":1,"tid":1,"args":{"name":"vm"}},
{"name":"thread_name","cat":"trace","ph":"M","pid":1,"tid":2,"args":{"name":"vCPU 0"}},
{"name":"running","cat":"vcpu","ph":"B","ts":1.000,"pid":1,"tid":2,"args":{}},
{"name":"PMI","cat":"pmu","ph":"i","s":"t","ts":3.000,"pid":1,"tid":2,"args":{"outcome":"NMI"}},
{"name":"guest","cat":"vcpu","ph":"X","ts":2.000,"dur":4.000,"pid":1,"tid":2,"args":{"exit":"io-out"}},
{"name":"vCPU 0 PMC0","cat":"pmu","ph":"C","ts":6.000,"pid":1,"tid":2,"args":{"counted":10}},
{"name":"vCPU 0 PMC0","cat":"pmu","ph":"C","ts":8.000,"pid":1,"tid":2,"args":{"counted":30}},
{"name":"io-out","cat":"vcpu","ph":"X","ts":6.000,"dur":3.000,"pid":1,"tid":2,"args":{}}"#;

    #[test]
    fn a_trace_without_its_end_is_read_to_its_last_whole_line() {
        let whole = format!("{SMALL},\n{{\"name\":\"runn\n");
        for text in [SMALL, &whole] {
            let trace = read(text).unwrap();
            let track = &trace.tracks[&2];
            assert_eq!(track.name, "vCPU 0");
            let slices: Vec<_> = track
                .slices
                .iter()
                .map(|slice| (slice.name.as_str(), slice.from, slice.to, slice.depth))
                .collect();
            assert_eq!(
                slices,
                [
                    ("guest", 2.0, 6.0, 1),
                    ("io-out", 6.0, 9.0, 1),
                    ("running", 1.0, 9.0, 0),
                ]
            );
            assert_eq!(track.instants[0].at, 3.0);
            assert_eq!(track.plots["vCPU 0 PMC0"], [(6.0, 10.0), (8.0, 30.0)]);
            assert_eq!((trace.begin(), trace.end()), (1.0, 9.0));
        }
    }

    #[test]
    fn what_is_no_trace_is_refused() {
        for text in ["", "[\n]\n", "{}", "[\nnonsense\n{}\n]"] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_lasts_into_a_window_is_in_it() {
        let mut trace = read(SMALL).unwrap();
        trace.cut(6.5, 9.5);
        let track = &trace.tracks[&2];
        let names: Vec<_> = track.slices.iter().map(|slice| &slice.name).collect();
        assert_eq!(names, ["io-out", "running"]);
        assert_eq!(track.instants, []);
        assert_eq!(track.plots["vCPU 0 PMC0"], [(6.0, 10.0), (8.0, 30.0)]);
        trace.cut(9.2, 9.5);
        assert_eq!(trace.tracks[&2].plots["vCPU 0 PMC0"], [(8.0, 30.0)]);
        trace.cut(0.0, 0.5);
        assert_eq!(trace.tracks(), 0);
    }

    #[test]
    fn tracks_can_be_left_out() {
        let mut trace = read(SMALL).unwrap();
        trace.leave_out(&["host".to_owned()]);
        assert_eq!(trace.tracks(), 1);
        trace.leave_out(&["vCPU".to_owned()]);
        assert_eq!(trace.tracks(), 0);
    }
}
