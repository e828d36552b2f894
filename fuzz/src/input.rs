// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Bytes as what a guest and its host do. Any bytes are something; few make something that matters.

use std::sync::LazyLock;

use arbitrary::{Arbitrary, Result, Unstructured};
use vpmu::{MsrId, Nanos, PmiOutcome, PmuModel};

use crate::expected::{self, Register};

/// A model, and the numbers of the registers that it has.
#[derive(Debug)]
pub struct Shape {
    /// The model.
    pub model: PmuModel,
    present: Vec<(MsrId, Register)>,
    routed: Vec<MsrId>,
}

/// Models that differ from the usual ones where it may matter.
const UNUSUAL: [&str; 9] = [
    "amd-v2,counters=1",
    "intel-v1,counters=1,width=32",
    "intel-v2,counters=8,fixed=0,width=40",
    "intel-v2,counters=2,fixed=1,width=32",
    "intel-v3,fixed=2,width=63",
    "intel-v4,counters=8,width=33",
    "intel-v4,full-width=off",
    "intel-v5,counters=1,width=63",
    "intel-v5,full-width=off",
];

static SHAPES: LazyLock<Vec<Shape>> = LazyLock::new(|| {
    let unusual = UNUSUAL.iter().map(|text| {
        let model: PmuModel = text.parse().expect("a model");
        // Gaps among the fixed-function counters of version 5.
        model.advertising(|config| config.event != vpmu::Event::CoreCycles)
    });
    let models = PmuModel::ALL.iter().copied().chain(unusual);
    let shapes = models.map(|model| {
        let ranges = model.msr_ranges();
        let routed = ranges.flat_map(|range| (0..range.count).map(move |n| range.first.nth(n)));
        let routed: Vec<_> = routed.collect();
        let there = |&msr: &MsrId| Some((msr, expected::register(model, msr)?));
        let present = routed.iter().filter_map(there).collect();
        Shape {
            model,
            present,
            routed,
        }
    });
    shapes.collect()
});

impl Shape {
    /// One of them, by the next byte.
    ///
    /// # Errors
    /// If there is none.
    pub fn choose(bytes: &mut Unstructured<'_>) -> Result<&'static Self> {
        bytes.choose(&SHAPES)
    }

    /// The registers that are there.
    pub fn registers(&self) -> impl Iterator<Item = (MsrId, Register)> {
        self.present.iter().copied()
    }

    /// One of them.
    pub fn any_register(&self, n: usize) -> MsrId {
        self.present[n % self.present.len()].0
    }
}

/// What the local APIC does when it is asked for a PMI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This.
    Outcome(PmiOutcome),
    /// Nothing: it cannot be reached.
    Broken,
}

/// One thing that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// WRMSR.
    Write(MsrId, u64),
    /// RDMSR.
    Read(MsrId),
    /// RDPMC.
    ReadPmc(u32),
    /// Events happen, in one slot of the source.
    Count(usize, u64),
    /// They happen in all slots.
    CountAll(u64),
    /// Host time goes by.
    Wait(u64),
    /// The vCPU enters the guest.
    Enter(Answer),
    /// It leaves it.
    Exit,
    /// The shortest time between PMIs changes.
    MinRearm(Nanos),
    /// The PMU moves to another vCPU.
    Move,
    /// The vCPU is taken away and comes back.
    Reset,
}

impl Op {
    /// Whether it is a guest's access to a register.
    pub const fn is_register_operation(&self) -> bool {
        matches!(self, Self::Write(..) | Self::Read(_) | Self::ReadPmc(_))
    }

    /// The next one.
    ///
    /// # Errors
    /// If the bytes are used up.
    pub fn take(bytes: &mut Unstructured<'_>, shape: &Shape) -> Result<Self> {
        if bytes.is_empty() {
            return Err(arbitrary::Error::NotEnoughData);
        }
        Ok(match u8::arbitrary(bytes)? {
            0..96 => Self::Write(msr(bytes, shape)?, value(bytes, shape.model)?),
            96..144 => Self::Read(msr(bytes, shape)?),
            144..160 => Self::ReadPmc(index(bytes)?),
            160..184 => Self::Count(usize::from(u8::arbitrary(bytes)? & 15), amount(bytes)?),
            184..200 => Self::CountAll(amount(bytes)?),
            200..208 => Self::Wait(u64::from(u16::arbitrary(bytes)?)),
            208..238 => Self::Enter(answer(bytes)?),
            238..244 => Self::Exit,
            244..248 => Self::MinRearm(Nanos(u64::from(u16::arbitrary(bytes)?))),
            248..253 => Self::Move,
            253.. => Self::Reset,
        })
    }
}

fn msr(bytes: &mut Unstructured<'_>, shape: &Shape) -> Result<MsrId> {
    let choice = usize::from(u8::arbitrary(bytes)?);
    Ok(match choice {
        0..240 => shape.any_register(choice),
        240..252 => *bytes.choose(&shape.routed)?,
        // What lies beside one that is routed.
        252 => bytes.choose(&shape.routed)?.nth(1),
        253 => bytes.choose(&shape.routed)?.nth(u32::MAX),
        _ => MsrId(u32::arbitrary(bytes)?),
    })
}

fn index(bytes: &mut Unstructured<'_>) -> Result<u32> {
    let choice = u8::arbitrary(bytes)?;
    Ok(match choice {
        0..128 => u32::from(choice & 15),
        128..240 => 1 << 30 | u32::from(choice & 3),
        _ => u32::arbitrary(bytes)?,
    })
}

fn value(bytes: &mut Unstructured<'_>, model: PmuModel) -> Result<u64> {
    let byte = |bytes: &mut Unstructured<'_>| u8::arbitrary(bytes).map(u64::from);
    Ok(match u8::arbitrary(bytes)? % 12 {
        0 => byte(bytes)?,
        1 => u64::MAX,
        2 => 1 << (byte(bytes)? % 64),
        3 => (u64::MAX >> (64 - model.counter_width())) - byte(bytes)?,
        4 => 0xFFFF_FFFF - byte(bytes)?,
        5 => expected::counter_bits(model),
        // The selects that count, with and without INT.
        6 => *bytes.choose(&[
            0x53_003C, 0x53_0076, 0x53_00C0, 0x43_00C0, 0x43_003C, 0x43_0076,
        ])?,
        7 => u64::from(u32::arbitrary(bytes)?),
        8 => 0xBBB,
        9 => byte(bytes)? << 32 | byte(bytes)?,
        10 => byte(bytes)? << 56,
        _ => u64::arbitrary(bytes)?,
    })
}

/// So much that counters wrap, and so little that no run of it is more than 64 bits hold.
fn amount(bytes: &mut Unstructured<'_>) -> Result<u64> {
    let shift = u8::arbitrary(bytes)? % 45;
    Ok(u64::from(u8::arbitrary(bytes)?) << shift)
}

fn answer(bytes: &mut Unstructured<'_>) -> Result<Answer> {
    Ok(match u8::arbitrary(bytes)? % 8 {
        0 => Answer::Broken,
        1 => Answer::Outcome(PmiOutcome::Masked),
        2 => Answer::Outcome(PmiOutcome::Undeliverable),
        3 => Answer::Outcome(PmiOutcome::Fixed(0x80)),
        _ => Answer::Outcome(PmiOutcome::Nmi),
    })
}
