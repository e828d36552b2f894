// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The documented steps, one by one, over the documented encoding: every entry is looked at.

use proptest::collection::vec;
use proptest::prelude::*;
use vpmu::{EventFilter, EventSelect, FilterAction, FilterEntry, Vendor};

/// A masked entry as KVM's interface encodes it: bits 7:0 and 35:32 the event, 15:8 the value, 63:56
/// the mask, 55 exclude.
#[derive(Clone, Copy, Debug)]
struct Encoded(u64);

impl Encoded {
    fn event(self) -> u64 {
        self.0 & 0xF_0000_00FF
    }

    fn excludes(self) -> bool {
        self.0 >> 55 & 1 == 1
    }

    fn entry(self) -> FilterEntry {
        let [low, value, _, _, high, _, _, mask] = self.0.to_le_bytes();
        let number = u16::from_le_bytes([low, high & 0xF]);
        let entry = FilterEntry::masked(number, mask, value);
        if self.excludes() {
            entry.excluding()
        } else {
            entry
        }
    }
}

/// What the steps make of a guest's select.
fn allowed(action: FilterAction, entries: &[Encoded], vendor: Vendor, select: u64) -> bool {
    let event = select
        & match vendor {
            Vendor::Intel => 0xFF,
            Vendor::Amd => 0xF_0000_00FF,
        };
    let umask = select >> 8 & 0xFF;
    let of_this_event = entries.iter().filter(|entry| entry.event() == event);
    let matching: Vec<_> = of_this_event
        .filter(|entry| umask & entry.0 >> 56 == entry.0 >> 8 & 0xFF)
        .collect();
    let included = matching.iter().any(|entry| !entry.excludes());
    let excluded = matching.iter().any(|entry| entry.excludes());
    (included && !excluded) == (action == FilterAction::Allow)
}

/// Few events and few bits, so that entries meet.
fn encoded() -> impl Strategy<Value = Encoded> {
    let byte = prop_oneof![
        Just(0),
        Just(0xFF),
        0..4_u64,
        any::<u8>().prop_map(u64::from)
    ];
    (0..3_u64, 0..2_u64, byte.clone(), byte, any::<bool>()).prop_map(
        |(low, high, value, mask, exclude)| {
            Encoded(low | high << 32 | value << 8 | mask << 56 | u64::from(exclude) << 55)
        },
    )
}

fn select() -> impl Strategy<Value = u64> {
    let near =
        (0..4_u64, 0..3_u64, any::<u8>(), any::<u64>()).prop_map(|(low, high, umask, rest)| {
            low | high << 32 | u64::from(umask) << 8 | rest & !0xF_0000_FFFF
        });
    let few =
        (0..4_u64, 0..3_u64, 0..5_u64).prop_map(|(low, high, umask)| low | high << 32 | umask << 8);
    prop_oneof![near, few, any::<u64>()]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn p35_the_list_decides_as_the_documented_steps_do(
        allow in any::<bool>(),
        entries in vec(encoded(), 0..40),
        selects in vec(select(), 1..60),
    ) {
        let action = if allow { FilterAction::Allow } else { FilterAction::Deny };
        let made = EventFilter::new(action, entries.iter().map(|entry| entry.entry()), 0);
        let filter = made.expect("few entries with numbers of 12 bits");
        for select in selects {
            for vendor in [Vendor::Intel, Vendor::Amd] {
                prop_assert_eq!(
                    filter.allows_select(vendor, EventSelect(select)),
                    allowed(action, &entries, vendor, select),
                    "{:?}: {:#x}", vendor, select
                );
            }
        }
    }
}
