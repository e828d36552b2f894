// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! R24: announcements are switched on and off while the guest switches, and traps outlive the events
//! that they are of. These replays take the steps one after the other; `tests/loom` takes them at
//! once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use vpmu::Nanos;
use vpmu::context::order::Place;
use vpmu::context::{
    Attr, Leaves, Open, Page, PerfConfig, PerfError, State, Step, Target, Task, TaskId,
};

use crate::checks::*;
use crate::rig::*;

/// A vCPU's page, and the guest's side of it.
#[derive(Default)]
struct Shared {
    announce: AtomicBool,
    current: Mutex<Option<Task>>,
}

impl Page for Shared {
    fn announce(&self, on: bool) {
        self.announce.store(on, Ordering::SeqCst);
    }

    fn current(&self) -> Option<Task> {
        self.current.lock().unwrap().clone()
    }
}

impl Shared {
    fn is_up(&self) -> bool {
        self.announce.load(Ordering::SeqCst)
    }

    /// The guest's half of a switch; whether it has to announce it (A1).
    fn switch(&self, next: Option<&Task>) -> bool {
        *self.current.lock().unwrap() = next.cloned();
        self.is_up()
    }
}

/// A machine whose vCPUs have pages.
fn silent(vcpus: u32) -> (Rig, Vec<Arc<Shared>>) {
    let mut rig = Rig::with(PerfConfig {
        slots: 2,
        interval: Nanos(0),
        pages: true,
        ..PerfConfig::new(vcpus)
    });
    let pages = (0..vcpus).map(|vcpu| {
        let page = Arc::new(Shared::default());
        rig.cpu(vcpu).set_page(Some(page.clone()));
        page
    });
    let pages = pages.collect();
    (rig, pages)
}

fn inherited() -> Attr {
    Attr {
        inherit: true,
        ..counting()
    }
}

/// 1. The guest switches to t on vCPU 1: nobody asked.
/// 2. An event of t is opened: its vCPU is called, its page looked at, and the event on a counter.
/// 3. The next switch is announced.
/// 4. The event is closed: switches are silent again.
#[test]
fn r24_a_switch_before_the_question_is_in_the_page() {
    let (mut rig, pages) = silent(2);
    let task = rig.task(0);
    assert!(!pages[1].switch(Some(&task)));
    assert!(!rig.perf.announces());
    let event = rig.open_task(counting(), &task);
    assert_eq!(rig.state(&event), State::Active(V1));
    assert!(rig.perf.announces());
    rig.happen(1, 3);
    assert_eq!(rig.count_of(&event), 3);
    assert!(pages[1].switch(None));
    rig.cpu(1)
        .announced(Some(task.id()), Leaves::Blocked, None)
        .unwrap();
    assert_eq!(rig.state(&event), State::Inactive);
    assert_eq!(task.place(), Place::Blocked(V1));
    rig.close(&event).unwrap();
    assert!(!rig.perf.announces());
    assert!(!pages[1].switch(Some(&task)));
}

/// 1. Another task runs on vCPU 0. The flags are raised; vCPU 0 has not been called yet.
/// 2. The guest switches to t there, and sees the flag: it announces, and is right.
/// 3. vCPU 0 is called, and finds t in the page as well: once is enough.
#[test]
fn r24_a_switch_during_the_question_is_seen_once_at_least() {
    let (mut rig, pages) = silent(1);
    let (other, task) = (rig.task(0), rig.task(0));
    pages[0].switch(Some(&other));
    let guest = (pages[0].clone(), task.clone());
    rig.before_call(move |rig, _| {
        let (page, task) = guest;
        assert!(page.switch(Some(&task)));
        rig.cpu(0)
            .announced(Some(other.id()), Leaves::Queued, Some(task))
            .unwrap();
    });
    let event = rig.open_task(counting(), &task);
    assert_eq!(rig.script_left(), 0);
    assert_eq!(rig.state(&event), State::Active(V0));
    assert_eq!(rig.log.count(|step| *step == Step::SwitchIn), 1);
}

/// 1. t runs on vCPU 0, counted; the event is closed, vCPU 0 goes on with what it believes.
/// 2. The guest moves t to vCPU 1, silently.
/// 3. Another event of t is opened: vCPU 0 forgets first, so that vCPU 1's page is not contradicted.
#[test]
fn r24_asking_again_starts_anew() {
    let (mut rig, pages) = silent(2);
    let task = rig.task(0);
    pages[0].switch(Some(&task));
    let event = rig.open_task(counting(), &task);
    rig.close(&event).unwrap();
    assert_eq!(task.place(), Place::Current(V0), "nobody told");
    assert!(!pages[0].switch(None));
    assert!(!pages[1].switch(Some(&task)));
    // In this order the page of vCPU 1 would be looked at first.
    let event = rig.open_task(counting(), &task);
    assert_eq!(rig.state(&event), State::Active(V1));
    assert_eq!(task.place(), Place::Current(V1));
}

/// The same, the other way round: the page that is looked at first is that of the vCPU that has it
/// now.
#[test]
fn r24_all_forget_before_any_page_is_looked_at() {
    let (mut rig, pages) = silent(2);
    let task = rig.task(1);
    pages[1].switch(Some(&task));
    let event = rig.open_task(counting(), &task);
    rig.close(&event).unwrap();
    assert!(!pages[1].switch(None));
    assert!(!pages[0].switch(Some(&task)));
    let event = rig.open_task(counting(), &task);
    assert_eq!(rig.state(&event), State::Active(V0));
}

/// 1. Announcements are not needed any more.
/// 2. The vCPU enters its guest: from here on it believes nothing, and need not be called to forget.
#[test]
fn r24_what_is_not_announced_is_not_believed_for_long() {
    let (mut rig, pages) = silent(1);
    let task = rig.task(0);
    pages[0].switch(Some(&task));
    let event = rig.open_task(counting(), &task);
    rig.enter(0);
    assert_eq!(task.place(), Place::Current(V0), "announced still");
    rig.close(&event).unwrap();
    rig.enter(0);
    assert_eq!(task.place(), Place::Queued(V0));
    rig.log.clear();
    rig.open_task(counting(), &task);
    assert_eq!(rig.log.calls(), 2, "a look and the installation");
}

/// 1. Two want events; the first has raised the flags and is about to look.
/// 2. The second finds them raised. It waits for the look, or its event would be installed on a task
///    of which nobody knows that it runs.
#[test]
fn r24_whoever_finds_the_flags_up_waits_for_the_look() {
    let (mut rig, pages) = silent(1);
    let task = rig.task(0);
    pages[0].switch(Some(&task));
    let first = rig.open_task(counting(), &task);
    let second = rig.open_task(counting(), &task);
    assert_eq!(rig.state(&first), State::Active(V0));
    assert_eq!(rig.state(&second), State::Active(V0));
    rig.close(&first).unwrap();
    assert!(pages[0].is_up(), "the other one is open");
    rig.close(&second).unwrap();
    assert!(!pages[0].is_up());
}

/// 1. t overflows; its trap is on its way when the event is closed.
/// 2. Switches are announced as long as it is, or another task would get it.
/// 3. It is handed over. The guest may do with it what it likes, but says when it is done.
/// 4. Acknowledged: nobody needs to know where t is.
#[test]
fn r24_a_trap_on_its_way_needs_announcements() {
    let (mut rig, pages) = silent(1);
    let task = rig.task(0);
    pages[0].switch(Some(&task));
    let event = rig.open_task(trapping(10, 5), &task);
    rig.happen(0, 10);
    rig.close(&event).unwrap();
    assert!(pages[0].is_up(), "it is on its way");
    assert!(rig.cpu(0).trap_waits());
    let trap = rig.cpu(0).return_to_user().unwrap();
    assert_eq!((trap.task, trap.data), (task.id(), 5));
    assert!(pages[0].is_up(), "it is with the guest");
    assert!(!rig.cpu(0).trap_waits());
    rig.cpu(0).trap_done().unwrap();
    assert!(!pages[0].is_up());
}

/// Whatever an exit finds needs announcements no more: events, a trap on its way, one that was
/// handed over and will not be acknowledged.
#[test]
fn r24_an_exit_needs_no_announcements() {
    let (mut rig, pages) = silent(1);
    let task = rig.task(0);
    pages[0].switch(Some(&task));
    let event = rig.open_task(trapping(10, 5), &task);
    rig.happen(0, 10);
    assert!(rig.cpu(0).return_to_user().is_some());
    rig.happen(0, 10);
    assert!(pages[0].is_up());
    rig.exit(&task).unwrap();
    assert!(!pages[0].is_up());
    assert_eq!(rig.state(&event), State::Exit);
    assert_eq!(
        rig.open(counting(), Target::Task(&task)).err(),
        Some(PerfError::NoSuchTask)
    );
    assert!(!pages[0].is_up());
}

/// An event that an exec removes needs announcements no more; its trap does.
#[test]
fn r24_an_exec_leaves_the_trap() {
    let (mut rig, pages) = silent(1);
    let task = rig.task(0);
    pages[0].switch(Some(&task));
    rig.open_task(trapping(10, 5), &task);
    rig.happen(0, 10);
    rig.exec(&task).unwrap();
    assert!(pages[0].is_up());
    assert_eq!(rig.drain_traps(0).len(), 1);
    assert!(!pages[0].is_up());
}

/// Events that were inherited need announcements as long as they live.
#[test]
fn r24_a_childs_event_needs_announcements() {
    let (mut rig, pages) = silent(1);
    let task = rig.task(0);
    let event = rig.open_task(inherited(), &task);
    let child = rig.fork(&task);
    rig.exit(&task).unwrap();
    assert!(pages[0].is_up(), "the child's is there");
    rig.exit(&child).unwrap();
    assert!(!pages[0].is_up());
    rig.close(&event).unwrap();
    let grand = rig.task(0);
    let event = rig.open_task(inherited(), &grand);
    let child = rig.fork(&grand);
    rig.close(&event).unwrap();
    assert!(!pages[0].is_up(), "closed with all that was inherited");
    drop(child);
}

/// A vCPU's own events need no announcements.
#[test]
fn r24_vcpu_events_ask_for_nothing() {
    let (mut rig, pages) = silent(1);
    rig.open(counting(), Target::Vcpu(V0)).unwrap();
    assert!(!pages[0].is_up());
}

/// A page is not believed against the host's own word (A5, I21), which another vCPU's was.
#[test]
fn r24_i21_a_page_that_lies_is_not_believed() {
    let (mut rig, pages) = silent(2);
    let task = rig.task(0);
    pages[0].switch(Some(&task));
    pages[1].switch(Some(&task));
    let event = rig.open_task(counting(), &task);
    assert_eq!(task.place(), Place::Current(V0));
    assert_eq!(rig.state(&event), State::Active(V0));
    assert!(rig.cpu(1).current().is_none());
}

/// A page that names a task which has exited names none.
#[test]
fn r24_a_page_that_names_the_dead_names_nobody() {
    let (mut rig, pages) = silent(1);
    let (dead, task) = (rig.task(0), rig.task(0));
    rig.exit(&dead).unwrap();
    pages[0].switch(Some(&dead));
    rig.open_task(counting(), &task);
    assert!(rig.cpu(0).current().is_none());
}

/// 1. t blocks, announced; the event is closed. It is woken and runs on, silently.
/// 2. Another event is opened: the page says that it runs, so it was woken (A5).
#[test]
fn r24_a_task_that_runs_was_woken() {
    let (mut rig, pages) = silent(1);
    let task = rig.task(0);
    pages[0].switch(Some(&task));
    let event = rig.open_task(counting(), &task);
    pages[0].switch(None);
    let block = |rig: &mut Rig| {
        let task = Some(task.id());
        rig.cpu(0).announced(task, Leaves::Blocked, None).unwrap();
    };
    block(&mut rig);
    rig.close(&event).unwrap();
    pages[0].switch(Some(&task));
    let event = rig.open_task(counting(), &task);
    assert_eq!(rig.state(&event), State::Active(V0));
    // The same by an announcement.
    block(&mut rig);
    assert_eq!(task.place(), Place::Blocked(V0));
    let next = Some(task.clone());
    rig.cpu(0).announced(None, Leaves::Queued, next).unwrap();
    assert_eq!(rig.state(&event), State::Active(V0));
}

/// A page that is there only after the question was asked is looked at when it comes.
#[test]
fn r24_a_page_that_comes_late_is_looked_at() {
    let (mut rig, pages) = silent(2);
    rig.cpu(1).set_page(None);
    let task = rig.task(1);
    pages[1].switch(Some(&task));
    let event = rig.open_task(counting(), &task);
    assert_eq!(rig.state(&event), State::Inactive, "nothing is known of it");
    rig.cpu(1).set_page(Some(pages[1].clone()));
    assert_eq!(rig.state(&event), State::Active(V1));
    assert!(pages[1].is_up());
}

/// A vCPU that went offline has no page: it is not looked at when it comes back, and its flag stays
/// as it was.
#[test]
fn r24_a_page_goes_with_its_vcpu() {
    let (mut rig, pages) = silent(2);
    let task = rig.task(0);
    rig.offline(1).unwrap();
    rig.online(1).unwrap();
    pages[1].switch(Some(&task));
    let event = rig.open_task(counting(), &task);
    assert_eq!(rig.state(&event), State::Inactive);
    assert!(!pages[1].is_up());
}

/// 1. t runs on vCPU 0, counted; the event is closed while vCPU 0 is in its guest.
/// 2. The guest switches to nothing there, silently, and takes the page back.
/// 3. It runs t on vCPU 1. An event of t is opened: vCPU 0, which nobody asks to forget, believes
///    nothing of it.
#[test]
fn r24_a_page_that_is_taken_back_leaves_no_belief() {
    let (mut rig, pages) = silent(2);
    let task = rig.task(0);
    pages[0].switch(Some(&task));
    let event = rig.open_task(counting(), &task);
    rig.close(&event).unwrap();
    assert!(!pages[0].switch(None));
    rig.cpu(0).set_page(None);
    rig.enter(0);
    assert!(!pages[1].switch(Some(&task)));
    let event = rig.open_task(counting(), &task);
    assert_eq!(task.place(), Place::Current(V1));
    assert_eq!(rig.state(&event), State::Active(V1));
}

/// An announcement that contradicts both the host's word and the page is refused; one that the page
/// bears out is not.
#[test]
fn r24_an_announcement_is_held_against_the_page() {
    let (mut rig, pages) = silent(1);
    let [a, b, c] = [0; 3].map(|vcpu| rig.task(vcpu));
    pages[0].switch(Some(&a));
    rig.open_task(counting(), &a);
    let liar = rig
        .cpu(0)
        .announced(Some(c.id()), Leaves::Queued, Some(b.clone()));
    assert_eq!(liar, Err(PerfError::NotCurrent(c.id())));
    assert_eq!(a.place(), Place::Current(V0));
    pages[0].switch(Some(&b));
    let late = rig
        .cpu(0)
        .announced(Some(TaskId(99)), Leaves::Queued, Some(b.clone()));
    assert_eq!(late, Ok(()));
    assert_eq!(b.place(), Place::Current(V0));
}

/// 1. t runs on vCPU 1, counted; the event is closed.
/// 2. The flags are raised anew. Before anybody was called, the guest moves t to vCPU 0, sees the flag
///    there and announces it. vCPU 1 still believes in t: nothing is wrong with the guest, so it is
///    not refused.
/// 3. All forget, all pages are looked at: t runs on vCPU 0.
#[test]
fn r24_nobody_is_refused_while_pages_are_looked_at() {
    let (mut rig, pages) = silent(2);
    let task = rig.task(1);
    pages[1].switch(Some(&task));
    let event = rig.open_task(counting(), &task);
    rig.close(&event).unwrap();
    let guest = (pages.clone(), task.clone());
    rig.before_call(move |rig, vcpu| {
        assert_eq!(vcpu, V1, "to forget");
        let (pages, task) = guest;
        pages[1].switch(None);
        assert!(pages[0].switch(Some(&task)));
        let told = rig.cpu(0).announced(None, Leaves::Queued, Some(task));
        assert_eq!(told, Ok(()));
    });
    let event = rig.open_task(counting(), &task);
    assert_eq!(rig.state(&event), State::Active(V0));
    // Now that everything is known, the same is a lie.
    let lie = rig.cpu(1).announced(None, Leaves::Queued, Some(task));
    assert!(matches!(lie, Err(PerfError::Current { .. })), "{lie:?}");
}

/// A vCPU whose page names nobody is not called.
#[test]
fn r24_idle_vcpus_are_left_alone() {
    let (mut rig, pages) = silent(2);
    let task = rig.task(1);
    pages[1].switch(Some(&task));
    rig.log.clear();
    rig.open_task(counting(), &task);
    let calls = rig.log.count(|step| matches!(step, Step::CallSent(V0)));
    assert_eq!((calls, rig.log.calls()), (0, 2));
}

/// Without pages, everything is announced all the time.
#[test]
fn r24_without_pages_nobody_asks() {
    let mut rig = Rig::new(1, 2);
    let page = Arc::new(Shared::default());
    rig.cpu(0).set_page(Some(page.clone()));
    assert!(rig.perf.announces());
    let task = rig.task(0);
    page.switch(Some(&task));
    let open = Open::new(counting(), Target::Task(&task));
    let (perf, log) = (rig.perf.clone(), rig.log.clone());
    let event = perf.open(&open, &mut rig).unwrap();
    assert_eq!((rig.state(&event), log.calls()), (State::Inactive, 0));
    assert!(!page.is_up());
}
