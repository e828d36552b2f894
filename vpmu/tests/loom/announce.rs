// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! R24: announcements on demand (A1-A4). The guest, on its vCPU's thread, cannot be made to wait: it
//! switches silently or announces, while the host opens and closes events of its task.

use std::sync::Arc;

use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use loom::sync::atomic::{AtomicU32, fence};
use vpmu::context::order::Place;
use vpmu::context::{Attr, Leaves, Open, Page, Target, Task};

use crate::search::{Seen, search_both};
use crate::vm::{Cpu, Vm, instructions, race};

/// A vCPU's page, for a guest with one task.
struct Shared {
    announce: AtomicU32,
    current: AtomicU32,
    task: Task,
}

impl Page for Shared {
    fn announce(&self, on: bool) {
        self.announce.store(u32::from(on), Release);
    }

    fn current(&self) -> Option<Task> {
        (self.current.load(Acquire) != 0).then(|| self.task.clone())
    }
}

impl Shared {
    /// A page for `cpu`.
    fn of(cpu: &mut Cpu, task: &Task) -> Arc<Self> {
        let page = Arc::new(Self {
            announce: AtomicU32::new(0),
            current: AtomicU32::new(0),
            task: task.clone(),
        });
        cpu.cpu_mut().set_page(Some(page.clone()));
        page
    }

    /// The guest switches to its task, or to nothing, and announces that if it has to; whether it
    /// had.
    fn switch(&self, cpu: &mut Cpu, to: bool) -> bool {
        self.current.store(u32::from(to), Relaxed);
        fence(SeqCst);
        let announces = self.announce.load(Relaxed) != 0;
        if announces {
            let (prev, next) = if to {
                (None, Some(self.task.clone()))
            } else {
                (Some(self.task.id()), None)
            };
            let told = cpu.cpu_mut().announced(prev, Leaves::Queued, next);
            assert_eq!(told, Ok(()));
        }
        announces
    }
}

fn counting() -> Attr {
    Attr::counting(instructions())
}

/// A2: the guest switches its task in while the host opens the first event.
#[test]
fn a_switch_is_announced_or_found_in_the_page() {
    static ANNOUNCED: Seen = Seen::new();
    static SILENT: Seen = Seen::new();
    search_both("a_switch_is_announced_or_found_in_the_page", 3, |first| {
        let (vm, [mut cpu]) = Vm::with_pages(1);
        let task = vm.task(0);
        let page = Shared::of(&mut cpu, &task);
        let host = {
            let (vm, task) = (vm.clone(), task.clone());
            move || {
                let event = vm.open(counting(), &task);
                vm.done();
                event
            }
        };
        let guest = {
            let vm = vm.clone();
            move || {
                vm.live(cpu, |cpu| {
                    let announced = page.switch(cpu, true);
                    ANNOUNCED.count_if(announced);
                    SILENT.count_if(!announced);
                })
            }
        };
        let (event, cpu) = race(first, host, guest);
        assert_eq!(cpu.cpu().current().map(Task::id), Some(task.id()));
        vm.assert_follows(&event, &task, &[cpu]);
    });
    ANNOUNCED.assert_seen("an announced switch");
    SILENT.assert_seen("a silent switch");
}

/// A3, A4: one event is closed and another opened while the guest switches out and in again; whatever
/// is believed in between, the new event follows its task.
#[test]
fn announcements_off_and_on_against_switches() {
    static SILENT: Seen = Seen::new();
    search_both("announcements_off_and_on_against_switches", 2, |first| {
        let (vm, [mut cpu]) = Vm::with_pages(1);
        let task = vm.task(0);
        let page = Shared::of(&mut cpu, &task);
        assert!(!page.switch(&mut cpu, true));
        let old = vm.perf.open(
            &vpmu::context::Open::new(counting(), vpmu::context::Target::Task(&task)),
            &mut *cpu,
        );
        let old = old.unwrap();
        let host = {
            let (vm, task) = (vm.clone(), task.clone());
            move || {
                vm.perf.close(&old, &mut vm.host()).unwrap();
                let event = vm.open(counting(), &task);
                vm.done();
                event
            }
        };
        let guest = {
            let vm = vm.clone();
            move || {
                vm.live(cpu, |cpu| {
                    let out = page.switch(cpu, false);
                    let into = page.switch(cpu, true);
                    SILENT.count_if(!out || !into);
                })
            }
        };
        let (event, cpu) = race(first, host, guest);
        vm.assert_follows(&event, &task, &[cpu]);
    });
    SILENT.assert_seen("a silent switch");
}

/// A3: two hosts open the task's first events at once. The one that finds the flags up waits for the
/// other one's look.
#[test]
fn two_ask_at_once() {
    search_both("two_ask_at_once", 2, |first| {
        let (vm, [mut cpu]) = Vm::with_pages(2);
        let task = vm.task(0);
        let page = Shared::of(&mut cpu, &task);
        // Silent, and for good: only a look tells.
        assert!(!page.switch(&mut cpu, true));
        let host = || {
            let (vm, task) = (vm.clone(), task.clone());
            move || {
                let event = vm.open(counting(), &task);
                let state = vm.state(&event);
                vm.done();
                (event, state)
            }
        };
        let (one, two) = (host(), host());
        let guest = {
            let vm = vm.clone();
            move || vm.live(cpu, |_| ())
        };
        let hosts = move || race(first, one, two);
        let ((one, two), cpu) = race(first, hosts, guest);
        let here = vpmu::context::State::Active(cpu.cpu().id());
        assert_eq!([one.1, two.1], [here; 2]);
    });
}

/// A3: a vCPU that forgets by itself, before an entry in silence, believes its task until it has
/// given it up. So the vCPU that the task runs on by now is not refused by a word that nobody asked
/// to be taken back.
#[test]
fn forgotten_by_itself_or_when_asked() {
    search_both("forgotten_by_itself_or_when_asked", 2, |first| {
        let (vm, [mut old, mut new]) = Vm::with_pages(1);
        let task = vm.task(0);
        let pages = (Shared::of(&mut old, &task), Shared::of(&mut new, &task));
        assert!(!pages.0.switch(&mut old, true));
        let target = Target::Task(&task);
        let event = vm.perf.open(&Open::new(counting(), target), &mut *old);
        vm.perf.close(&event.unwrap(), &mut *old).unwrap();
        assert_eq!(old.cpu().current().map(Task::id), Some(task.id()));
        assert!(!pages.0.switch(&mut old, false));
        assert!(!pages.1.switch(&mut new, true));
        let enters = {
            let vm = vm.clone();
            move || {
                vm.live(old, |cpu| {
                    cpu.cpu_mut().arm();
                })
            }
        };
        let opens = {
            let (vm, task) = (vm.clone(), task.clone());
            move || {
                let open = Open::new(counting(), Target::Task(&task));
                let event = vm.perf.open(&open, &mut *new).unwrap();
                vm.done();
                (event, new)
            }
        };
        let (old, (event, new)) = race(first, enters, opens);
        assert_eq!(task.place(), Place::Current(new.cpu().id()));
        vm.assert_follows(&event, &task, &[old, new]);
    });
}
