// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Performance-monitoring interrupts: where they go, and what becomes of one.

use crate::PmuModel;

/// What a sink did with a PMI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PmiOutcome {
    /// Delivered as this vector.
    Fixed(u8),
    /// Delivered as an NMI.
    Nmi,
    /// Not delivered: the LVTPC is masked.
    Masked,
    /// Not delivered: the LVTPC asks for what cannot be delivered.
    Undeliverable,
}

impl PmiOutcome {
    /// Whether the guest gets an interrupt.
    pub const fn delivered(self) -> bool {
        matches!(self, Self::Fixed(_) | Self::Nmi)
    }
}

/// Where PMIs go: the vCPU's local APIC.
///
/// ```
/// use vpmu::{PmiOutcome, PmiSink, PmuModel};
///
/// /// A local APIC whose LVTPC nobody programmed.
/// struct Unprogrammed;
///
/// impl PmiSink for Unprogrammed {
///     type Error = core::convert::Infallible;
///
///     fn pmi(&mut self, _model: PmuModel) -> Result<PmiOutcome, Self::Error> {
///         Ok(PmiOutcome::Masked)
///     }
/// }
/// ```
pub trait PmiSink {
    /// What can go wrong; [`core::convert::Infallible`] if nothing can.
    type Error;

    /// Looks at the LVTPC and delivers one PMI as it says, masking it where `model` does that
    /// ([`PmuModel::masks_lvtpc_on_pmi`]).
    ///
    /// Runs inside [`VcpuPmu::enter_guest`](crate::VcpuPmu::enter_guest), on the vCPU's thread; the
    /// overflow becomes visible if it succeeds. [`Lvtpc`](crate::Lvtpc) takes the register apart.
    ///
    /// # Errors
    /// Whatever the local APIC's owner reports. It must not have delivered then: the next entry
    /// asks again (P17 of [`registers`](crate::registers)).
    fn pmi(&mut self, model: PmuModel) -> Result<PmiOutcome, Self::Error>;
}
