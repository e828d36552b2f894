// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The guest runs counters of its own PMU while the host does what it likes to their vCPU: opens,
//! closes, disables and enables pinned and flexible events there, and plugs it (G5, X9).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shuttle::sync::atomic::AtomicUsize as Shared;
use shuttle::thread;
use vcpu_call::Calls;
use vpmu::context::{
    Attr, Event, HostThread, Open, Perf as AnyPerf, PerfConfig, PerfError, State, Target,
    VcpuThread,
};
use vpmu::source::script::ScriptSource;
use vpmu::{CounterSource, Nanos};

use crate::dice;
use crate::search::{Turns, explore};
use crate::small::{Perf, Small, Thread, VCPU, counting};

const SCHEDULES: usize = 2_000;
const HOSTS: usize = 2;
/// Few enough to be fought for.
const SLOTS: usize = 3;
/// Counters that the guest uses, by the registers' numbers.
const COUNTERS: [usize; 3] = [0, 1, 9];

/// What was there to be seen, over all schedules.
#[derive(Default)]
struct Seen {
    started: AtomicUsize,
    refused: AtomicUsize,
    /// Host events that found no counter.
    failed: AtomicUsize,
    /// Times that counters ran when their vCPU was plugged out.
    unplugged: AtomicUsize,
}

#[test]
fn g5_the_guests_counters_lose_nothing() {
    let seen = Arc::new(Seen::default());
    let all = Arc::clone(&seen);
    explore("guest counters", Turns::Random, SCHEDULES, move |_| {
        let config = PerfConfig {
            slots: SLOTS,
            ..PerfConfig::new(1)
        };
        let clock: fn() -> Nanos = || Nanos(0);
        let perf: Perf = AnyPerf::new(config, clock);
        let task = perf.create_task(VCPU).unwrap();
        let calls = Calls::new(1, |_vcpu| {});
        let small = Small { perf, calls, task };
        let busy = Arc::new(Shared::new(HOSTS));
        let plugs = Arc::new(AtomicUsize::new(0));
        let hosts: Vec<_> = (0..HOSTS)
            .map(|_| {
                let (busy, plugs) = (Arc::clone(&busy), Arc::clone(&plugs));
                let seen = Arc::clone(&all);
                small.meanwhile(move |small, me| {
                    host(small, me, &plugs, &seen);
                    busy.fetch_sub(1, Ordering::Release);
                })
            })
            .collect();
        let cpu = small.perf.cpu(VCPU, ScriptSource::new()).unwrap();
        let mut vcpu = VcpuThread::new(cpu, small.calls.vcpu(VCPU).unwrap());
        vcpu.online().unwrap();
        let mut guest = Guest {
            shown: Default::default(),
            unplugged: 0,
            plugs,
            seen: Arc::clone(&all),
        };
        while busy.load(Ordering::Acquire) > 0 {
            guest.step(&mut vcpu);
            thread::yield_now();
        }
        hosts.into_iter().for_each(|host| host.join().unwrap());
        // Plugged out or not, it ends in order.
        guest.step(&mut vcpu);
        vcpu.offline().unwrap();
        assert_eq!(vcpu.cpu().audit(), Ok(()));
    });
    let Seen {
        started,
        refused,
        failed,
        unplugged,
    } = &*seen;
    for (what, seen) in [
        ("a counter that started", started),
        ("a counter that found no place", refused),
        ("a host's event that found none", failed),
        ("a counter that stopped with its vCPU", unplugged),
    ] {
        assert_ne!(seen.load(Ordering::Relaxed), 0, "never seen: {what}");
    }
}

struct Guest {
    /// What its counters must show, those that run.
    shown: [Option<u64>; COUNTERS.len()],
    /// How often they stopped because their vCPU was plugged out.
    unplugged: usize,
    /// How often somebody began to plug it out.
    plugs: Arc<AtomicUsize>,
    seen: Arc<Seen>,
}

impl Guest {
    /// Something that the guest does, and what its thread does before it is entered again.
    fn step(&mut self, vcpu: &mut Thread) {
        self.serve(vcpu);
        let which = usize::try_from(dice::below(3)).expect("few");
        let (counter, shown) = (COUNTERS[which], &mut self.shown[which]);
        match dice::below(4) {
            0 => {
                let started = vcpu.start(counter, &counting().config);
                let seen = match started {
                    Ok(()) => &self.seen.started,
                    Err(_) => &self.seen.refused,
                };
                seen.fetch_add(1, Ordering::Relaxed);
                *shown = started.ok().map(|()| 0);
            }
            1 => {
                vcpu.stop(counter);
                *shown = None;
            }
            2 => {
                let expected = shown.as_mut().map_or(0, std::mem::take);
                assert_eq!(vcpu.take(counter), expected, "counter {counter}");
            }
            _ => {
                let counts = dice::below(9);
                vcpu.cpu_mut().source_mut().count(counts);
                self.shown
                    .iter_mut()
                    .flatten()
                    .for_each(|shown| *shown += counts);
            }
        }
        if dice::once_in(4) {
            vcpu.cpu_mut().count(None);
            vcpu.cpu_mut().rotate();
        }
        assert_eq!(vcpu.cpu().audit(), Ok(()));
    }

    /// Whatever is called for, the counters stay where they are, but where the vCPU goes offline.
    fn serve(&mut self, vcpu: &mut Thread) {
        let slots = COUNTERS.map(|counter| vcpu.cpu().guest_slot(counter));
        vcpu.serve();
        let now = COUNTERS.map(|counter| vcpu.cpu().guest_slot(counter));
        if now != slots {
            assert_eq!(now, [None; COUNTERS.len()], "G5");
            self.unplugged += 1;
            assert!(self.unplugged <= self.plugs.load(Ordering::Relaxed), "G5");
            self.shown = [None; COUNTERS.len()];
            self.seen.unplugged.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A host that asks for more than there is.
fn host(small: &Small, me: &mut HostThread, plugs: &AtomicUsize, seen: &Seen) {
    let mut open: Vec<Event> = Vec::new();
    for _ in 0..6 {
        let attr = Attr {
            pinned: dice::once_in(2),
            disabled: dice::once_in(3),
            ..counting()
        };
        match (dice::below(8), dice::pick(&open).cloned()) {
            (0..3, _) => match small.perf.open(&Open::new(attr, Target::Vcpu(VCPU)), me) {
                Ok(event) => open.push(event),
                Err(error) => assert_eq!(error, PerfError::NoSuchVcpu(VCPU)),
            },
            (3, Some(event)) => {
                small.perf.close(&event, me).unwrap();
                open.retain(|other| other.id() != event.id());
            }
            (4, Some(event)) => small.perf.disable(&event, me).unwrap(),
            (5, Some(event)) => small.perf.enable(&event, me).unwrap(),
            (6, Some(event)) => {
                let state = small.perf.status(&event).unwrap().state;
                assert_ne!(state, State::Dead);
                let failed = usize::from(state == State::Error);
                seen.failed.fetch_add(failed, Ordering::Relaxed);
                assert_eq!(small.perf.audit_event(&event), Ok(()));
            }
            (7, _) if dice::once_in(2) => {
                plugs.fetch_add(1, Ordering::Relaxed);
                // Refused while the thread is not there yet.
                let _ = small.perf.offline(VCPU, me);
                let _ = small.perf.online(VCPU, me);
            }
            _ => {}
        }
    }
}
