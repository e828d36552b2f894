// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Any event filter, asked and obeyed: as entries, as text and by the registers.

use std::sync::Arc;

use arbitrary::{Arbitrary, Result, Unstructured};
use vpmu::{EventFilter, EventSelect, FilterAction, FilterEntry, Vendor};

use crate::guest;
use crate::input::Shape;
use crate::msr_traffic::traffic;

/// An entry, in parts.
#[derive(Clone, Copy, Debug, Arbitrary)]
struct Entry {
    number: u16,
    mask: u8,
    value: u8,
    exclude: bool,
}

impl Entry {
    /// Few events, so that entries meet.
    fn take(bytes: &mut Unstructured<'_>) -> Result<Self> {
        let mut entry = Self::arbitrary(bytes)?;
        entry.number = match entry.number >> 12 {
            0..8 => [0x3C, 0xC0, 0x76, 0x1C0][usize::from(entry.number & 3)],
            8..15 => entry.number & 0xFFF,
            _ => entry.number,
        };
        Ok(entry)
    }

    const fn made(self) -> FilterEntry {
        let entry = FilterEntry::masked(self.number, self.mask, self.value);
        if self.exclude {
            entry.excluding()
        } else {
            entry
        }
    }

    /// As a statement, unless nothing can match it: that is refused there.
    fn statement(self) -> Option<String> {
        let word = if self.exclude { "except" } else { "event" };
        let Self {
            number,
            mask,
            value,
            ..
        } = self;
        (value & !mask == 0).then(|| format!("{word} {number:#X} umask {value}/{mask:#x}\n"))
    }
}

/// Takes the bytes for a text; then takes a filter from them, asks it for selects and lets a guest
/// live with it.
pub fn run(bytes: &[u8]) {
    if let Ok(text) = str::from_utf8(bytes) {
        // It may mean anything or nothing.
        let _ = text.parse::<EventFilter>();
    }
    let _ = filtered(&mut Unstructured::new(bytes));
}

fn filtered(bytes: &mut Unstructured<'_>) -> Result<()> {
    let shape = Shape::choose(bytes)?;
    let action = if bool::arbitrary(bytes)? {
        FilterAction::Allow
    } else {
        FilterAction::Deny
    };
    let fixed = u32::arbitrary(bytes)?;
    let count = match u8::arbitrary(bytes)? {
        // About as many as there may be.
        255 => 290 + usize::from(u8::arbitrary(bytes)? & 15),
        few => usize::from(few & 15),
    };
    let entries = (0..count).map(|_| Entry::take(bytes));
    let entries: Vec<_> = entries.collect::<Result<_>>()?;

    let made = EventFilter::new(action, entries.iter().map(|entry| entry.made()), fixed);
    let valid =
        count <= EventFilter::MAX_ENTRIES && entries.iter().all(|entry| entry.number < 1 << 12);
    assert_eq!(made.is_ok(), valid, "what is refused");
    let Ok(filter) = made else {
        return Ok(());
    };
    check_text(&filter, action, &entries, fixed);
    for _ in 0..usize::from(u8::arbitrary(bytes)? & 15) {
        check_select(&filter, action, &entries, select(bytes)?);
    }
    for counter in 0..=u8::MAX {
        let listed = u64::from(fixed).checked_shr(counter.into()).unwrap_or(0) & 1 == 1;
        let allows = listed == (action == FilterAction::Allow);
        assert_eq!(
            filter.allows_fixed(counter),
            allows,
            "fixed-function counter {counter}"
        );
    }

    traffic(
        bytes,
        shape,
        guest::new(shape.model),
        Some(Arc::new(filter)),
    );
    Ok(())
}

fn select(bytes: &mut Unstructured<'_>) -> Result<u64> {
    let select = u64::arbitrary(bytes)?;
    Ok(if select >> 63 == 0 {
        select & !0xFF | [0x3C, 0xC0, 0x76, 0xC0][(select & 3) as usize]
    } else {
        select
    })
}

/// By the documented steps: is an including entry there, and no excluding one?
fn check_select(filter: &EventFilter, action: FilterAction, entries: &[Entry], select: u64) {
    for vendor in [Vendor::Intel, Vendor::Amd] {
        let number = match vendor {
            Vendor::Intel => select & 0xFF,
            Vendor::Amd => select & 0xFF | select >> 24 & 0xF00,
        };
        let matching = |exclude| {
            entries.iter().any(|entry| {
                entry.exclude == exclude
                    && u64::from(entry.number) == number
                    && select >> 8 & u64::from(entry.mask) == u64::from(entry.value)
            })
        };
        let listed = matching(false) && !matching(true);
        let allows = listed == (action == FilterAction::Allow);
        let told = filter.allows_select(vendor, EventSelect(select));
        assert_eq!(told, allows, "{vendor}: {select:#x}");
    }
}

/// A text that says the same makes the same filter.
fn check_text(filter: &EventFilter, action: FilterAction, entries: &[Entry], fixed: u32) {
    let mut text = match action {
        FilterAction::Allow => "allow\n",
        FilterAction::Deny => "deny\n",
    }
    .to_owned();
    for entry in entries {
        let Some(statement) = entry.statement() else {
            return;
        };
        text += &statement;
    }
    for counter in (0..32).filter(|counter| fixed >> counter & 1 == 1) {
        text += &format!("fixed {counter}\n");
    }
    assert_eq!(text.parse().as_ref(), Ok(filter), "{text}");
}
