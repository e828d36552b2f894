// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The engine beside the reference, after every step.

use vcpu_call::VcpuId;
use vpmu::Nanos;
use vpmu::context::order;
use vpmu::context::{PerfConfig, Reading, State, Status, Step as Told};
use vpmu::source::MAX_SLOTS;

use crate::reference::{Reference, Verdict, Whereabouts, Wish};
use crate::rig::Rig;
use crate::script::{EVENTS, Step, VCPUS};
use crate::world::{Deed, Outcome, World};

pub(crate) fn run(steps: &[Step]) {
    // A vCPU's events and its current task's all find a counter.
    const { assert!(MAX_SLOTS >= 2 * EVENTS) };
    let mut world = World::new(Rig::with(PerfConfig {
        slots: MAX_SLOTS,
        interval: Nanos(0),
        ..PerfConfig::new(VCPUS)
    }));
    let mut reference = Reference::new();
    for step in steps {
        let Some(deed) = world.resolve(&step.act) else {
            continue;
        };
        world.rig.here = step.by.map(VcpuId);
        reference.next_step();
        // What happens under everybody's eyes is found together with what was not seen before.
        let seen = matches!(deed, Deed::Happen(..));
        if let Some((vcpu, counts)) = step.unseen.filter(|_| !seen) {
            world.rig.cpu(vcpu).source_mut().count(counts);
            reference.unseen(vcpu, counts, &deed);
        }
        world.rig.log.clear();
        let outcome = world.apply(deed);
        world.look();
        let verdict = reference.apply(&deed);
        judge(&mut reference, &deed, outcome, &verdict);
        same(&mut world, &mut reference, &deed);
    }
}

fn judge(reference: &mut Reference, deed: &Deed, outcome: Outcome, verdict: &Verdict) {
    match (outcome, verdict) {
        (Outcome::Done, Verdict::Done) => {}
        (Outcome::Refused(error), Verdict::Refused(errnos)) => {
            let errno = error.errno();
            assert!(errnos.contains(&errno), "{deed:?}: {error}, not {errnos:?}");
        }
        (Outcome::Trap(trap), Verdict::MayTrap) => {
            let Deed::Enter(vcpu) = *deed else {
                panic!("{deed:?} traps")
            };
            if let Err(what) = reference.delivers(vcpu, trap.as_ref()) {
                panic!("{deed:?}: {what}");
            }
        }
        _ => panic!("{deed:?}: {outcome:?}, not {verdict:?}"),
    }
}

fn same(world: &mut World, reference: &mut Reference, deed: &Deed) {
    let traded = world.rig.log.count(|step| matches!(step, Told::Swap(_)));
    let trades = core::mem::take(&mut reference.trades);
    assert_eq!(traded, trades, "trades, after {deed:?}");
    adopt(world, reference);
    for (task, own) in world.tasks.iter().zip(&reference.tasks) {
        let place = match own.at {
            Whereabouts::Blocked(vcpu) => order::Place::Blocked(VcpuId(vcpu)),
            Whereabouts::Queued(vcpu) => order::Place::Queued(VcpuId(vcpu)),
            Whereabouts::Current(vcpu) => order::Place::Current(VcpuId(vcpu)),
        };
        let is = (task.place(), task.has_exited());
        assert_eq!(is, (place, own.exited), "{task:?} after {deed:?}");
    }
    for (vcpu, own) in (0..VCPUS).zip(&reference.vcpus) {
        let cpu = world.rig.cpu(vcpu);
        let current = cpu.current().map(vpmu::context::Task::id);
        let expected = own.current.map(|task| world.tasks[task].id());
        let cpu = world.rig.cpu(vcpu);
        assert_eq!((cpu.is_online(), current), (own.online, expected));
    }
    for file in 0..world.events.len() {
        same_event(world, reference, deed, file);
    }
    world.audit();
}

/// When exactly an event at its limit becomes OFF is the engine's business.
fn adopt(world: &World, reference: &mut Reference) {
    for file in 0..world.events.len() {
        let own = reference.files[file].own;
        if reference.members[own].stopping {
            let status = world.rig.perf.status(&world.events[file].event);
            if status.is_ok_and(|status| status.state == State::Off) {
                reference.turn_off(own);
            }
        }
    }
}

fn same_event(world: &mut World, reference: &Reference, deed: &Deed, file: usize) {
    let own = reference.files[file].own;
    let member = &reference.members[own];
    let opened = &world.events[file];
    let context = || format!("event {file} after {deed:?}");
    let law = reference.files[file].traps;
    assert_eq!(opened.event.traps(), law, "traps of {}", context());
    let told = reference.files[file].told;
    assert_eq!(opened.told.sums(), told, "what was told of {}", context());
    if member.wish == Wish::Closed {
        assert!(opened.closed, "{}", context());
        return;
    }
    let status = world.rig.perf.status(&opened.event).unwrap();
    let expected = Status {
        state: match (member.wish, reference.counts_on(own)) {
            (Wish::On, Some(vcpu)) => State::Active(VcpuId(vcpu)),
            (Wish::On, None) => State::Inactive,
            (Wish::Off, _) => State::Off,
            (Wish::Ended | Wish::Closed, _) => State::Exit,
        },
        overflows: member.overflows,
        hups: member.hups,
        throttled: 0,
        limit: member.limit,
        pending: member.trap.is_some(),
        traps: law,
        config: opened.event.attr().config,
    };
    assert_eq!(status, expected, "{}", context());
    let event = opened.event.clone();
    let Reading {
        count,
        time_enabled,
        time_running,
        ..
    } = world.rig.read(&event).expect("no counter is missing");
    let is = [count, time_enabled.0, time_running.0];
    assert_eq!(is, reference.total(file), "{}", context());
}
