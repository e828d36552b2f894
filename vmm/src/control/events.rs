// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The events that clients have open in the perf core.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vcpu_call::VcpuId;
use vpmu::EventConfig;
use vpmu::context::{
    Attr, Caller, Clock, Event, Open, Perf, PerfError, PerfObserver, State, Status, Target, Task,
};

use super::{
    Change, ClientId, Closed, ErrorKind, EventDesk, EventLine, EventList, EventNow, EventRead,
    EventState, EventTraps, OpenEvent, Opened, Refusal, TaskList, Tasks,
};

/// Where counts of the port's own event come from, whatever the source of the others.
const PORT: &str = "port: measured, to the unit, as each store to the tick page is an exit";

/// The events that clients have open in a perf core, by number.
///
/// Its lock is never held while the perf core is asked for anything: that may have to wait for a
/// vCPU.
pub struct Events<C, O, F> {
    perf: Perf<C, O>,
    /// Makes a caller for the thread that asks.
    caller: F,
    /// Where counts come from.
    source: &'static str,
    /// None without a perf port.
    tasks: Option<Arc<dyn Tasks>>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    open: BTreeMap<u64, Entry>,
    /// Places that are taken by events being opened and closed.
    busy: usize,
    /// Those that were closed with traps on their way: the perf core has them until those arrive, which
    /// is the guest's to say.
    closed: Vec<Event>,
    /// The last number given.
    last: u64,
}

/// An open event.
#[derive(Clone)]
struct Entry {
    event: Event,
    vcpu: Option<u32>,
    task: Option<u64>,
    name: &'static str,
    client: ClientId,
    keep: bool,
}

impl Table {
    /// Takes a place, if there is one.
    fn reserve(&mut self, most: usize) -> Result<(), Refusal> {
        self.closed.retain(|event| event.traps().on_their_way() > 0);
        let closed = self.closed.len();
        if self.open.len() + self.busy + closed >= most {
            let message = if closed == 0 {
                format!("{most} events are open, which is the most: close some")
            } else {
                format!(
                    "{most} events are open, {closed} of them closed with traps that their tasks have \
                     not taken, which is the most: close others, or wait for those tasks"
                )
            };
            return Err(Refusal::new(ErrorKind::Refused, message));
        }
        self.busy += 1;
        Ok(())
    }

    /// Takes an event out, to be closed; its place stays taken until it is.
    fn take(&mut self, event: u64) -> Option<Event> {
        let entry = self.open.remove(&event)?;
        self.busy += 1;
        Some(entry.event)
    }

    /// It was closed.
    fn closed(&mut self, event: Event) {
        self.busy -= 1;
        if event.traps().on_their_way() > 0 {
            self.closed.push(event);
        }
    }

    /// Fills a place that was taken.
    fn fill(&mut self, entry: Entry) -> u64 {
        self.busy -= 1;
        self.last += 1;
        self.open.insert(self.last, entry);
        self.last
    }
}

impl<C, O, F> Events<C, O, F> {
    /// The most events that can be open at a time, those of all clients together.
    pub const MOST: usize = 256;
}

impl<C: Clock, O: PerfObserver, F: Fn() -> K, K: Caller> Events<C, O, F> {
    /// No events yet. `caller` makes the caller that a thread has to be which asks `perf` for
    /// something, such as [`PerfCore::host_thread`](vpmu_kvm::PerfCore::host_thread). `source` is told
    /// with each count: where it comes from, and whether it is measured.
    pub fn new(perf: Perf<C, O>, caller: F, source: &'static str) -> Self {
        Self {
            perf,
            caller,
            source,
            tasks: None,
            table: Mutex::default(),
        }
    }

    /// The same, with the guest's tasks to open events on.
    #[must_use]
    pub fn with_tasks(mut self, tasks: Arc<dyn Tasks>) -> Self {
        self.tasks = Some(tasks);
        self
    }

    fn source_of(&self, entry: &Entry) -> &'static str {
        match entry.event.attr().config.event {
            vpmu::Event::PortTick => PORT,
            _ => self.source,
        }
    }

    fn task(&self, id: u64) -> Result<Task, Refusal> {
        let Some(tasks) = &self.tasks else {
            let message = "This VM has no perf port, by which the guest tells of its tasks: run it \
                           without --perf-port none";
            return Err(no_such_task(message));
        };
        tasks.task(id).ok_or_else(|| no_task(id))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, event: u64) -> Result<Entry, Refusal> {
        let table = self.table();
        let entry = table.open.get(&event).ok_or_else(|| unknown(event))?;
        Ok(entry.clone())
    }

    fn status(&self, event: &Event) -> Result<(EventNow, Status), Refusal> {
        let status = self.perf.status(event).map_err(refused)?;
        let now = match status.state {
            State::Active(_) => EventNow::Active,
            State::Inactive => EventNow::Inactive,
            State::Off => EventNow::Off,
            State::Error => EventNow::Error,
            State::Exit => EventNow::Exit,
            State::Dead => return Err(refused(PerfError::Closed)),
        };
        Ok((now, status))
    }

    /// Opens the event; in it is what it took.
    fn install(
        &self,
        open: &OpenEvent,
        target: Target<'_>,
        config: EventConfig,
    ) -> Result<(Event, u32), PerfError> {
        let mut me = (self.caller)();
        let attr = Attr {
            period: open.period.unwrap_or(0),
            // One with a limit is enabled by the limit, which must be there before it counts.
            disabled: open.disabled || open.limit.is_some(),
            pinned: open.pinned,
            inherit: open.inherit,
            sigtrap: open.sigtrap,
            // The core wants it so: a trap would reach a program that nobody meant.
            remove_on_exec: open.sigtrap.is_some(),
            ..Attr::counting(config)
        };
        let asked = Open::new(attr, target);
        let (event, rounds) = self.perf.open_counting_rounds(&asked, &mut me)?;
        if let Some(limit) = open.limit
            && let Err(error) = self.perf.refresh(&event, limit, &mut me)
        {
            // It has one handle: nobody else can have closed it.
            let _ = self.perf.close(&event, &mut me);
            return Err(error);
        }
        Ok((event, rounds))
    }
}

impl<C: Clock, O: PerfObserver, F: Fn() -> K + Send + Sync, K: Caller> EventDesk
    for Events<C, O, F>
{
    fn tasks(&self) -> TaskList {
        let tasks = self.tasks.as_ref().map(|tasks| tasks.list());
        TaskList {
            tasks: tasks.unwrap_or_default(),
        }
    }

    fn open(&self, client: ClientId, open: &OpenEvent) -> Result<Opened, Refusal> {
        let wanted: Result<vpmu::Event, _> = open.event.parse();
        let wanted = wanted.map_err(|unknown| {
            let message = format!("\"event\" of events-open: {unknown}");
            Refusal::new(ErrorKind::BadRequest, message)
        })?;
        let task = open.task.map(|id| self.task(id)).transpose()?;
        let target = match (&task, open.vcpu.map(VcpuId)) {
            (Some(task), None) => Target::Task(task),
            (Some(task), Some(vcpu)) => Target::TaskOn(task, vcpu),
            (None, Some(vcpu)) => Target::Vcpu(vcpu),
            (None, None) => {
                let message = "An event is on a vCPU or on a task: give one";
                return Err(Refusal::new(ErrorKind::BadRequest, message));
            }
        };
        self.table().reserve(Self::MOST)?;
        let installed = self.install(open, target, EventConfig::everywhere(wanted));
        let mut table = self.table();
        let (event, rounds) = installed.map_err(|error| {
            table.busy -= 1;
            match (error, open.task) {
                // It exited after it was looked up.
                (PerfError::NoSuchTask, Some(task)) => no_task(task),
                _ => refused(error),
            }
        })?;
        let number = table.fill(Entry {
            event: event.clone(),
            vcpu: open.vcpu,
            task: open.task,
            name: wanted.name().unwrap_or_default(),
            client,
            keep: open.keep,
        });
        drop(table);
        let (state, _) = self.status(&event)?;
        Ok(Opened {
            event: number,
            installed: true,
            rounds,
            state,
        })
    }

    fn change(&self, event: u64, change: Change) -> Result<EventState, Refusal> {
        let handle = self.find(event)?.event;
        let mut me = (self.caller)();
        let changed = match change {
            Change::Enable => self.perf.enable(&handle, &mut me),
            Change::Disable => self.perf.disable(&handle, &mut me),
            Change::Refresh(overflows) => self.perf.refresh(&handle, overflows, &mut me),
            Change::Reset => self.perf.reset(&handle, &mut me),
        };
        changed.map_err(refused)?;
        let (state, _) = self.status(&handle)?;
        Ok(EventState { event, state })
    }

    fn read(&self, event: u64) -> Result<EventRead, Refusal> {
        let entry = self.find(event)?;
        let reading = self.perf.read(&entry.event, &mut (self.caller)());
        let reading = reading.map_err(refused)?;
        let (state, status) = self.status(&entry.event)?;
        Ok(EventRead {
            event,
            vcpu: entry.vcpu,
            task: entry.task,
            name: entry.name.to_owned(),
            source: self.source_of(&entry).to_owned(),
            count: reading.map(|reading| reading.count),
            enabled_ns: reading.map(|reading| reading.time_enabled.0),
            running_ns: reading.map(|reading| reading.time_running.0),
            scaled: reading.and_then(|reading| reading.scaled()),
            state,
            overflows: status.overflows,
            left: left(&status),
            traps: entry.event.attr().sigtrap.map(|_| traps(&status)),
        })
    }

    fn close(&self, event: u64) -> Result<Closed, Refusal> {
        let taken = self.table().take(event);
        let handle = taken.ok_or_else(|| unknown(event))?;
        let closed = self.perf.close(&handle, &mut (self.caller)());
        self.table().closed(handle);
        closed.map_err(refused)?;
        Ok(Closed { closed: event })
    }

    fn list(&self, client: ClientId) -> EventList {
        let entries: Vec<_> = {
            let table = self.table();
            let entries = table.open.iter();
            entries
                .map(|(event, entry)| (*event, entry.clone()))
                .collect()
        };
        let line = |(event, entry): (u64, Entry)| {
            // Closed meanwhile: it is in the list no more.
            let (state, status) = self.status(&entry.event).ok()?;
            let attr = entry.event.attr();
            Some(EventLine {
                event,
                vcpu: entry.vcpu,
                task: entry.task,
                name: entry.name.to_owned(),
                period: attr.samples().then_some(attr.period),
                pinned: attr.pinned,
                keep: entry.keep,
                own: entry.client == client,
                state,
                overflows: status.overflows,
                left: left(&status),
            })
        };
        EventList {
            events: entries.into_iter().filter_map(line).collect(),
        }
    }

    fn open_events(&self) -> usize {
        self.table().open.len()
    }

    fn leave(&self, client: ClientId) {
        let left: Vec<_> = {
            let mut table = self.table();
            let of_client = |entry: &Entry| entry.client == client && !entry.keep;
            let gone = table.open.iter().filter(|(_, entry)| of_client(entry));
            let gone: Vec<_> = gone.map(|(event, _)| *event).collect();
            gone.into_iter()
                .filter_map(|event| table.take(event))
                .collect()
        };
        let mut me = (self.caller)();
        for event in left {
            // Out of the table, it was nobody else's to close.
            let _ = self.perf.close(&event, &mut me);
            self.table().closed(event);
        }
    }
}

impl<C, O, F> fmt::Debug for Events<C, O, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("perf", &self.perf)
            .finish_non_exhaustive()
    }
}

fn left(status: &Status) -> Option<u64> {
    (status.limit > 0).then_some(status.limit)
}

const fn traps(status: &Status) -> EventTraps {
    let counts = status.traps;
    EventTraps {
        queued: counts.queued,
        merged: counts.merged,
        refused: counts.refused,
        sent: counts.sent,
        dropped: counts.dropped,
    }
}

fn no_task(task: u64) -> Refusal {
    no_such_task(format!(
        "The guest has no task {task}: tasks tells which there are"
    ))
}

fn no_such_task(message: impl Into<String>) -> Refusal {
    Refusal::new(ErrorKind::NoSuchTask, message).errno(PerfError::NoSuchTask.errno_name())
}

fn unknown(event: u64) -> Refusal {
    let message = format!("No event {event} is open: events-list tells which are");
    Refusal::new(ErrorKind::NoSuchEvent, message)
}

fn refused(error: PerfError) -> Refusal {
    Refusal::new(ErrorKind::Perf, error.to_string()).errno(error.errno_name())
}

#[cfg(test)]
mod tests {
    use vpmu::{Event, Vendor};

    use crate::select::{PORT_EVENTS, named_events};

    #[test]
    fn the_names_are_those_of_pmu_list() {
        for vendor in [Vendor::Intel, Vendor::Amd] {
            for named in named_events(vendor) {
                assert_eq!(named.name.parse(), Ok(named.event));
                assert_eq!(named.event.name(), Some(named.name));
            }
        }
        let vendors = [Vendor::Intel, Vendor::Amd].map(named_events).concat();
        let vendors = vendors.iter().map(|named| (named.event, named.name));
        let port = PORT_EVENTS
            .iter()
            .filter_map(|port| Some((port.event, port.event.name()?)));
        let listed: Vec<_> = vendors.chain(port).collect();
        for named in Event::NAMED {
            assert!(listed.contains(&named), "{named:?}");
        }
        for named in listed {
            assert!(Event::NAMED.contains(&named), "{named:?}");
        }
    }
}
