// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The LVT entry through which PMIs go.

use vpmu::{Delivery, Lvtpc};

#[test]
fn delivery_modes_as_the_manual_numbers_them() {
    for (value, delivery) in [
        (0x0_00EE, Delivery::Fixed(0xEE)),
        (0x0_0010, Delivery::Fixed(16)),
        (0x0_00FF, Delivery::Fixed(255)),
        (0x0_000F, Delivery::Other(0)),
        (0x0_0000, Delivery::Other(0)),
        (0x0_0100, Delivery::Other(1)),
        (0x0_0200, Delivery::Other(2)),
        (0x0_0400, Delivery::Nmi),
        (0x0_0402, Delivery::Nmi),
        (0x0_05EE, Delivery::Other(5)),
        (0x0_07EE, Delivery::Other(7)),
        (0x1_0400, Delivery::Nmi),
        (0x0_10EE, Delivery::Fixed(0xEE)),
        (0xFFFE_F8EE, Delivery::Fixed(0xEE)),
    ] {
        assert_eq!(Lvtpc(value).delivery(), delivery, "{value:#x}");
    }
}

#[test]
fn the_mask_is_bit_16_and_nothing_else() {
    for bit in 0..32 {
        assert_eq!(Lvtpc(1 << bit).masked(), bit == 16, "bit {bit}");
    }
    assert_eq!(Lvtpc(0x400).with_mask(), Lvtpc(0x1_0400));
    assert_eq!(Lvtpc(0x1_0400).with_mask(), Lvtpc(0x1_0400));
}
