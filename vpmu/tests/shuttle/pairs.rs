// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Two threads that meet where a storm rarely comes.

use std::sync::Arc;

use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::thread;
use vpmu::context::{Attr, Leaves, Open, PerfError, Target};

use crate::books::Ear;
use crate::dice;
use crate::search::{Turns, explore};
use crate::small::{Small, VCPU, counting, run_task};

const SCHEDULES: usize = 2_000;

#[test]
fn i08_a_task_without_events_exits_once() {
    explore("exit against exit", Turns::Random, SCHEDULES, |_| {
        let small = Small::new();
        let other = small.meanwhile(|small, me| small.perf.exit(&small.task, me));
        let own = small.perf.exit(&small.task, &mut small.host());
        let both = [own, other.join().unwrap()];
        assert!(both.contains(&Ok(())), "{both:?}");
        assert!(both.contains(&Err(PerfError::NoSuchTask)), "{both:?}");
    });
}

#[test]
fn i08_a_task_is_not_gone_because_its_old_context_is() {
    explore(
        "open against trade and exit",
        // All of the trade and the exit come between two steps of the open.
        Turns::Preemptions(3),
        SCHEDULES,
        |_| {
            let small = Small::new();
            let inherited = Attr {
                inherit: true,
                ..counting()
            };
            small.open(inherited, None);
            let child = small.perf.fork(&small.task, &mut small.host()).unwrap();
            let mut vcpu = small.vcpu();
            run_task(&mut vcpu, &small.task);
            let over = Arc::new(AtomicBool::new(false));
            let done = Arc::clone(&over);
            let host = small.meanwhile(move |small, me| {
                let open = Open::new(counting(), Target::Task(&small.task));
                let opened = small.perf.open(&open, me).map(|event| event.id());
                done.store(true, Ordering::Release);
                opened
            });
            let (prev, next) = (Some(&small.task), Some(child.clone()));
            vcpu.cpu_mut().switch(prev, Leaves::Blocked, next).unwrap();
            small.perf.exit(&child, &mut vcpu).unwrap();
            while !over.load(Ordering::Acquire) {
                vcpu.serve();
                thread::yield_now();
            }
            assert!(host.join().unwrap().is_ok());
        },
    );
}

#[test]
fn i10_a_vcpu_that_takes_no_calls_stays_offline() {
    explore("offline against online", Turns::Random, SCHEDULES, |_| {
        let small = Small::new();
        let mut vcpu = small.vcpu();
        let host = small.meanwhile(|small, me| {
            // Refused, or undone by the vCPU itself.
            let online = small.perf.online(VCPU, me);
            assert!(matches!(online, Ok(()) | Err(PerfError::NoSuchVcpu(_))));
        });
        vcpu.offline().unwrap();
        assert!(!vcpu.cpu().is_online());
        assert_eq!(vcpu.cpu().audit(), Ok(()));
        host.join().unwrap();
        let open = Open::new(counting(), Target::Vcpu(VCPU));
        let refused = small.perf.open(&open, &mut small.host()).unwrap_err();
        assert_eq!(refused.errno(), 19);
    });
}

#[test]
fn i17_a_trap_that_is_delivered_frees_what_is_being_closed() {
    explore("close against delivery", Turns::Random, SCHEDULES, |_| {
        let small = Small::new();
        let ear = Arc::new(Ear::default());
        let attr = Attr {
            period: 5,
            sigtrap: Some(7),
            remove_on_exec: true,
            ..counting()
        };
        let mut open = Open::new(attr, Target::Task(&small.task));
        open.owner = Some(Arc::clone(&ear) as _);
        let event = small.perf.open(&open, &mut small.host()).unwrap();
        drop(open);
        let mut vcpu = small.vcpu();
        run_task(&mut vcpu, &small.task);
        vcpu.cpu_mut().source_mut().count(5);
        vcpu.cpu_mut().count(None);
        let same = event.clone();
        let host = small.meanwhile(move |small, me| small.perf.close(&same, me));
        while !vcpu.pending() {
            thread::yield_now();
        }
        if dice::once_in(2) {
            vcpu.serve();
        }
        assert!(vcpu.cpu_mut().return_to_user().is_some(), "I14");
        vcpu.serve();
        assert_eq!(host.join().unwrap(), Ok(()));
        let traps = event.traps();
        assert_eq!((traps.queued, traps.sent, traps.dropped), (1, 1, 0));
        drop(event);
        assert_eq!(Arc::strong_count(&ear), 1, "its task still holds it");
    });
}
