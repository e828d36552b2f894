// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What any thread asks for, the vCPUs' own included.

use std::sync::Arc;

use vpmu::context::order::Place;
use vpmu::context::{Caller, HostThread, PerfError, Reading, State};

use crate::books::{EventBook, Of, Role};
use crate::caller::Counted;
use crate::dice;
use crate::open::{Stillness, open_something};
use crate::truth::TaskBook;
use crate::watch::add;
use crate::world::{World, any_vcpu};

const OPERATIONS: u64 = 45;
const MOST_FORKS: u32 = 3;

/// A thread that is no vCPU's.
pub(crate) fn live(world: &World) {
    let mut me = HostThread::new(&world.calls);
    for _ in 0..OPERATIONS {
        if dice::once_in(12) {
            plug(world, &mut me);
        } else {
            something(world, &mut me);
        }
    }
    world.done();
}

/// One operation of any kind.
pub(crate) fn something(world: &World, by: &mut impl Caller) {
    world.operation();
    match dice::below(20) {
        0..5 => open_something(world, by),
        5..12 => {
            if let Some(book) = world.event() {
                operate(world, by, &book);
            }
        }
        12..14 => announce(world, &world.task()),
        14 if dice::once_in(4) => wake(world, &world.task()),
        14 | 15 => {
            if let Some(book) = world.task_that(|place| matches!(place, Place::Blocked(_))) {
                wake(world, &book);
            }
        }
        16 => fork(world, by, &world.task()),
        17 if dice::once_in(2) => exec(world, by, &world.task()),
        17 if dice::once_in(2) => exit(world, by, &world.task()),
        17 | 18 => {
            let audit = world.perf.audit_task(&world.task().task);
            assert_eq!(audit, Ok(()), "at any time");
        }
        _ => {
            if let Some(book) = world.event() {
                look(world, &book);
            }
        }
    }
}

/// Does to an event what its role allows.
fn operate(world: &World, by: &mut impl Caller, book: &Arc<EventBook>) {
    let (perf, event) = (&world.perf, &book.event);
    let still = Stillness::begin(&book.of);
    let mut counted = Counted::new(by);
    let by = &mut counted;
    let result = match (book.role, dice::below(10)) {
        (_, 0) => return close(world, by, book),
        (_, 1..4) => return read(world, by, book),
        (_, 4) => read_group(world, by, book),
        (Role::Quiet, _) => return look(world, book),
        (Role::Limited, _) => {
            let n = 1 + dice::below(4);
            book.granting(n, || perf.refresh(event, n, by))
        }
        (Role::Toggled, 5) => perf.disable(event, by),
        (Role::Toggled, 6) => perf.enable(event, by),
        (Role::Toggled, 7) => {
            book.reset.raise();
            perf.reset(event, by)
        }
        (Role::Toggled, 8) if book.attr().samples() => {
            perf.set_period(event, 2 + dice::below(30), by)
        }
        (Role::Toggled, 8) => return refused(perf.set_period(event, 9, by)),
        (Role::Toggled, _) if !book.joined => {
            if dice::once_in(2) {
                perf.disable_group(event, by)
            } else {
                perf.enable_group(event, by)
            }
        }
        (Role::Toggled, _) if book.attr().samples() && !book.attr().inherit => {
            perf.refresh(event, dice::below(3), by)
        }
        (Role::Toggled, _) => return refused(perf.refresh(event, 1, by)),
    };
    check(book, result);
    if still.was_off_all_vcpus() && book.stays() {
        assert_eq!(counted.calls, 0, "I4: a call for a task that runs nowhere");
        add(&world.totals.still, 1);
    }
}

fn refused(result: Result<(), PerfError>) {
    assert!(
        matches!(result, Err(PerfError::Invalid(_))),
        "got {result:?}"
    );
}

/// Only an event that somebody closes may be closed.
fn check<T>(book: &EventBook, result: Result<T, PerfError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let closed = error == PerfError::Closed && book.is_closing();
            assert!(closed, "event {} says {error}", book.event.id());
            None
        }
    }
}

pub(crate) fn close(world: &World, by: &mut impl Caller, book: &EventBook) {
    book.begin_to_close();
    if check(book, world.perf.close(&book.event, by)).is_some() {
        book.close(world);
    }
}

pub(crate) fn read(world: &World, by: &mut impl Caller, book: &EventBook) {
    let before = book.before(world);
    if let Some(Some(reading)) = check(book, world.perf.read(&book.event, by)) {
        book.check_read(world, &before, &reading);
    }
}

/// Reads a group, in which the event itself must be found once, unless the group is in the ERROR
/// state.
fn read_group(world: &World, by: &mut impl Caller, book: &EventBook) -> Result<(), PerfError> {
    let mut readings = [Reading::default(); 16];
    let before = book.before(world);
    let n = world.perf.read_group(&book.event, &mut readings, by)?;
    let id = book.event.id().0;
    let mut own = readings[..n].iter().filter(|reading| reading.id == id);
    match (own.next(), own.next()) {
        (Some(reading), None) => book.check_read(world, &before, reading),
        (None, None) if n == 0 && !world.roomy => {}
        _ => panic!("I3: event {id} in its group {:?}", &readings[..n]),
    }
    Ok(())
}

/// Looks at an event and at all that share its context, without asking anybody.
pub(crate) fn look(world: &World, book: &EventBook) {
    let before = book.before(world);
    if let Some(status) = check(book, world.perf.status(&book.event)) {
        book.check_status(world, &before, &status);
    }
    assert_eq!(world.perf.audit_event(&book.event), Ok(()), "at any time");
}

/// Places a task somewhere, which a current one does not put up with.
fn announce(world: &World, book: &TaskBook) {
    let vcpu = any_vcpu();
    let (then, place) = (book.moment(), book.task.place());
    let result = book.announcing(|| world.perf.migrate(&book.task, vcpu));
    let alone = book.stood_still_but_for_one(then);
    match (result, place) {
        (Err(PerfError::NoSuchTask), _) => assert!(book.exiting.is_raised()),
        (Ok(()), Place::Current(_)) if alone => panic!("I21: a current task was moved"),
        (Err(error), Place::Queued(_) | Place::Blocked(_)) if alone => {
            panic!("a task could not be moved: {error}")
        }
        (Ok(()) | Err(PerfError::Current { .. }), _) => {}
        (Err(error), _) => panic!("migrate says {error}"),
    }
}

fn wake(world: &World, book: &TaskBook) {
    let vcpu = any_vcpu();
    let (then, place) = (book.moment(), book.task.place());
    let result = book.announcing(|| world.perf.wake(&book.task, vcpu));
    let alone = book.stood_still_but_for_one(then);
    match (result, place) {
        (Err(PerfError::NoSuchTask), _) => assert!(book.exiting.is_raised()),
        (Ok(()), Place::Current(_) | Place::Queued(_)) if alone => {
            panic!("I21: a task that is not blocked was woken")
        }
        (Err(error), Place::Blocked(_)) if alone => panic!("a task sleeps for ever: {error}"),
        (Ok(()) | Err(PerfError::NotBlocked(_)), _) => {}
        (Err(error), _) => panic!("wake says {error}"),
    }
}

fn fork(world: &World, by: &mut impl Caller, parent: &Arc<TaskBook>) {
    if parent.depth >= MOST_FORKS || !world.has_room_for_tasks() {
        return;
    }
    let begin = world.stamp();
    match world.perf.fork(&parent.task, by) {
        Ok(task) => {
            let forked = (begin, world.stamp());
            world.add_task(TaskBook::forked(task, parent, forked));
        }
        Err(error) => gone(parent, error),
    }
}

fn exec(world: &World, by: &mut impl Caller, book: &TaskBook) {
    if let Err(error) = world.perf.exec(&book.task, by) {
        gone(book, error);
    }
}

fn gone(book: &TaskBook, error: PerfError) {
    assert_eq!(error, PerfError::NoSuchTask);
    assert!(book.exiting.is_raised(), "a task is gone that did not exit");
}

/// A task exits, and from then on nothing of it moves (I8).
pub(crate) fn exit(world: &World, by: &mut impl Caller, book: &Arc<TaskBook>) {
    book.exiting.raise();
    match world.perf.exit(&book.task, by) {
        Ok(()) => {
            assert!(!book.exited.is_raised(), "I8: a task exited twice");
            book.exited.raise();
            world.watch.exited(book.task.id());
        }
        Err(error) => return gone(book, error),
    }
    for event in world.events() {
        let own = matches!(&event.of, Of::Task(task, _) if Arc::ptr_eq(task, book));
        if !own || event.attr().inherit {
            continue;
        }
        if let Some(status) = check(&event, world.perf.status(&event.event)) {
            assert_eq!(status.state, State::Exit, "I8: {status:?}");
        }
        if let Some(Some(last)) = check(&event, world.perf.read(&event.event, by)) {
            event.set_last(last.count);
        }
    }
}

/// Plugs a vCPU in or out.
fn plug(world: &World, by: &mut impl Caller) {
    world.operation();
    let vcpu = any_vcpu();
    let online = dice::once_in(2);
    let result = world.plugging(vcpu, || {
        if online {
            world.perf.online(vcpu, by)
        } else {
            world.perf.offline(vcpu, by)
        }
    });
    match result {
        Ok(()) | Err(PerfError::NoSuchVcpu(_)) => {}
        Err(error) => panic!("hotplug says {error}"),
    }
}
