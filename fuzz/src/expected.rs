// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which registers a model has and which of their bits, by the rules alone: written without a look at
//! how the library finds them.

use vpmu::{CounterId, EventSelect, MsrId, PmuKind, PmuModel, Vendor};

/// A register that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// A counter by the number that takes 32 bits of Intel's general-purpose ones.
    Counter(CounterId),
    /// IA32_A_PMCn.
    FullWidth(CounterId),
    /// The select of a general-purpose counter.
    Select(u8),
    /// IA32_FIXED_CTR_CTRL.
    FixedControl,
    /// The global status.
    Status,
    /// The global control.
    Control,
    /// What clears bits of the status.
    StatusClear,
    /// What sets them.
    StatusSet,
    /// IA32_PERF_GLOBAL_INUSE.
    InUse,
    /// IA32_PERF_CAPABILITIES.
    Capabilities,
    /// IA32_DEBUGCTL.
    DebugControl,
}

/// CTR_FRZ in the status of versions 4 and 5.
pub const CTR_FRZ: u64 = 1 << 59;
/// FREEZE_PERFMON_ON_PMI in IA32_DEBUGCTL.
pub const FREEZE_ON_PMI: u64 = 1 << 12;

/// The version of Intel's PMU, 0 for AMD's.
fn version(model: PmuModel) -> u8 {
    model.kind().version().unwrap_or(0)
}

fn count(model: PmuModel) -> u32 {
    u32::try_from(model.gp_counters()).expect("at most 8")
}

/// The counters of the model.
pub fn counters(model: PmuModel) -> impl Iterator<Item = CounterId> {
    let byte = |n: usize| u8::try_from(n).expect("few counters");
    let gp = (0..byte(model.gp_counters())).map(CounterId::Gp);
    gp.chain(
        model
            .fixed_counters()
            .map(move |i| CounterId::Fixed(byte(i))),
    )
}

/// Their bits in the status and in the control.
pub fn counter_bits(model: PmuModel) -> u64 {
    counters(model).fold(0, |bits, id| bits | bit(id))
}

/// The bit of one.
pub fn bit(id: CounterId) -> u64 {
    match id {
        CounterId::Gp(n) => 1 << n,
        CounterId::Fixed(i) => 1 << 32 << i,
    }
}

/// Whether there are global control and status.
pub fn has_globals(model: PmuModel) -> bool {
    version(model) >= 2 || model.kind() == PmuKind::AmdV2
}

/// 2^width.
pub fn wrap(model: PmuModel) -> u128 {
    1 << model.counter_width()
}

fn highest(model: PmuModel) -> u64 {
    u64::MAX >> (64 - model.counter_width())
}

/// The register at `msr`, if there is one.
pub fn register(model: PmuModel, msr: MsrId) -> Option<Register> {
    match model.vendor() {
        Vendor::Intel => intel(model, msr.0),
        Vendor::Amd => amd(model, msr.0),
    }
}

fn gp(n: u32) -> CounterId {
    CounterId::Gp(u8::try_from(n).expect("few counters"))
}

fn intel(model: PmuModel, msr: u32) -> Option<Register> {
    let version = version(model);
    let n = count(model);
    let full = model.full_width_writes();
    let fixed = |i: u32| model.fixed_counters().any(|there| there == i as usize);
    Some(match msr {
        0xC1.. if msr < 0xC1 + n => Register::Counter(gp(msr - 0xC1)),
        0x186.. if msr < 0x186 + n => {
            Register::Select(u8::try_from(msr - 0x186).expect("few counters"))
        }
        0x4C1.. if full && msr < 0x4C1 + n => Register::FullWidth(gp(msr - 0x4C1)),
        0x345 if full => Register::Capabilities,
        0x1D9 if version >= 2 => Register::DebugControl,
        0x309..0x319 if version >= 2 && fixed(msr - 0x309) => Register::Counter(CounterId::Fixed(
            u8::try_from(msr - 0x309).expect("few counters"),
        )),
        0x38D if version >= 2 => Register::FixedControl,
        0x38E if version >= 2 => Register::Status,
        0x38F if version >= 2 => Register::Control,
        0x390 if version >= 2 => Register::StatusClear,
        0x391 if version >= 4 => Register::StatusSet,
        0x392 if version >= 4 => Register::InUse,
        _ => return None,
    })
}

fn amd(model: PmuModel, msr: u32) -> Option<Register> {
    let n = count(model);
    let core = model.kind() != PmuKind::AmdK7;
    let globals = has_globals(model);
    let select = |n: u32| Register::Select(u8::try_from(n).expect("few counters"));
    Some(match msr {
        0xC001_0000..0xC001_0004 if msr - 0xC001_0000 < n => select(msr - 0xC001_0000),
        0xC001_0004..0xC001_0008 if msr - 0xC001_0004 < n => {
            Register::Counter(gp(msr - 0xC001_0004))
        }
        0xC001_0200.. if core && msr < 0xC001_0200 + 2 * n => {
            let pair = (msr - 0xC001_0200) / 2;
            if msr.is_multiple_of(2) {
                select(pair)
            } else {
                Register::Counter(gp(pair))
            }
        }
        0xC000_0300 if globals => Register::Status,
        0xC000_0301 if globals => Register::Control,
        0xC000_0302 if globals => Register::StatusClear,
        0xC000_0303 if globals => Register::StatusSet,
        _ => return None,
    })
}

/// The counter that RDPMC with `index` reads, if there is one (P07).
pub fn rdpmc(model: PmuModel, index: u32) -> Option<CounterId> {
    counters(model).find(|id| match (*id, model.vendor()) {
        (CounterId::Gp(n), _) => index == u32::from(n),
        (CounterId::Fixed(i), Vendor::Intel) => index == 0x4000_0000 + u32::from(i),
        (CounterId::Fixed(_), Vendor::Amd) => false,
    })
}

/// What the register can read as: the bits that may be set.
pub fn readable(model: PmuModel, register: Register) -> u64 {
    let version = version(model);
    match register {
        Register::Counter(_) | Register::FullWidth(_) => highest(model),
        Register::Select(_) => select_bits(model),
        Register::FixedControl => fixed_control_bits(model),
        Register::Status if version >= 4 => counter_bits(model) | CTR_FRZ | 0b11 << 62,
        Register::Status | Register::Control => counter_bits(model),
        Register::StatusClear | Register::StatusSet => 0,
        Register::InUse => counter_bits(model) | 1 << 63,
        Register::Capabilities => 1 << 13,
        Register::DebugControl => FREEZE_ON_PMI,
    }
}

fn select_bits(model: PmuModel) -> u64 {
    match (model.vendor(), version(model)) {
        // All but 19, 21, 39:36 and 63:42.
        (Vendor::Amd, _) => 0x030F_FFFF_FFFF & !(1 << 19 | 1 << 21),
        (Vendor::Intel, 3 | 4) => 0xFFFF_FFFF,
        (Vendor::Intel, _) => 0xFFFF_FFFF & !(1 << 21),
    }
}

fn fixed_control_bits(model: PmuModel) -> u64 {
    let any_thread = matches!(version(model), 3 | 4);
    let field = if any_thread { 0b1111 } else { 0b1011 };
    model
        .fixed_counters()
        .fold(0, |bits, i| bits | field << (4 * i))
}

/// What the register reads as right after `value` was written, if that can be said of it; nothing if
/// the write takes #GP. What clears and sets other registers' bits reads 0.
pub fn written(model: PmuModel, register: Register, value: u64) -> Option<u64> {
    let amd = model.vendor() == Vendor::Amd;
    // AMD ignores what Intel refuses.
    let takes = |bits: u64| (amd || value & !bits == 0).then_some(value & bits);
    let counters = counter_bits(model);
    match register {
        Register::Counter(CounterId::Gp(_)) if !amd => {
            let sign = if value & 1 << 31 == 0 {
                0
            } else {
                u64::MAX << 32
            };
            Some((value & 0xFFFF_FFFF | sign) & highest(model))
        }
        Register::Counter(_) | Register::FullWidth(_) => takes(highest(model)),
        Register::Select(_) => takes(select_bits(model)),
        Register::FixedControl => takes(fixed_control_bits(model)),
        Register::Control => takes(counters),
        Register::StatusClear => {
            let since_v4 = 0b1011 << 58;
            let more = if version(model) >= 4 { since_v4 } else { 0 };
            takes(counters | 0b11 << 62 | more).map(|_| 0)
        }
        Register::StatusSet => takes(counters | CTR_FRZ | 0b11 << 62).map(|_| 0),
        Register::DebugControl => takes(FREEZE_ON_PMI | 0b11).map(|kept| kept & FREEZE_ON_PMI),
        Register::Status | Register::InUse | Register::Capabilities => None,
    }
}

/// What fixed-function counter `i` is asked for by FIXED_CTR_CTRL, as the select that asks a
/// general-purpose counter for the same.
pub fn fixed_select(control: u64, i: u8) -> EventSelect {
    let field = control >> (4 * i) & 0xF;
    let event = [0xC0, 0x3C, 0x13C][usize::from(i)];
    let enable = if field & 0b11 != 0 {
        EventSelect::EN
    } else {
        0
    };
    let os = field & 1;
    let usr = field >> 1 & 1;
    let any = field >> 2 & 1;
    let int = field >> 3;
    EventSelect(event | usr << 16 | os << 17 | int << 20 | any << 21 | enable)
}
