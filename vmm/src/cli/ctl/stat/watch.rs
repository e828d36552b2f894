// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The events that are counted, and the two ways to their counts.

use std::time::{Duration, Instant};

use super::super::super::Failure;
use super::super::link::{Link, Unheard};
use super::layout::Line;
use super::tally::{Cell, Reading, Series, Sum};
use crate::control::{
    ErrorKind, EventRead, OpenEvent, Opened, Reached, Refusal, RunState, Until, Verb,
};

/// All events that are counted.
pub(super) struct Watches {
    /// In the order in which they were asked for.
    of: Vec<Watch>,
    /// The run is over.
    over: bool,
    /// When all were read last, beside the last look.
    read: Option<Instant>,
    /// The run was over before its end had told the last counts.
    lost: bool,
}

/// An event, on all that it is counted on.
struct Watch {
    event: String,
    /// By the numbers that the VM gave; none if it cannot be counted.
    opened: Option<Vec<u64>>,
    source: Option<String>,
    series: Series,
}

impl Watches {
    /// Opens each of `events` on `task`, or on each of `vcpus`.
    pub(super) fn open(
        link: &mut Link,
        events: &[String],
        task: Option<u64>,
        vcpus: &[Option<u32>],
    ) -> Result<Self, Failure> {
        let mut of = Vec::new();
        for event in events {
            // One that is asked for and leaves meanwhile is an error; of all, it is one less.
            let all = vcpus.len() > 1;
            let opened = open(link, event, task, vcpus, all)?;
            of.push(Watch {
                event: event.clone(),
                opened,
                source: None,
                series: Series::default(),
            });
        }
        Ok(Self {
            of,
            over: false,
            read: None,
            lost: false,
        })
    }

    /// All numbers, in order.
    fn numbers(&self) -> Vec<(usize, usize, u64)> {
        let watches = self.of.iter().enumerate();
        let of_watch = |(at, watch): (usize, &Watch)| {
            let opened = watch.opened.iter().flatten().enumerate();
            let numbers = opened.map(move |(nth, event)| (at, nth, *event));
            numbers.collect::<Vec<_>>()
        };
        watches.flat_map(of_watch).collect()
    }

    /// Reads all of them.
    pub(super) fn read(&mut self, link: &mut Link) -> Result<(), Unheard> {
        for (at, nth, event) in self.numbers() {
            let read: EventRead = link.ask(Verb::EventsRead { event })?;
            self.tell(at, nth, read);
        }
        self.read = Some(Instant::now());
        Ok(())
    }

    fn tell(&mut self, at: usize, nth: usize, read: EventRead) {
        let watch = &mut self.of[at];
        watch.series.tell(nth, Reading::of(&read));
        watch.source = Some(read.source);
    }

    /// Asks for the end of the run, and for the counts that the events have then.
    pub(super) fn ask_for_last_look(&self, link: &mut Link) -> Result<(), Failure> {
        let wait = Verb::Wait {
            until: Until::Vm(RunState::Ended),
            limit_ms: Verb::MAX_WAIT_MS,
        };
        let reads = self.numbers().into_iter();
        let reads = reads.map(|(_, _, event)| Verb::EventsRead { event });
        let verbs: Vec<_> = [wait].into_iter().chain(reads).collect();
        let limit = link.limit(&Verb::Info);
        let told = link.tell(&verbs, limit);
        told.map_err(|error| Unheard::from(error).into())
    }

    /// Something came from the connection that waits for the end: takes it in; whether it was that.
    pub(super) fn hear(&mut self, link: &mut Link) -> Result<bool, Failure> {
        let limit = link.limit(&Verb::Info);
        let waited = match link.answer(limit) {
            Ok(answer) => answer.read_as::<Reached>(),
            Err(Unheard::Gone(_)) => return Ok(self.lose()),
            Err(unheard) => return Err(unheard.into()),
        };
        // A day has passed: once more.
        let again = matches!(&waited, Err(refusal) if refusal.kind == ErrorKind::Timeout);
        match waited {
            Err(refusal) if !again && refusal.kind != ErrorKind::Ended => {
                return Err(Unheard::Refused(refusal).into());
            }
            _ => {}
        }
        for (at, nth, _) in self.numbers() {
            match link.answer(limit) {
                Ok(answer) => match answer.read_as::<EventRead>() {
                    Ok(read) => self.tell(at, nth, read),
                    Err(refusal) if is_end(&refusal) => return Ok(self.lose()),
                    Err(refusal) => return Err(Unheard::Refused(refusal).into()),
                },
                Err(Unheard::Gone(_)) => return Ok(self.lose()),
                Err(unheard) => return Err(unheard.into()),
            }
        }
        if again {
            self.ask_for_last_look(link)?;
            return Ok(false);
        }
        Ok(self.end())
    }

    const fn end(&mut self) -> bool {
        self.over = true;
        true
    }

    /// Whatever was read last stays.
    const fn lose(&mut self) -> bool {
        self.lost = true;
        self.end()
    }

    /// Whether the run is over.
    pub(super) const fn are_over(&self) -> bool {
        self.over
    }

    /// When all were read last, if the run's end did not tell the last counts.
    pub(super) fn lost(&self) -> Option<Instant> {
        self.read.filter(|_| self.lost)
    }

    /// Where counts come from, each source once.
    pub(super) fn sources(&self) -> Vec<&str> {
        let mut sources = Vec::new();
        for source in self.of.iter().filter_map(|watch| watch.source.as_deref()) {
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
        sources
    }

    /// A line for each event, with what `sum` makes of its counts.
    pub(super) fn lines<'a>(
        &'a mut self,
        at: Option<Duration>,
        mut sum: impl FnMut(&mut Series) -> Sum,
    ) -> Vec<Line<'a>> {
        let line = |watch: &'a mut Watch| {
            let Watch {
                event,
                opened,
                source,
                series,
            } = watch;
            let cell = match opened {
                None => Cell::NotSupported,
                Some(_) => Cell::Counted(sum(series)),
            };
            Line {
                at,
                event,
                cell,
                source: source.as_deref(),
            }
        };
        self.of.iter_mut().map(line).collect()
    }
}

/// Opens `event` on all that it is to be on; none if the source cannot count it.
fn open(
    link: &mut Link,
    event: &str,
    task: Option<u64>,
    vcpus: &[Option<u32>],
    all: bool,
) -> Result<Option<Vec<u64>>, Failure> {
    let mut opened = Vec::new();
    for vcpu in vcpus {
        let wanted = OpenEvent {
            task,
            vcpu: *vcpu,
            ..OpenEvent::counting(0, event)
        };
        match link.ask::<Opened>(Verb::EventsOpen(wanted)) {
            Ok(event) => opened.push(event.event),
            Err(Unheard::Refused(refusal)) if refused_by(&refusal, "ENOENT") => return Ok(None),
            Err(Unheard::Refused(refusal)) if all && refused_by(&refusal, "ENODEV") => {}
            Err(unheard) => return Err(unheard.into()),
        }
    }
    Ok(Some(opened))
}

fn refused_by(refusal: &Refusal, errno: &str) -> bool {
    refusal.kind == ErrorKind::Perf && refusal.errno.as_deref() == Some(errno)
}

fn is_end(refusal: &Refusal) -> bool {
    refusal.kind == ErrorKind::Ended
}

/// Whether there is no answer because the run is over.
pub(super) fn is_the_end(unheard: &Unheard) -> bool {
    match unheard {
        Unheard::Gone(_) => true,
        Unheard::Refused(refusal) => is_end(refusal),
        Unheard::Failed(_) => false,
    }
}
