// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a CPU's PMU is like before anybody touched it.

use crate::apic::{self, LVT_MASKED};
use crate::counter::{self, Counter};
use crate::model::{model, msr};
use crate::msr::{read, try_rdpmc};
use crate::tap::Outcome;
use crate::{check, check_eq};

/// Every register of the PMU has its value at reset.
///
/// # Errors
/// The first that has another.
pub fn registers() -> Outcome {
    let model = model();
    for counter in counter::all() {
        check_eq!(counter.get(), 0, "{counter}");
        if let Counter::Gp(n) = counter {
            check_eq!(read(model.select(n)), 0, "event select {n}");
        }
    }
    if let Some(globals) = model.globals() {
        let enabled = model.gp_bits();
        check_eq!(read(globals.control), enabled, "the global control");
        check_eq!(read(globals.status), 0, "the global status");
        check_eq!(read(globals.clear), 0, "the status clear register");
        if let Some(set) = globals.set {
            check_eq!(read(set), 0, "the status set register");
        }
    }
    if model.version() >= 2 {
        check_eq!(read(msr::FIXED_CTR_CTRL), 0, "FIXED_CTR_CTRL");
        check_eq!(read(msr::DEBUGCTL), 0, "DEBUGCTL");
    }
    if model.version() >= 4 {
        check_eq!(read(msr::GLOBAL_INUSE), 0, "GLOBAL_INUSE");
    }
    Ok(())
}

/// This CPU's local APIC was as after power-up when it was started: in xAPIC mode, LVTPC masked.
///
/// # Errors
/// What else it was.
pub fn local_apic() -> Outcome {
    let found = apic::found();
    check_eq!(found.base & 0xd00, 0x800, "IA32_APIC_BASE's mode bits");
    check_eq!(found.lvtpc, LVT_MASKED, "LVTPC at the start");
    Ok(())
}

/// As long as nothing was enabled, there is nothing to read by RDPMC.
///
/// # Errors
/// The first index that can be read.
pub fn rdpmc() -> Outcome {
    for counter in counter::all() {
        let read = try_rdpmc(counter.index());
        check!(read.is_err(), "RDPMC of {counter} gives {read:x?}");
    }
    Ok(())
}
