// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Events on guest tasks that are opened, changed, read and closed at random, with the counting law
//! looked at whenever one is read.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use vmm::control::{
    Closed, EventNow, EventRead, EventState, EventTraps, OpenEvent, Opened, TaskList, TaskState,
    Verb,
};

use super::host::Failure;
use super::storm::Random;
use super::tasks::{Client, ask};
use super::wish::Outcome;

/// In the traps of events that are closed when all their traps have arrived.
pub const EXACT: u64 = 8;
/// In the traps of events that are closed with a trap on its way, at times.
pub const LOOSE: u64 = 9;
/// In the traps of events that are closed while they overflow.
const WILD: u64 = 10;

/// Events that are open at once.
const MANY: usize = 24;
/// How long a trap may be on its way.
const PATIENCE: Duration = Duration::from_secs(20);
/// Faults that end the storm early.
const TOO_MANY: usize = 8;

/// What a storm did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests.
    pub asked: u32,
    /// Events that were opened.
    pub opened: u32,
    /// Answers that no request should get, and violations of the counting law.
    pub faults: Vec<String>,
    /// Traps that tasks got of events with [`EXACT`].
    pub exact: u64,
    /// Traps that tasks got at least of events with [`LOOSE`].
    pub least: u64,
    /// And at most.
    pub most: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            asked,
            opened,
            faults,
            exact,
            least,
            most,
        } = self;
        write!(
            f,
            "{asked} requests, {opened} events, {exact} traps and {least} to {most}"
        )?;
        faults.iter().try_for_each(|fault| write!(f, "; {fault}"))
    }
}

/// A storm under way.
#[derive(Debug)]
pub struct Storm {
    calm: Arc<AtomicBool>,
    thread: JoinHandle<Tally>,
}

impl Storm {
    /// Begins one.
    pub fn start(client: impl Client + Send + 'static, seed: u64) -> Self {
        let calm = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&calm);
        let thread = thread::spawn(move || run(client, seed, &|| ends.load(Relaxed)));
        Self { calm, thread }
    }

    /// Ends it.
    #[must_use]
    pub fn stop(self) -> Tally {
        self.calm.store(true, Relaxed);
        self.thread.join().unwrap_or_else(|_| Tally {
            faults: vec!["the storm panicked".to_owned()],
            ..Tally::default()
        })
    }
}

/// An open event.
#[derive(Clone, Copy, Debug)]
struct Event {
    number: u64,
    samples: bool,
    /// Its traps' data.
    sigtrap: Option<u64>,
}

struct Stormer<C> {
    client: C,
    random: Random,
    tasks: Vec<u64>,
    events: Vec<Event>,
    tally: Tally,
}

/// Goes on until `is_over`; then all events are closed.
fn run(client: impl Client, seed: u64, is_over: &dyn Fn() -> bool) -> Tally {
    let mut stormer = Stormer {
        client,
        random: Random::new(seed),
        tasks: Vec::new(),
        events: Vec::new(),
        tally: Tally::default(),
    };
    while !is_over() && stormer.tally.faults.len() < TOO_MANY {
        if let Err(failure) = stormer.step() {
            if failure.outcome == Outcome::Ended {
                return stormer.tally;
            }
            stormer.fault(&failure);
        }
    }
    while let Some(event) = stormer.events.pop() {
        if let Err(failure) = stormer.close(event) {
            stormer.fault(&failure);
        }
    }
    stormer.tally
}

impl<C: Client> Stormer<C> {
    fn fault(&mut self, failure: &Failure) {
        let Failure { outcome, words } = failure;
        self.tally.faults.push(format!("{outcome:?}: {words}"));
    }

    fn ask<T: serde::de::DeserializeOwned>(&mut self, verb: Verb) -> Result<T, Failure> {
        self.tally.asked = self.tally.asked.saturating_add(1);
        ask(&mut self.client, verb)
    }

    /// One thing, whatever it is.
    fn step(&mut self) -> Result<(), Failure> {
        if self.tasks.is_empty() || self.random.below(64) == 0 {
            return self.look();
        }
        let at = match self.events.len() {
            0 => return self.open(),
            many => self.random.below(many),
        };
        let event = self.events[at];
        match self.random.below(8) {
            0 | 1 if self.events.len() < MANY => self.open(),
            0..=2 => {
                self.events.swap_remove(at);
                self.close(event)
            }
            3 => self.read(event).map(|_| ()),
            4 if event.samples => {
                let overflows = self.random.below(20) as u64;
                self.change(Verb::EventsRefresh {
                    event: event.number,
                    overflows,
                })
            }
            5 => self.change(Verb::EventsDisable {
                event: event.number,
            }),
            6 => self.change(Verb::EventsReset {
                event: event.number,
            }),
            _ => self.change(Verb::EventsEnable {
                event: event.number,
            }),
        }
    }

    /// Which tasks there are.
    fn look(&mut self) -> Result<(), Failure> {
        let list: TaskList = self.ask(Verb::Tasks)?;
        let living = list.tasks.iter();
        let living = living.filter(|task| task.state != TaskState::Exited);
        self.tasks = living.map(|task| task.task).collect();
        Ok(())
    }

    fn open(&mut self) -> Result<(), Failure> {
        let Some(&task) = self.tasks.get(self.random.below(self.tasks.len().max(1))) else {
            return Ok(());
        };
        let samples = self.random.below(4) > 0;
        let sigtrap = samples && self.random.below(4) > 0;
        let sigtrap = sigtrap.then(|| [EXACT, LOOSE, WILD][self.random.below(3)]);
        let period = 1 + self.random.below(50) as u64;
        let limit = 1 + self.random.below(50) as u64;
        let limited = samples && self.random.below(4) == 0;
        let vcpu = u32::try_from(self.random.below(4)).ok();
        let open = OpenEvent {
            vcpu: vcpu.filter(|_| self.random.below(8) == 0),
            period: samples.then_some(period),
            limit: limited.then_some(limit),
            disabled: !limited && self.random.below(4) == 0,
            sigtrap,
            ..OpenEvent::on_task(task, "port.tick")
        };
        match self.ask::<Opened>(Verb::EventsOpen(open)) {
            Ok(opened) => {
                self.tally.opened += 1;
                self.events.push(Event {
                    number: opened.event,
                    samples,
                    sigtrap,
                });
                Ok(())
            }
            // It has exited, or the guest has all the events that there can be.
            Err(failure) if failure.outcome == Outcome::NoSuchTask => {
                self.tasks.retain(|other| *other != task);
                Ok(())
            }
            Err(failure) if failure.outcome == Outcome::Refused => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    fn change(&mut self, verb: Verb) -> Result<(), Failure> {
        self.ask::<EventState>(verb).map(|_| ())
    }

    /// Reads one, and holds it against the counting law.
    fn read(&mut self, event: Event) -> Result<EventRead, Failure> {
        let number = event.number;
        let read: EventRead = self.ask(Verb::EventsRead { event: number })?;
        match (event.sigtrap, &read.traps) {
            (None, None) => Ok(read),
            (Some(_), Some(traps)) => match violation(read.overflows, traps) {
                None => Ok(read),
                Some(what) => Err(fault(format!("event {number}: {what}"))),
            },
            _ => Err(fault(format!("event {number}: {:?}", read.traps))),
        }
    }

    fn close(&mut self, event: Event) -> Result<(), Failure> {
        let number = event.number;
        if event.sigtrap == Some(EXACT) || event.sigtrap == Some(LOOSE) {
            self.change(Verb::EventsDisable { event: number })?;
            let traps = if event.sigtrap == Some(EXACT) {
                self.settle(event)?
            } else {
                self.read(event)?.traps
            };
            if let Some(traps) = traps {
                self.book(event, traps);
            }
        }
        self.ask::<Closed>(Verb::EventsClose { event: number })?;
        Ok(())
    }

    fn book(&mut self, event: Event, traps: EventTraps) {
        if event.sigtrap == Some(EXACT) {
            self.tally.exact += traps.sent;
        } else {
            self.tally.least += traps.sent;
            self.tally.most += traps.queued - traps.dropped;
        }
    }

    /// Waits until no trap of a disabled event is on its way.
    fn settle(&mut self, event: Event) -> Result<Option<EventTraps>, Failure> {
        let end = Instant::now() + PATIENCE;
        loop {
            let read = self.read(event)?;
            let pending = |traps: EventTraps| traps.queued > traps.sent + traps.dropped;
            if !read.traps.is_some_and(pending) || read.state == EventNow::Exit {
                return Ok(read.traps);
            }
            if Instant::now() >= end {
                let number = event.number;
                return Err(fault(format!(
                    "event {number}: no trap within {PATIENCE:?}: {:?}",
                    read.traps
                )));
            }
            thread::yield_now();
        }
    }
}

fn fault(words: String) -> Failure {
    Failure {
        outcome: Outcome::Fault,
        words,
    }
}

/// What is wrong with the counts of one event, at one moment.
fn violation(overflows: u64, traps: &EventTraps) -> Option<String> {
    let gone = traps.sent + traps.dropped;
    let told = overflows == traps.queued + traps.merged + traps.refused;
    let pending = traps.queued.checked_sub(gone);
    // One of an event at a time.
    let sound = told && pending.is_some_and(|pending| pending <= 1);
    (!sound).then(|| format!("{overflows} overflows, {traps:?}"))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;
    use std::io;

    use serde_json::{Value, json};
    use vmm::control::{Answer, ErrorKind, Refusal};

    use super::*;

    /// A VM with two tasks, one of which is not there when it is asked for. Each event overflows
    /// between any two requests, while it is enabled; traps arrive with every third.
    #[derive(Default)]
    struct Fake {
        events: BTreeMap<u64, Counts>,
        last: u64,
        passed: u64,
        flaw: Flaw,
    }

    #[derive(Default)]
    struct Counts {
        enabled: bool,
        traps: Option<u64>,
        overflows: u64,
        queued: u64,
        merged: u64,
        sent: u64,
    }

    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    enum Flaw {
        #[default]
        None,
        /// An overflow is neither queued nor merged.
        Lost,
        /// A trap is sent that was not queued.
        Twice,
        /// It forgets an event.
        Forgets,
    }

    impl Fake {
        fn pass(&mut self) {
            self.passed += 1;
            for counts in self.events.values_mut() {
                if self.passed.is_multiple_of(3) {
                    counts.sent = counts.queued;
                }
                let waits = counts.queued > counts.sent;
                if counts.enabled {
                    counts.overflows += 1;
                    counts.merged += u64::from(waits);
                    counts.queued += u64::from(!waits && self.flaw != Flaw::Lost);
                }
                counts.sent += u64::from(self.flaw == Flaw::Twice) * 2;
            }
        }

        fn set(&mut self, event: u64, enabled: bool) -> Result<Value, Refusal> {
            match self.events.get_mut(&event) {
                Some(counts) => {
                    counts.enabled = enabled;
                    Ok(json!({ "event": event, "state": "off" }))
                }
                None => Err(Refusal::new(ErrorKind::NoSuchEvent, "no")),
            }
        }
    }

    impl Client for Fake {
        fn ask(&mut self, verb: Verb) -> io::Result<Answer> {
            self.pass();
            let task = |task| json!({ "task": task, "name": "", "vcpu": 0, "state": "queued", "events": 0 });
            let result = match verb {
                Verb::Tasks => Ok(json!({ "tasks": [task(1), task(2)] })),
                Verb::EventsOpen(open) if open.task == Some(1) => {
                    self.last += 1;
                    if self.flaw != Flaw::Forgets || !self.last.is_multiple_of(4) {
                        let counts = Counts {
                            enabled: !open.disabled,
                            traps: open.sigtrap,
                            ..Counts::default()
                        };
                        self.events.insert(self.last, counts);
                    }
                    let event = self.last;
                    Ok(json!({ "event": event, "installed": true, "rounds": 1, "state": "off" }))
                }
                Verb::EventsOpen(_) => Err(Refusal::new(ErrorKind::NoSuchTask, "no")),
                Verb::EventsEnable { event } | Verb::EventsRefresh { event, .. } => {
                    self.set(event, true)
                }
                Verb::EventsDisable { event } => self.set(event, false),
                Verb::EventsReset { event } => Ok(json!({ "event": event, "state": "off" })),
                Verb::EventsRead { event } => match self.events.get(&event) {
                    None => Err(Refusal::new(ErrorKind::NoSuchEvent, "no")),
                    Some(counts) => {
                        let mut read = json!({
                            "event": event, "task": 1, "name": "", "source": "", "count": 1,
                            "enabled_ns": 1, "running_ns": 1, "scaled": 1, "state": "off",
                            "overflows": counts.overflows, "left": null
                        });
                        if counts.traps.is_some() {
                            read["traps"] = json!({
                                "queued": counts.queued, "merged": counts.merged, "refused": 0,
                                "sent": counts.sent, "dropped": 0
                            });
                        }
                        Ok(read)
                    }
                },
                Verb::EventsClose { event } => match self.events.remove(&event) {
                    None => Err(Refusal::new(ErrorKind::NoSuchEvent, "no")),
                    Some(_) => Ok(json!({ "closed": event })),
                },
                _ => unreachable!("{verb:?}"),
            };
            Ok(Answer { id: None, result })
        }
    }

    fn stormed(flaw: Flaw) -> Tally {
        let steps = Cell::new(0);
        let enough = || steps.replace(steps.get() + 1) >= 5_000;
        let fake = Fake {
            flaw,
            ..Fake::default()
        };
        run(fake, 7, &enough)
    }

    #[test]
    fn a_vm_that_keeps_the_law_has_no_faults() {
        let tally = stormed(Flaw::None);
        assert_eq!(tally.faults, Vec::<String>::new());
        assert!(tally.opened > 100 && tally.exact > 100, "{tally}");
        assert!(tally.least < tally.most, "{tally}");
    }

    #[test]
    fn whatever_is_against_the_law_is_a_fault() {
        for flaw in [Flaw::Lost, Flaw::Twice, Flaw::Forgets] {
            let tally = stormed(flaw);
            assert!(tally.faults.len() >= TOO_MANY, "{tally}");
        }
    }

    #[test]
    fn a_run_that_is_over_is_no_fault() {
        struct Gone;
        impl Client for Gone {
            fn ask(&mut self, _verb: Verb) -> io::Result<Answer> {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        }
        let tally = run(Gone, 7, &|| false);
        assert_eq!((tally.asked, tally.faults.len()), (1, 0));
    }
}
