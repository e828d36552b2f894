// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Who asks for something to be done to an event: another vCPU, or the host. CPU 0 looks at the clock.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rt::host::{self, TaskChange, TaskEvent, Wish};
use rt::sched::port::{self, EventNumber, Id, Open, OpenFlags, Target};
use rt::sched::{self, Tid};
use rt::sync::Lock;
use rt::tap::Outcome;
use rt::text::Text;
use rt::{check, fail, smp, time};

use crate::INSTALLER;

/// In this time everybody answers who does not wait for the vCPU that is gone, on a busy host as
/// well.
const AT_ONCE_MS: u64 = 10_000;

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum By {
    /// CPU [`INSTALLER`], at the perf port.
    Vcpu,
    /// A client of the control socket.
    Host,
}

/// An event, by the number that whoever opened it has for it.
pub(crate) type Event = u32;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request {
    /// An event on a task's ticks.
    Open(Tid),
    /// One that overflows with every so many, and is off as yet.
    OpenOff(Tid, u32),
    Enable(Event),
    Disable(Event),
    /// So many overflows more.
    Refresh(Event, u32),
    Reset(Event),
    Read(Event),
    Close(Event),
}

/// The answer's words. [`Request::Open`]: the event, and how often the task was looked for;
/// [`Request::Read`]: the count.
pub(crate) type Words = [u64; 2];

static ASKED: Lock<Option<Request>> = Lock::new(None);
static ANSWER: Lock<Words> = Lock::new([0; 2]);
static ANSWERED: AtomicBool = AtomicBool::new(false);

/// Asks, and gets the answer at once. If it does not come, `free` has to do what it waits for, that
/// the run may end.
pub(crate) fn at_once(
    by: By,
    request: Request,
    free: impl FnOnce() -> Outcome,
) -> Result<Words, Text> {
    post(by, request);
    if !time::wait_ms(AT_ONCE_MS, || is_answered(by)) {
        free()?;
        let came = time::wait_ms(AT_ONCE_MS, || is_answered(by));
        if came {
            answer(by, request)?;
        }
        let then = if came { "it did" } else { "nor did it" };
        fail!(
            "{by:?}: {request:?} did not return within {AT_ONCE_MS} ms; {then} when the task ran elsewhere"
        );
    }
    answer(by, request)
}

fn post(by: By, request: Request) {
    match by {
        By::Host => host::post(wish(request)),
        By::Vcpu => {
            ANSWERED.store(false, Relaxed);
            ASKED.with(|asked| *asked = Some(request));
            smp::start(INSTALLER, serve);
        }
    }
}

fn is_answered(by: By) -> bool {
    match by {
        By::Host => host::answer().is_some(),
        By::Vcpu => ANSWERED.load(Relaxed),
    }
}

fn answer(by: By, request: Request) -> Result<Words, Text> {
    match by {
        By::Vcpu => {
            smp::finish(INSTALLER)?;
            Ok(ANSWER.with(|answer| *answer))
        }
        By::Host => {
            let wish = wish(request);
            let host::Answer { outcome, words } = host::wait(wish)?;
            check!(outcome == host::Outcome::Done, "{wish:?}: {outcome:?}");
            let [first, second, _] = words.map(u64::from);
            Ok(match request {
                Request::Read(_) => [first | second << 32, 0],
                _ => [first, second],
            })
        }
    }
}

/// The work of the installer.
fn serve() -> Outcome {
    let done = port::visit(|| {
        let Some(request) = ASKED.with(Option::take) else {
            fail!("nothing is asked for");
        };
        let words = at_the_port(request)?;
        ANSWER.with(|answer| *answer = words);
        Ok(())
    });
    ANSWERED.store(true, Relaxed);
    done
}

fn at_the_port(request: Request) -> Result<Words, Text> {
    let done = |()| [0; 2];
    match request {
        Request::Open(task) => open(&Open::new(EventNumber::PortTick, target(task))),
        Request::OpenOff(task, period) => open(&Open {
            flags: OpenFlags::DISABLED,
            period: period.into(),
            ..Open::new(EventNumber::PortTick, target(task))
        }),
        Request::Enable(event) => port::must("enable", |port| port.enable(id(event))).map(done),
        Request::Disable(event) => port::must("disable", |port| port.disable(id(event))).map(done),
        Request::Refresh(event, overflows) => {
            port::must("refresh", |port| port.refresh(id(event), overflows.into())).map(done)
        }
        Request::Reset(event) => port::must("reset", |port| port.reset(id(event))).map(done),
        Request::Close(event) => port::must("close", |port| port.close(id(event))).map(done),
        Request::Read(event) => match port::must("read", |port| port.read(id(event)))? {
            Some(reading) => Ok([reading.count, 0]),
            None => fail!("end of file: not pinned, and in error"),
        },
    }
}

fn open(open: &Open) -> Result<Words, Text> {
    let opened = port::must("open", |port| port.open(open))?;
    Ok([opened.event.get(), opened.rounds])
}

/// A task, wherever it runs.
pub(crate) fn target(task: Tid) -> Target {
    Target::Task(Id::new(sched::port_id(task)).expect("the port knows the task"))
}

fn id(event: Event) -> Id {
    Id::new(event.into()).expect("the port gives no event the number 0")
}

fn wish(request: Request) -> Wish {
    let task = |tid| u32::try_from(sched::port_id(tid)).expect("there are few tasks");
    match request {
        Request::Open(tid) => Wish::TaskOpen(task(tid), TaskEvent::TICKS),
        Request::OpenOff(tid, period) => {
            let event = TaskEvent {
                disabled: true,
                period,
                ..TaskEvent::TICKS
            };
            Wish::TaskOpen(task(tid), event)
        }
        Request::Enable(event) => Wish::TaskChange(event, TaskChange::Enable),
        Request::Disable(event) => Wish::TaskChange(event, TaskChange::Disable),
        Request::Refresh(event, more) => Wish::TaskChange(event, TaskChange::Refresh(more)),
        Request::Reset(event) => Wish::TaskChange(event, TaskChange::Reset),
        Request::Read(event) => Wish::TaskRead(event),
        Request::Close(event) => Wish::TaskClose(event),
    }
}
