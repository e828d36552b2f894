// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Random register traffic, with counts and time passing in between: against a reference model
//! written another way, and against laws that hold whatever the guest does.

mod laws;
mod reference;
mod script;

use proptest::prelude::*;

proptest! {
    /// Every answer and every visible register, after every step, is the reference's.
    #[test]
    fn traffic_agrees_with_the_reference(steps in script::steps()) {
        reference::compare(&steps);
    }

    /// P09, P13 to P16 and P18, told without a model.
    #[test]
    fn traffic_keeps_the_laws(steps in script::steps()) {
        laws::check(&steps);
    }
}
