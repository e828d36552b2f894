// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What can happen. Tasks and events are named by any number: the world picks one that there is.

use proptest::option;
use proptest::prelude::*;
use vpmu::context::{Attr, Leaves, Sample};
use vpmu::{Event, EventConfig};

use crate::rig::{cycles, user_instructions};

pub(crate) const VCPUS: u32 = 3;
/// Tasks that have not exited, at most.
pub(crate) const TASKS: usize = 4;
/// Events that are not closed, at most.
pub(crate) const EVENTS: usize = 8;

/// What an event is opened on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Site {
    Task(usize),
    TaskOn(usize, u32),
    Vcpu(u32),
    /// What the leader of the group is on.
    Group,
}

#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// The current task of a vCPU leaves for another.
    Switch(u32, Leaves, Option<usize>),
    /// Some task is said to leave for another.
    Claim(u32, Option<usize>, Option<usize>),
    Migrate(usize, u32),
    Wake(usize, u32),
    Online(u32),
    Offline(u32),
    Create(u32),
    Fork(usize),
    Exec(usize),
    Exit(usize),
    Open(Attr, Site, Option<usize>),
    Close(usize),
    Enable(usize),
    Disable(usize),
    Refresh(usize, u64),
    Reset(usize),
    Period(usize, u64),
    EnableGroup(usize),
    DisableGroup(usize),
    ResetGroup(usize),
    Happen(u32, u64, Sample),
    IrqWork(u32),
    Rotate(u32),
    Enter(u32),
    TrapDone(u32),
    Pass(u64),
}

/// Something that happens, after counts on a vCPU that nobody has looked at yet.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The vCPU whose thread asks for it, if it is one's.
    pub(crate) by: Option<u32>,
    pub(crate) unseen: Option<(u32, u64)>,
    pub(crate) act: Act,
}

/// Rather the first ones, where tasks run from the beginning.
fn vcpu() -> impl Strategy<Value = u32> {
    prop_oneof![3 => Just(0), 2 => Just(1), 1 => 0..VCPUS]
}

/// Rather the first ones, so that several things happen to one.
fn which() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 0..2_usize, 2 => 0..8_usize]
}

fn counts() -> impl Strategy<Value = u64> {
    prop_oneof![Just(1_u64), Just(5), Just(10), Just(20), 0..60_u64]
}

fn leaves() -> impl Strategy<Value = Leaves> {
    prop_oneof![3 => Just(Leaves::Queued), 1 => Just(Leaves::Blocked)]
}

fn attr() -> impl Strategy<Value = Attr> {
    let ticks = EventConfig::everywhere(Event::PortTick);
    let config = prop_oneof![Just(cycles()), Just(user_instructions()), Just(ticks)];
    let period = prop_oneof![Just(0), Just(10), Just(20), 1..30_u64];
    let disabled = prop::bool::weighted(0.3);
    let pinned = prop::bool::weighted(0.2);
    let inherit = prop::bool::weighted(0.4);
    let remove_on_exec = prop::bool::weighted(0.8);
    let sigtrap = option::weighted(0.5, 1..1_000_u64);
    let flags = (disabled, pinned, inherit, remove_on_exec);
    let attr = (config, period, flags, sigtrap).prop_map(|(config, period, flags, sigtrap)| Attr {
        config,
        period,
        disabled: flags.0,
        pinned: flags.1,
        inherit: flags.2,
        remove_on_exec: flags.3,
        sigtrap,
    });
    // Mostly ones that go together.
    let tidy = attr.prop_map(|attr| Attr {
        sigtrap: attr
            .sigtrap
            .filter(|data| data % 50 == 0 || (attr.remove_on_exec && attr.samples())),
        ..attr
    });
    prop_oneof![
        2 => tidy,
        1 => prop::bool::ANY.prop_map(|inherit| Attr { inherit, ..Attr::counting(cycles()) }),
    ]
}

/// With `families`, almost everything that is opened on tasks is inherited, so that contexts are
/// copies of each other.
fn open(families: bool) -> impl Strategy<Value = Act> {
    let attr = move || {
        let related = prop::bool::weighted(if families { 0.95 } else { 0.0 });
        (attr(), related).prop_map(move |(attr, related)| Attr {
            inherit: attr.inherit || related,
            // While traps are on their way, nobody trades.
            sigtrap: attr.sigtrap.filter(|data| !families || data % 4 == 0),
            ..attr
        })
    };
    let alone = prop_oneof![
        4 => which().prop_map(Site::Task),
        1 => (which(), vcpu()).prop_map(|(task, vcpu)| Site::TaskOn(task, vcpu)),
    ];
    let plain = Attr {
        inherit: false,
        remove_on_exec: false,
        sigtrap: None,
        ..Attr::counting(cycles())
    };
    let machine = (attr(), vcpu()).prop_map(move |(attr, vcpu)| {
        let whole = Attr {
            config: attr.config,
            period: attr.period,
            disabled: attr.disabled,
            pinned: attr.pinned,
            ..plain
        };
        let odd = attr.sigtrap.is_some_and(|data| data % 5 == 0);
        Act::Open(if odd { attr } else { whole }, Site::Vcpu(vcpu), None)
    });
    let member = (attr(), which(), prop::bool::weighted(0.1), alone.clone());
    prop_oneof![
        4 => (attr(), alone).prop_map(|(attr, on)| Act::Open(attr, on, None)),
        1 => machine,
        3 => member.prop_map(|(attr, leader, stray, on)| {
            let attr = Attr { pinned: stray && attr.pinned, ..attr };
            Act::Open(attr, if stray { on } else { Site::Group }, Some(leader))
        }),
    ]
}

fn act(families: bool) -> impl Strategy<Value = Act> {
    let sample =
        (1..100_u64, prop::bool::weighted(0.8)).prop_map(|(addr, user)| Sample { addr, user });
    let guest = prop_oneof![
        14 => (vcpu(), leaves(), option::weighted(0.9, which()))
            .prop_map(|(vcpu, leaves, next)| Act::Switch(vcpu, leaves, next)),
        1 => (vcpu(), option::of(which()), option::of(which()))
            .prop_map(|(vcpu, prev, next)| Act::Claim(vcpu, prev, next)),
        1 => (which(), vcpu()).prop_map(|(task, vcpu)| Act::Migrate(task, vcpu)),
        2 => (which(), vcpu()).prop_map(|(task, vcpu)| Act::Wake(task, vcpu)),
        1 => vcpu().prop_map(Act::Create),
        if families { 8 } else { 2 } => which().prop_map(Act::Fork),
        1 => which().prop_map(Act::Exec),
        1 => which().prop_map(Act::Exit),
        16 => (vcpu(), counts(), sample)
            .prop_map(|(vcpu, counts, sample)| Act::Happen(vcpu, counts, sample)),
        12 => vcpu().prop_map(Act::Enter),
        6 => vcpu().prop_map(Act::TrapDone),
    ];
    let host = prop_oneof![
        2 => vcpu().prop_map(Act::Online),
        1 => vcpu().prop_map(Act::Offline),
        4 => vcpu().prop_map(Act::IrqWork),
        4 => vcpu().prop_map(Act::Rotate),
        8 => (1..100_u64).prop_map(Act::Pass),
    ];
    let user = prop_oneof![
        2 => which().prop_map(Act::Close),
        4 => which().prop_map(Act::Enable),
        2 => which().prop_map(Act::Disable),
        5 => (which(), 0..4_u64).prop_map(|(event, n)| Act::Refresh(event, n)),
        1 => which().prop_map(Act::Reset),
        1 => (which(), prop_oneof![4 => 1..30_u64, 1 => Just(0)])
            .prop_map(|(event, period)| Act::Period(event, period)),
        1 => which().prop_map(Act::EnableGroup),
        1 => which().prop_map(Act::DisableGroup),
        1 => which().prop_map(Act::ResetGroup),
    ];
    let opens = if families { 1 } else { 3 };
    prop_oneof![7 => guest, 2 => host, 3 => user, opens => open(families)]
}

fn script(families: bool) -> impl Strategy<Value = Vec<Step>> {
    let unseen = option::weighted(0.4, (vcpu(), counts()));
    let by = option::of(vcpu());
    let step = (by, unseen, act(families)).prop_map(|(by, unseen, act)| Step { by, unseen, act });
    prop::collection::vec(step, 1..150)
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop_oneof![3 => script(false), 2 => script(true)]
}
