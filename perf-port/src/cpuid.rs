// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Discovery: the two CPUID leaves that tell a guest of its perf port.
//!
//! ```
//! use perf_port::cpuid::{self, Discovery, Features, Leaf};
//!
//! let port = Discovery::V1;
//! // The guest's side, with what its CPUID instruction says.
//! let cpuid = |number| match number {
//!     cpuid::SIGNATURE_LEAF => cpuid::signature(),
//!     cpuid::PORT_LEAF => port.encode(),
//!     _ => Leaf::default(),
//! };
//! let found = Discovery::find(cpuid).expect("it is there");
//! assert_eq!((found.version, found.port, found.vector), (1, 0xCE0, 28));
//! assert!(found.features.contains(Features::TICK));
//! assert_eq!(Discovery::find(|_| Leaf::default()), None);
//! ```

use crate::{VERSION, io};

/// The leaf that says whose leaves follow. EAX: the highest of them; EBX, ECX and EDX, in this
/// order: the signature.
pub const SIGNATURE_LEAF: u32 = 0x4000_0100;

/// The leaf that describes the port. EAX: version of the ABI; EBX: [`Features`]; ECX: first I/O port
/// in bits 15:0, vector of the trap in bits 23:16; EDX: frame of the tick page.
pub const PORT_LEAF: u32 = 0x4000_0101;

/// What EBX, ECX and EDX of [`SIGNATURE_LEAF`] spell.
pub const SIGNATURE: [u8; 12] = *b"perfvisor\0\0\0";

/// The four registers that CPUID returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leaf {
    /// EAX.
    pub eax: u32,
    /// EBX.
    pub ebx: u32,
    /// ECX.
    pub ecx: u32,
    /// EDX.
    pub edx: u32,
}

/// What the port can do: bits of [`PORT_LEAF`]'s EBX. A guest ignores those that it does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(pub u32);

impl Features {
    /// Guest tasks are announced, and have events.
    pub const TASKS: Self = Self(1 << 0);
    /// Overflows are traps into the user mode of a task.
    pub const SIGTRAP: Self = Self(1 << 1);
    /// There is a tick page, and the event that counts its stores.
    pub const TICK: Self = Self(1 << 2);
    /// Everything of version 1.
    pub const ALL: Self = Self(Self::TASKS.0 | Self::SIGTRAP.0 | Self::TICK.0);

    /// Whether all of `other` are there.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Where the port is, and what it can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// The version of the ABI.
    pub version: u32,
    /// What the port can do.
    pub features: Features,
    /// The first I/O port.
    pub port: u16,
    /// The vector of the exception that hands over a trap.
    pub vector: u8,
    /// The frame number (guest-physical address >> 12) of the tick page.
    pub tick_frame: u32,
}

impl Discovery {
    /// The port where perfvisor has it.
    pub const V1: Self = Self {
        version: VERSION,
        features: Features::ALL,
        port: io::BASE,
        vector: io::TRAP_VECTOR,
        tick_frame: io::TICK_FRAME,
    };

    /// What [`PORT_LEAF`] says.
    pub const fn encode(self) -> Leaf {
        Leaf {
            eax: self.version,
            ebx: self.features.0,
            ecx: self.port as u32 | (self.vector as u32) << 16,
            edx: self.tick_frame,
        }
    }

    /// What a [`PORT_LEAF`] says, whatever its version.
    pub const fn decode(leaf: Leaf) -> Self {
        let [a, b, vector, _] = leaf.ecx.to_le_bytes();
        Self {
            version: leaf.eax,
            features: Features(leaf.ebx),
            port: u16::from_le_bytes([a, b]),
            vector,
            tick_frame: leaf.edx,
        }
    }

    /// The port that `cpuid` tells of, if there is one that speaks at least version 1. A later version
    /// does all that this one does.
    ///
    /// Hypervisors put their leaves behind each other's, in steps of 0x100 from 0x4000_0000 to
    /// 0x4001_0000: it is looked for at each, and described by the leaf behind.
    pub fn find(cpuid: impl Fn(u32) -> Leaf) -> Option<Self> {
        let bases = (FIRST_BASE..=LAST_BASE).step_by(STEP);
        let base = bases.into_iter().find(|base| {
            let first = cpuid(*base);
            let ours = Leaf { eax: 0, ..first }
                == Leaf {
                    eax: 0,
                    ..signature()
                };
            ours && first.eax > *base
        })?;
        Some(Self::decode(cpuid(base + 1))).filter(|port| port.version >= VERSION)
    }
}

/// The first leaf of hypervisors, the last one at which their leaves can begin, and what is between
/// two such.
const FIRST_BASE: u32 = 0x4000_0000;
const LAST_BASE: u32 = 0x4001_0000;
const STEP: usize = 0x100;

/// What [`SIGNATURE_LEAF`] says.
pub const fn signature() -> Leaf {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = SIGNATURE;
    Leaf {
        eax: PORT_LEAF,
        ebx: u32::from_le_bytes([a, b, c, d]),
        ecx: u32::from_le_bytes([e, f, g, h]),
        edx: u32::from_le_bytes([i, j, k, l]),
    }
}
