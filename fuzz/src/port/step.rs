// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Bytes as what a guest does to its port.

use arbitrary::{Arbitrary, Result, Unstructured};
use perf_port::page::ARGS;
use perf_port_host::PortLimits;

/// What happens next, on one vCPU.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) enum Step {
    /// A command that is right but for its numbers, mostly.
    Command,
    /// Another.
    Another,
    /// What is current, in its page.
    Current,
    /// The current task makes ticks: so many, in user mode or not.
    Ticks(u8, bool),
    /// The vCPU goes into the guest.
    Enter(bool),
    /// Other events happen.
    Happen(u16),
    /// Groups that wait have their turn.
    Rotate,
    /// A word of the page is written, whichever it is.
    Word(u16),
    /// A register is accessed, however that is done.
    Access(u8, u8),
    /// A page is registered.
    Page(u8),
    /// The vCPU goes, or comes again.
    Hotplug,
    /// Milliseconds pass.
    Time(u8),
    /// The host opens an event on a task, or closes the one that it has.
    Host,
}

/// Small limits, so that they are reached.
pub(super) fn limits(bytes: &mut Unstructured<'_>) -> Result<PortLimits> {
    let [tasks, events, calls] = <[u8; 3]>::arbitrary(bytes)?;
    Ok(PortLimits {
        tasks: usize::from(tasks & 15),
        events: usize::from(events & 31),
        calls_per_second: if calls < 192 {
            0
        } else {
            u32::from(calls - 191)
        },
    })
}

/// The numbers that a guest was given, oldest first.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) tasks: Vec<u64>,
    pub(super) events: Vec<u64>,
}

impl Given {
    /// A task, as its guest names it.
    pub(super) fn task(&self, bytes: &mut Unstructured<'_>) -> Result<u64> {
        one_of(&self.tasks, bytes)
    }

    /// An event, as its guest names it.
    fn event(&self, bytes: &mut Unstructured<'_>) -> Result<u64> {
        one_of(&self.events, bytes)
    }
}

/// One of the last, mostly.
fn one_of(given: &[u64], bytes: &mut Unstructured<'_>) -> Result<u64> {
    let last = given.len().min(8);
    match u8::arbitrary(bytes)? {
        nth @ 0..232 if last > 0 => Ok(given[given.len() - 1 - usize::from(nth) % last]),
        232..244 => Ok(0),
        _ => word(bytes),
    }
}

/// A command block: operation, reserved word, arguments.
pub(super) fn block(
    bytes: &mut Unstructured<'_>,
    given: &Given,
) -> Result<(u32, u32, [u64; ARGS])> {
    let op = u8::arbitrary(bytes)?;
    // Twice as many switches, traps and opens as others.
    let op = match op & 31 {
        10 | 11 => 5,
        12 | 13 => 8,
        14 | 15 => 9,
        25 | 26 => 16,
        op => op,
    };
    let reserved = if u8::arbitrary(bytes)? == 255 {
        u32::arbitrary(bytes)?
    } else {
        0
    };
    let mut args = [0; ARGS];
    match op {
        16 => args = open(bytes, given)?,
        5 => {
            args[0] = given.task(bytes)?;
            args[1] = word(bytes)? & !6;
            args[2] = given.task(bytes)?;
        }
        2..=7 => {
            args[0] = given.task(bytes)?;
            args[1] = word(bytes)?;
        }
        17..=24 => {
            args[0] = given.event(bytes)?;
            args[1] = word(bytes)?;
        }
        _ => args[0] = word(bytes)?,
    }
    Ok((op.into(), reserved, args))
}

/// What an event could be opened with.
fn open(bytes: &mut Unstructured<'_>, given: &Given) -> Result<[u64; ARGS]> {
    let [flags, vcpu, event, period, limit] = <[u8; 5]>::arbitrary(bytes)?;
    // With what SIGTRAP needs, mostly.
    let traps = flags & 0x10 != 0;
    let flags = if traps { flags | 8 } else { flags };
    let anywhere = vcpu & 0xF0 != 0;
    Ok([
        u64::from(flags & 0x7F),
        given.task(bytes)?,
        if anywhere { u64::MAX } else { vcpu.into() },
        if event < 192 {
            0x100
        } else {
            u64::from(event & 15)
        },
        u64::from(period & 7),
        if traps { word(bytes)? } else { 0 },
        if flags & 0x80 == 0 {
            0
        } else {
            given.event(bytes)?
        },
        if limit < 64 { u64::from(limit & 3) } else { 0 },
    ])
}

/// Small ones mostly: such as the numbers of tasks, events and vCPUs.
pub(super) fn word(bytes: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match u8::arbitrary(bytes)? {
        small @ 0..240 => u64::from(small & 15),
        240..248 => u64::MAX,
        _ => u64::arbitrary(bytes)?,
    })
}
