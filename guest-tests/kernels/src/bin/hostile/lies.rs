// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Announcements that cannot be, held against the host's own word (I21): refused, one by one, while an
//! honest task is counted to the unit.

use rt::sched::port::{self, Errno, EventNumber, Id, Leaves, Open, OpenFlags, Target};
use rt::sched::{self, State, Step, Then, Tid};
use rt::tap::Outcome;
use rt::text::Text;
use rt::{check_eq, time};

use crate::CPUS;

pub(crate) fn number(task: Tid) -> Id {
    Id::new(sched::port_id(task)).expect("the port knows the task")
}

fn open(task: Tid) -> Open {
    Open::new(EventNumber::PortTick, Target::Task(number(task)))
}

/// Runs on CPU 1, and stores, until word 0 says that it is enough.
fn runner() -> Result<Tid, Text> {
    sched::set_word(0, 0);
    sched::set_word(1, 0);
    let script = [
        Step::blocks(),
        Step::store(10),
        Step::adds(1),
        Step::awaits(0, 1),
        Step::store(10),
        Step::blocks(),
        Step::goes_to(5),
    ];
    let task = sched::spawn("runner", 1, &script)?;
    sched::await_state(task, State::Blocked)?;
    Ok(task)
}

fn end(task: Tid) -> Outcome {
    sched::kill(task);
    sched::join(task)?;
    sched::stop()
}

/// CPU 0 says that it runs a task which runs on CPU 1, that it goes elsewhere, that it is woken; and
/// stores in its name.
pub(crate) fn places() -> Outcome {
    (1..CPUS).try_for_each(sched::enter)?;
    let task = runner()?;
    let counter = port::must("open", |port| port.open(&open(task)))?.event;
    sched::wake(task, 1);
    sched::await_word(1, 1)?;
    let id = number(task);
    let unknown = Id::new(id.get() + 1_000_000).expect("not 0");
    for _ in 0..50 {
        let errno = port::ask(|port| port.switch_to(None, Leaves::Queued, Some(id)));
        check_eq!(errno, Err(Errno::Busy), "to run what runs elsewhere");
        // The page still says so.
        sched::tick();
        let errno = port::ask(|port| port.switch_to(None, Leaves::Queued, Some(unknown)));
        check_eq!(errno, Err(Errno::NoSuchTask), "to run what is not there");
        sched::tick();
        let back = port::ask(|port| port.switch_to(None, Leaves::Queued, None));
        check_eq!(back, Ok(true), "to run nothing, as before");
        let errno = port::ask(|port| port.migrate(id, 2));
        check_eq!(errno, Err(Errno::Busy), "to move what runs");
        let errno = port::ask(|port| port.wake(id, 0));
        check_eq!(errno, Err(Errno::Busy), "to wake what runs");
        let errno = port::ask(|port| port.migrate(unknown, 2));
        check_eq!(errno, Err(Errno::NoSuchTask), "to move what is not there");
        let errno = port::ask(|port| port.exit(unknown));
        check_eq!(
            errno,
            Err(Errno::NoSuchTask),
            "the end of what is not there"
        );
        let errno = port::ask(|port| port.close(unknown));
        check_eq!(errno, Err(Errno::BadEvent), "an event that is not there");
    }
    sched::set_word(0, 1);
    sched::await_state(task, State::Blocked)?;
    let errno = port::ask(|port| port.migrate(id, 77));
    check_eq!(errno, Err(Errno::NoSuchVcpu), "to move it nowhere");
    let reading = port::must("read", |port| port.read(counter))?;
    check_eq!(
        reading.map(|reading| reading.count),
        Some(20),
        "stores of the task"
    );
    port::must("close", |port| port.close(counter))?;
    end(task)
}

/// TRAP_DONE and USER out of turn, on a vCPU whose task got nothing.
pub(crate) fn traps() -> Outcome {
    sched::set_service(|_| {
        let outcome = port::ask(|port| port.trap_done());
        let taken = port::ask(|port| port.user());
        let refused = outcome == Err(Errno::Invalid) && taken == Ok(false);
        sched::set_word(2, u64::from(refused));
        Then::Returns
    });
    (1..CPUS).try_for_each(sched::enter)?;
    check_eq!(
        port::ask(|port| port.trap_done()),
        Err(Errno::Invalid),
        "done without a task"
    );
    check_eq!(
        port::ask(|port| port.user()),
        Ok(false),
        "a trap without a task"
    );
    sched::set_word(2, 0);
    let script = [
        Step::blocks(),
        Step::serves(0),
        Step::blocks(),
        Step::exits(),
    ];
    let task = sched::spawn("impatient", 1, &script)?;
    let event = trap_every_store(task)?;
    sched::await_state(task, State::Blocked)?;
    sched::wake(task, 1);
    sched::await_state(task, State::Blocked)?;
    check_eq!(sched::word(2), 1, "whether it was refused");
    port::must("close", |port| port.close(event))?;
    end(task)
}

fn trap_every_store(task: Tid) -> Result<Id, Text> {
    let open = Open {
        flags: OpenFlags::REMOVE_ON_EXEC,
        period: 1,
        data: Some(1),
        ..open(task)
    };
    Ok(port::must("open", |port| port.open(&open))?.event)
}

/// A vCPU's page is taken back while the task that it runs has a trap on its way; registered again,
/// it says so, and the trap comes.
pub(crate) fn page() -> Outcome {
    const ROUNDS: u64 = 20;
    sched::set_service(|_| {
        sched::tick();
        port::renew().map_or(Then::Blocks, |()| Then::Returns)
    });
    (1..CPUS).try_for_each(sched::enter)?;
    let script = [
        Step::blocks(),
        Step::serves(0),
        Step::repeats(1, ROUNDS),
        Step::exits(),
    ];
    let task = sched::spawn("turns", 1, &script)?;
    let event = trap_every_store(task)?;
    sched::await_state(task, State::Blocked)?;
    sched::wake(task, 1);
    let over = time::wait_ms(30_000, || sched::state(task) == State::Exited);
    let totals = port::must("traps", |port| port.traps(event))?;
    rt::check!(over, "the task is {:?}: {totals:?}", sched::state(task));
    check_eq!(sched::logged(task), ROUNDS, "traps that were handled");
    check_eq!(totals.sent, ROUNDS, "traps that were sent");
    port::must("close", |port| port.close(event))?;
    sched::join(task)?;
    sched::stop()
}
