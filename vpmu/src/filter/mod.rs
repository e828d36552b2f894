// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Event filters: which events the host lets a guest count.
//!
//! They mean what the filters of KVM's `KVM_SET_PMU_EVENT_FILTER` mean (Linux,
//! Documentation/virt/kvm/api.rst), plain and masked entries alike:
//!
//! - An entry *matches* a select when the event numbers are the same and `umask & mask == value`.
//!   Whatever else is in the select (privilege levels, edge, counter mask, ...) is not looked at.
//! - A select is *listed* when some including entry matches it and no excluding entry does.
//! - [`FilterAction::Allow`] lets a guest count what is listed and nothing else,
//!   [`FilterAction::Deny`] everything but that.
//! - Fixed-function counters are not looked up in the entries: each has a bit of its own that says
//!   whether it is listed.
//!
//! What becomes of a counter that the filter refuses is P35 of [`registers`](crate::registers).

pub mod text;

use alloc::vec::Vec;

use crate::{EventSelect, Vendor};

/// What a filter does with the events that it lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FilterAction {
    /// The guest may count these, and nothing else.
    Allow,
    /// The guest may count everything but these.
    Deny,
}

/// Some unit masks of one event, put on the list of an [`EventFilter`] or taken off it.
///
/// ```
/// use vpmu::FilterEntry;
///
/// // All of event D0H but its unit masks 80H to 8FH: two entries.
/// let loads_and_stores = FilterEntry::masked(0xD0, 0x00, 0x00);
/// let but_these = FilterEntry::masked(0xD0, 0xF0, 0x80).excluding();
/// assert_ne!(loads_and_stores, but_these);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilterEntry {
    // First, so that the entries of an event are neighbours when sorted.
    number: u16,
    mask: u8,
    value: u8,
    exclude: bool,
}

impl FilterEntry {
    /// One event: its number, 12 bits of AMD's and 8 of Intel's, and its unit mask.
    pub const fn event(number: u16, umask: u8) -> Self {
        Self::masked(number, 0xFF, umask)
    }

    /// Every unit mask of which the bits in `mask` are as in `value`.
    ///
    /// There is none if `value` has bits that `mask` has not.
    pub const fn masked(number: u16, mask: u8, value: u8) -> Self {
        Self {
            number,
            mask,
            value,
            exclude: false,
        }
    }

    /// The entry that takes the same off the list, whatever puts it on.
    #[must_use]
    pub const fn excluding(self) -> Self {
        Self {
            exclude: true,
            ..self
        }
    }

    const fn matches(&self, umask: u8) -> bool {
        umask & self.mask == self.value
    }
}

/// Why a filter was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// There are more entries than KVM's filters may have.
    #[error("An event filter has at most {max} entries", max = EventFilter::MAX_ENTRIES)]
    TooManyEntries,
    /// No vendor's event has such a number.
    #[error("Event numbers have at most 12 bits (FFFH), not {number:X}H")]
    Number {
        /// The number.
        number: u16,
    },
}

/// Decides which events a guest may count, as the [module](self) says.
///
/// ```
/// use vpmu::{EventFilter, EventSelect, FilterAction, FilterEntry, Vendor};
///
/// // Core cycles alone, on the general-purpose counters and on fixed counter 1.
/// let cycles = FilterEntry::event(0x3C, 0x00);
/// let filter = EventFilter::new(FilterAction::Allow, [cycles], 1 << 1)?;
/// assert!(filter.allows_select(Vendor::Intel, EventSelect(0x53_003C)));
/// assert!(!filter.allows_select(Vendor::Intel, EventSelect(0x53_013C)), "reference cycles");
/// assert!(filter.allows_fixed(1) && !filter.allows_fixed(0));
/// # Ok::<(), vpmu::FilterError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFilter {
    action: FilterAction,
    /// Sorted.
    entries: Vec<FilterEntry>,
    fixed: u32,
}

impl EventFilter {
    /// How many entries a filter has at most: as many as KVM's.
    pub const MAX_ENTRIES: usize = 300;

    /// Allows or denies what `entries` list, in whatever order they are, and the fixed counters
    /// whose bits are set in `fixed_counter_bitmap`.
    ///
    /// # Errors
    /// [`FilterError`] if there are too many entries, or one for an event that cannot be. A number
    /// of more than 8 bits is none of Intel's, yet no error: it lists nothing of Intel's.
    pub fn new(
        action: FilterAction,
        entries: impl IntoIterator<Item = FilterEntry>,
        fixed_counter_bitmap: u32,
    ) -> Result<Self, FilterError> {
        let entries = entries.into_iter().take(Self::MAX_ENTRIES + 1);
        let mut entries: Vec<_> = entries.collect();
        if entries.len() > Self::MAX_ENTRIES {
            return Err(FilterError::TooManyEntries);
        }
        if let Some(entry) = entries.iter().find(|entry| entry.number > 0xFFF) {
            return Err(FilterError::Number {
                number: entry.number,
            });
        }
        entries.sort_unstable();
        Ok(Self {
            action,
            entries,
            fixed: fixed_counter_bitmap,
        })
    }

    /// Whether a general-purpose counter may count what `select` asks for.
    pub fn allows_select(&self, vendor: Vendor, select: EventSelect) -> bool {
        self.allows(self.lists(select.event_number(vendor), select.umask()))
    }

    /// Whether fixed-function counter `counter` may count.
    pub fn allows_fixed(&self, counter: u8) -> bool {
        let bit = 1_u32.checked_shl(counter.into()).unwrap_or(0);
        self.allows(self.fixed & bit != 0)
    }

    const fn allows(&self, listed: bool) -> bool {
        match self.action {
            FilterAction::Allow => listed,
            FilterAction::Deny => !listed,
        }
    }

    fn lists(&self, number: u16, umask: u8) -> bool {
        let first = self.entries.partition_point(|entry| entry.number < number);
        let mut listed = false;
        for entry in &self.entries[first..] {
            if entry.number != number {
                break;
            }
            if entry.matches(umask) {
                if entry.exclude {
                    return false;
                }
                listed = true;
            }
        }
        listed
    }
}
