// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The documented cases.

use vpmu::FilterAction::{Allow, Deny};
use vpmu::{EventFilter, EventSelect, FilterAction, FilterEntry, FilterError, Vendor};

fn filter(action: FilterAction, entries: &[FilterEntry]) -> EventFilter {
    EventFilter::new(action, entries.iter().copied(), 0).expect("a filter of a few entries")
}

/// Intel's select of an event, enabled at all privilege levels with INT.
fn select(event: u8, umask: u8) -> EventSelect {
    EventSelect(0x53_0000 | u64::from(umask) << 8 | u64::from(event))
}

/// Both actions must decide by the same list.
#[track_caller]
fn lists(entries: &[FilterEntry], event: u8, umask: u8, listed: bool) {
    for vendor in [Vendor::Intel, Vendor::Amd] {
        let select = select(event, umask);
        let allow = filter(Allow, entries).allows_select(vendor, select);
        assert_eq!(allow, listed, "allowing, {vendor}: {event:#x}, {umask:#x}");
        let deny = filter(Deny, entries).allows_select(vendor, select);
        assert_eq!(deny, !listed, "denying, {vendor}: {event:#x}, {umask:#x}");
    }
}

#[test]
fn p35_a_plain_entry_is_one_event_with_one_unit_mask() {
    let cycles = [FilterEntry::event(0x3C, 0x00)];
    lists(&cycles, 0x3C, 0x00, true);
    lists(&cycles, 0x3C, 0x01, false);
    lists(&cycles, 0x3C, 0x80, false);
    lists(&cycles, 0x3B, 0x00, false);
    lists(&cycles, 0x3D, 0x00, false);
    lists(&cycles, 0x00, 0x3C, false);
}

#[test]
fn p35_no_entry_lists_nothing() {
    lists(&[], 0x3C, 0x00, false);
    lists(&[], 0x00, 0x00, false);
}

#[test]
fn p35_a_masked_entry_looks_at_the_bits_of_its_mask() {
    // The documentation's own cases: every unit mask; some by their high bits; one by a single bit.
    let every = [FilterEntry::masked(0xD0, 0x00, 0x00)];
    let high = [FilterEntry::masked(0xD0, 0xF0, 0x80)];
    let bit = [FilterEntry::masked(0xD0, 0x01, 0x01)];
    for umask in 0..=u8::MAX {
        lists(&every, 0xD0, umask, true);
        lists(&every, 0xD1, umask, false);
        lists(&high, 0xD0, umask, umask >> 4 == 8);
        lists(&bit, 0xD0, umask, umask & 1 == 1);
    }
}

#[test]
fn p35_a_value_outside_its_mask_matches_nothing() {
    let never = [FilterEntry::masked(0xD0, 0x0F, 0x10)];
    for umask in 0..=u8::MAX {
        lists(&never, 0xD0, umask, false);
    }
}

#[test]
fn p35_an_excluding_entry_wins_over_every_including_one_of_its_event() {
    let all_but = [
        FilterEntry::masked(0xD0, 0x00, 0x00),
        FilterEntry::masked(0xD0, 0xF0, 0x80).excluding(),
        FilterEntry::event(0xD0, 0x81),
        FilterEntry::masked(0xD1, 0x00, 0x00),
    ];
    let backwards: Vec<_> = all_but.iter().rev().copied().collect();
    for entries in [&all_but[..], &backwards] {
        for umask in 0..=u8::MAX {
            lists(entries, 0xD0, umask, umask >> 4 != 8);
            lists(entries, 0xD1, umask, true);
        }
    }
}

#[test]
fn p35_an_excluding_entry_alone_lists_nothing() {
    let excluding = [FilterEntry::event(0xD0, 0x81).excluding()];
    lists(&excluding, 0xD0, 0x81, false);
    lists(&excluding, 0xD0, 0x82, false);
}

#[test]
fn p35_only_event_and_unit_mask_are_looked_at() {
    let allow = filter(Allow, &[FilterEntry::event(0xC0, 0x12)]);
    let deny = filter(Deny, &[FilterEntry::event(0xC0, 0x12)]);
    for bit in (16..32).chain(36..64) {
        let select = EventSelect(0x12C0 | 1 << bit);
        for vendor in [Vendor::Intel, Vendor::Amd] {
            assert!(allow.allows_select(vendor, select), "{vendor}, bit {bit}");
            assert!(!deny.allows_select(vendor, select), "{vendor}, bit {bit}");
        }
    }
}

#[test]
fn p35_event_numbers_have_12_bits_of_amds_and_8_of_intels() {
    let extended = [FilterEntry::event(0x1C0, 0)];
    let short = [FilterEntry::event(0xC0, 0)];
    let select = EventSelect(0x1_0000_00C0);
    assert!(filter(Allow, &extended).allows_select(Vendor::Amd, select));
    assert!(!filter(Allow, &extended).allows_select(Vendor::Intel, select));
    assert!(!filter(Allow, &short).allows_select(Vendor::Amd, select));
    assert!(filter(Allow, &short).allows_select(Vendor::Intel, select));
}

#[test]
fn p35_each_fixed_counter_has_its_bit_and_no_entry() {
    let everything = (0..=u8::MAX).map(|number| FilterEntry::masked(number.into(), 0, 0));
    let everything: Vec<_> = everything.collect();
    for bitmap in [0, 0b1, 0b10, 0b101, 1 << 31, u32::MAX] {
        for entries in [&[][..], &everything] {
            let make = |action| {
                let filter = EventFilter::new(action, entries.iter().copied(), bitmap);
                filter.expect("few entries")
            };
            let (allow, deny) = (make(Allow), make(Deny));
            for counter in 0..=u8::MAX {
                let listed = counter < 32 && bitmap >> counter & 1 == 1;
                assert_eq!(
                    allow.allows_fixed(counter),
                    listed,
                    "{bitmap:#x}: {counter}"
                );
                assert_eq!(
                    deny.allows_fixed(counter),
                    !listed,
                    "{bitmap:#x}: {counter}"
                );
            }
        }
    }
}

#[test]
fn a_filter_has_at_most_as_many_entries_as_kvms() {
    let entries =
        |count| (0..count).map(|n: u16| FilterEntry::event(n / 256, (n % 256).to_le_bytes()[0]));
    let most = EventFilter::new(Allow, entries(300), 0).expect("300 are not too many");
    assert!(
        most.allows_select(Vendor::Intel, select(1, 43)),
        "the 300th"
    );
    let refused = EventFilter::new(Allow, entries(301), 0);
    assert_eq!(refused, Err(FilterError::TooManyEntries));
    let endless = core::iter::repeat(FilterEntry::event(0, 0));
    assert_eq!(
        EventFilter::new(Deny, endless, 0),
        Err(FilterError::TooManyEntries)
    );
    assert_eq!(
        FilterError::TooManyEntries.to_string(),
        "An event filter has at most 300 entries"
    );
}

#[test]
fn an_event_number_of_more_than_12_bits_is_refused() {
    assert!(EventFilter::new(Allow, [FilterEntry::event(0xFFF, 0)], 0).is_ok());
    let error = EventFilter::new(Allow, [FilterEntry::event(0x1000, 0)], 0).unwrap_err();
    assert_eq!(error, FilterError::Number { number: 0x1000 });
    assert_eq!(
        error.to_string(),
        "Event numbers have at most 12 bits (FFFH), not 1000H"
    );
}
