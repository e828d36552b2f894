// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a CPU's registers are before anybody touched them.

use rt::check_eq;
use rt::counter::{self, Counter};
use rt::model::{model, msr};
use rt::msr::read;
use rt::tap::Outcome;

/// On a CPU whose PMU nobody has touched.
pub(crate) fn values() -> Outcome {
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
