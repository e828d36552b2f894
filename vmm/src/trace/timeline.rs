// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Makes of records what is drawn: slices that nest, instants and plots, each on its track.
//!
//! Pure: records in, text out. What of a vCPU's records was lost is shown where it is missing, and
//! slices that would have ended or begun there are left out instead of being made up.

use std::collections::BTreeMap;
use std::fmt::Display;

use vcpu_call::VcpuId;
use vcpu_life::VcpuState;
use vpmu::context::{Detail, Edge, EventId, Lane, Step, TaskId};
use vpmu::source::MAX_SLOTS;
use vpmu::{CounterId, PmiOutcome};

use super::json::{Arg, Field, Json, Kind};
use super::record::{Record, What};

/// What viewers filter events by.
mod category {
    pub(super) const VCPU: &str = "vcpu";
    pub(super) const PMU: &str = "pmu";
    pub(super) const CORE: &str = "perf";
    pub(super) const TRACE: &str = "trace";
}

/// A trace that is being drawn.
#[derive(Debug)]
pub(super) struct Timeline {
    json: Json,
    /// When it began, in nanoseconds of the records' clock.
    origin: u64,
    vcpus: BTreeMap<u32, Running>,
    /// The newest time drawn on each track. Threads race between their look at the clock and their
    /// ring, so that a record can be older than the one before it: it is drawn where that one is.
    newest: BTreeMap<Track, u64>,
    /// The lanes that somebody uses, and what that is called.
    used: BTreeMap<Track, String>,
}

/// Where something is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Track {
    /// Threads that are no vCPU's.
    Host,
    /// A vCPU: what its thread does.
    Vcpu(u32),
    /// A part of a vCPU's perf core.
    Lane(u32, Lane),
}

/// What a vCPU is in the middle of.
#[derive(Clone, Copy, Debug, Default)]
struct Running {
    state: Option<VcpuState>,
    doing: Doing,
}

#[derive(Clone, Copy, Debug, Default)]
enum Doing {
    /// Nobody knows, or nothing.
    #[default]
    Nothing,
    /// In the guest, since then.
    Guest(u64),
    /// An exit of this kind is handled, since then.
    Exit(u64, &'static str),
}

impl Timeline {
    /// A timeline of the process `name` that begins at `origin`, in nanoseconds of the records' clock.
    pub(super) fn new(name: &str, origin: u64) -> Self {
        let mut json = Json::default();
        let track = Track::Host;
        meta(&mut json, "process_name", track, ("name", Arg::Text(&name)));
        Self {
            json,
            origin,
            vcpus: BTreeMap::new(),
            newest: BTreeMap::new(),
            used: BTreeMap::new(),
        }
    }

    /// The text so far.
    pub(super) fn json(&mut self) -> &mut Json {
        &mut self.json
    }

    /// Draws a record of the ring of `vcpu`, or of the one of all other threads.
    pub(super) fn add(&mut self, vcpu: Option<u32>, record: &Record) {
        let own = vcpu.map_or(Track::Host, Track::Vcpu);
        if record.lost > 0 {
            let at = self.at(own, record.time);
            if let Some(vcpu) = vcpu {
                self.running(vcpu).doing = Doing::Nothing;
            }
            let lost = ("records", Arg::Number(record.lost));
            self.instant(category::TRACE, "lost", own, at, &[lost]);
        }
        match record.what {
            What::State(vcpu, state) => {
                let at = self.at(Track::Vcpu(vcpu), record.time);
                self.state(vcpu, at, state);
            }
            What::Core {
                vcpu,
                task,
                event,
                step,
            } => self.core(record.time, vcpu, task, event, step),
            what => {
                let at = self.at(own, record.time);
                // Only vCPUs have the others.
                if let Some(vcpu) = vcpu {
                    self.vcpu(vcpu, at, what);
                }
            }
        }
    }

    /// The end, with how many records were written and lost.
    pub(super) fn end(&mut self, records: u64, dropped: u64) {
        let at = self.newest.values().copied().max().unwrap_or(0);
        for track in self.used.keys().copied().collect::<Vec<_>>() {
            self.close(track, at, &[]);
        }
        for vcpu in self.vcpus.keys().copied().collect::<Vec<_>>() {
            self.leave_state(vcpu, at);
        }
        let at = self.at(Track::Host, at + self.origin);
        let counts = [
            ("records", Arg::Number(records)),
            ("dropped", Arg::Number(dropped)),
        ];
        self.instant(
            category::TRACE,
            "end of the trace",
            Track::Host,
            at,
            &counts,
        );
        self.json.end();
    }

    fn vcpu(&mut self, vcpu: u32, at: u64, what: What) {
        let own = Track::Vcpu(vcpu);
        match what {
            What::Enter => {
                self.stop_doing(vcpu, at, None);
                self.running(vcpu).doing = Doing::Guest(at);
            }
            What::Exit(kind) => {
                self.stop_doing(vcpu, at, Some(kind));
                self.running(vcpu).doing = Doing::Exit(at, kind);
            }
            What::Pmi(outcome) => {
                let vector = match outcome {
                    PmiOutcome::Fixed(vector) => Some(("vector", Arg::Number(vector.into()))),
                    _ => None,
                };
                let how = ("outcome", Arg::Text(&outcome_name(outcome)));
                let fields: Vec<_> = [how].into_iter().chain(vector).collect();
                self.instant(category::PMU, "PMI", own, at, &fields);
            }
            What::Overflow(counter, skid) => {
                let skid = skid.map(|skid| ("skid", Arg::Number(skid)));
                self.of_counter("guest overflow", own, at, counter, skid);
            }
            What::Throttled(counter, nanos) => {
                let wait = ("for_ns", Arg::Number(nanos));
                self.of_counter("guest overflow held back", own, at, counter, Some(wait));
            }
            What::Still(counter, select, why) => {
                let select = format_args!("{:#x}", select.0).to_string();
                let select = ("select", Arg::Text(&select));
                self.of_counter(why, own, at, counter, Some(select));
            }
            What::Counted(counter, value) => {
                let name = format!("vCPU {vcpu} {counter}");
                let value = [("counted", Arg::Number(value))];
                let plot = Kind::Plot(at);
                self.json
                    .event(plot, category::PMU, &name, own.number(), &value);
            }
            What::State(..) | What::Core { .. } => {}
        }
    }

    /// What lasted until `at` is drawn.
    fn stop_doing(&mut self, vcpu: u32, at: u64, exit: Option<&str>) {
        let slice = |from: u64| Kind::Slice {
            from,
            lasted: at.saturating_sub(from),
        };
        let track = Track::Vcpu(vcpu).number();
        let doing = std::mem::take(&mut self.running(vcpu).doing);
        let json = &mut self.json;
        match (doing, exit) {
            (Doing::Guest(from), Some(exit)) => {
                let exit = [("exit", Arg::Text(&exit))];
                json.event(slice(from), category::VCPU, &"guest", track, &exit);
            }
            (Doing::Exit(from, kind), _) => {
                json.event(slice(from), category::VCPU, &kind, track, &[]);
            }
            // How it came out of the guest is lost.
            (Doing::Guest(_) | Doing::Nothing, _) => {}
        }
    }

    fn state(&mut self, vcpu: u32, at: u64, state: VcpuState) {
        self.leave_state(vcpu, at);
        self.running(vcpu).state = Some(state);
        let (kind, track) = (Kind::Begin(at), Track::Vcpu(vcpu).number());
        self.json
            .event(kind, category::VCPU, &state.name(), track, &[]);
    }

    /// Its state ends, and with it whatever it did in it.
    fn leave_state(&mut self, vcpu: u32, at: u64) {
        self.stop_doing(vcpu, at, None);
        if let Some(state) = self.running(vcpu).state.take() {
            let (kind, track) = (Kind::End(at), Track::Vcpu(vcpu).number());
            self.json
                .event(kind, category::VCPU, &state.name(), track, &[]);
        }
    }

    fn core(
        &mut self,
        time: u64,
        vcpu: Option<VcpuId>,
        task: Option<TaskId>,
        event: Option<EventId>,
        step: Step,
    ) {
        let task_field = task.map(|task| ("task", Arg::Number(task.0)));
        let counter = event.and_then(EventId::guest_counter);
        let event_field = event.map(|event| match counter {
            // Its name is more than the numbers of JavaScript hold.
            Some((_, counter)) => ("guest counter", Arg::Number(wide(counter))),
            None => ("event", Arg::Number(event.0)),
        });
        let detail = step.detail();
        let detail = detail.as_ref().map(|(key, detail)| match detail {
            Detail::Number(number) => (*key, Arg::Number(*number)),
            Detail::Word(word) => (*key, Arg::Text(word)),
        });
        let about = task_field.into_iter().chain(event_field);
        let Some((vcpu, edge)) = vcpu.zip(step.edge()) else {
            let fields: Vec<_> = about.chain(detail).collect();
            let track = vcpu.map_or(Track::Host, |vcpu| Track::Vcpu(vcpu.0));
            let at = self.at(track, time);
            self.instant(category::CORE, step.name(), track, at, &fields);
            return;
        };
        let (Edge::Begin(lane) | Edge::End(lane)) = edge;
        let track = Track::Lane(vcpu.0, lane);
        let at = self.at(track, time);
        // If one of the two ends was lost, the other one alone would shift all that follow.
        let leaves: Vec<_> = detail.filter(|_| lane == Lane::Task).into_iter().collect();
        self.close(track, at, &leaves);
        if let Edge::Begin(_) = edge {
            let name = match (lane, counter) {
                (Lane::Task, _) => format!("task {}", task.map_or(0, |task| task.0)),
                (_, Some((_, counter))) => format!("guest counter {counter}"),
                (_, None) => format!("event {}", event.map_or(0, |event| event.0)),
            };
            let (kind, fields) = (Kind::Begin(at), about.collect::<Vec<_>>());
            self.json
                .event(kind, category::CORE, &name, track.number(), &fields);
            self.used.insert(track, name);
        }
    }

    /// Nobody uses this lane from here on.
    fn close(&mut self, track: Track, at: u64, fields: &[Field<'_>]) {
        if let Some(name) = self.used.remove(&track) {
            self.json
                .event(Kind::End(at), category::CORE, &name, track.number(), fields);
        }
    }

    fn of_counter(
        &mut self,
        name: &str,
        track: Track,
        at: u64,
        counter: CounterId,
        more: Option<Field<'_>>,
    ) {
        let counter = ("counter", Arg::Text(&counter));
        let fields: Vec<_> = [counter].into_iter().chain(more).collect();
        self.instant(category::PMU, name, track, at, &fields);
    }

    fn instant(&mut self, category: &str, name: &str, track: Track, at: u64, fields: &[Field<'_>]) {
        let kind = Kind::Instant(at);
        self.json
            .event(kind, category, &name, track.number(), fields);
    }

    fn running(&mut self, vcpu: u32) -> &mut Running {
        self.vcpus.entry(vcpu).or_default()
    }

    /// Where `time` is on `track`, which is named when it is first used.
    fn at(&mut self, track: Track, time: u64) -> u64 {
        let time = time.saturating_sub(self.origin);
        if let Some(newest) = self.newest.get_mut(&track) {
            *newest = time.max(*newest);
            return *newest;
        }
        self.newest.insert(track, time);
        let name: &dyn Display = match track {
            Track::Host => &"host",
            Track::Vcpu(vcpu) => &format!("vCPU {vcpu}"),
            Track::Lane(vcpu, Lane::Task) => &format!("vCPU {vcpu} task"),
            Track::Lane(vcpu, Lane::Counter(slot)) => &format!("vCPU {vcpu} slot {slot}"),
        };
        let json = &mut self.json;
        meta(json, "thread_name", track, ("name", Arg::Text(name)));
        let place = ("sort_index", Arg::Number(track.number()));
        meta(json, "thread_sort_index", track, place);
        time
    }
}

fn meta(json: &mut Json, what: &str, track: Track, field: Field<'_>) {
    json.event(Kind::Meta, category::TRACE, &what, track.number(), &[field]);
}

impl Track {
    /// Its number and its place. Viewers take 0 for the idle thread.
    fn number(self) -> u64 {
        let first = |vcpu: u32| 2 + u64::from(vcpu) * (wide(MAX_SLOTS) + 2);
        match self {
            Self::Host => 1,
            Self::Vcpu(vcpu) => first(vcpu),
            Self::Lane(vcpu, Lane::Task) => first(vcpu) + 1,
            Self::Lane(vcpu, Lane::Counter(slot)) => first(vcpu) + 2 + wide(slot),
        }
    }
}

const fn outcome_name(outcome: PmiOutcome) -> &'static str {
    match outcome {
        PmiOutcome::Fixed(_) => "interrupt",
        PmiOutcome::Nmi => "NMI",
        PmiOutcome::Masked => "masked",
        PmiOutcome::Undeliverable => "undeliverable",
    }
}

fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
