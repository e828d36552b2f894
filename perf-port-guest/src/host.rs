// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A page from its other side.

use perf_port::page as at;

use crate::Page;
use crate::sync::{Word32, Word64};

/// A page as its host sees it, by offsets: for tests of kernels, and of hosts, in one program.
///
/// A host stores with release and loads with acquire, and passes its fences itself.
///
/// ```
/// use perf_port_guest::{Id, Page};
///
/// let page = Page::new();
/// let host = page.host_side();
/// assert!(host.store32(0x040, 1), "ANNOUNCE");
/// assert!(page.switch(Id::new(3)), "is to be announced");
/// assert_eq!(host.load64(0x000), Some(3), "CURRENT");
/// assert_eq!(host.load64(0x800), None, "there is nothing");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct HostSide<'p>(&'p Page);

impl Page {
    /// The page as its host sees it.
    pub const fn host_side(&self) -> HostSide<'_> {
        HostSide(self)
    }
}

impl<'p> HostSide<'p> {
    /// The field of 32 bits at `offset`; none if there is none of that size.
    pub fn load32(&self, offset: u64) -> Option<u32> {
        self.word32(offset).map(Word32::get_acquire)
    }

    /// Stores to the field of 32 bits at `offset`; false if there is none of that size.
    pub fn store32(&self, offset: u64, value: u32) -> bool {
        self.word32(offset)
            .map(|word| word.set_release(value))
            .is_some()
    }

    /// The field of 64 bits at `offset`; none if there is none of that size.
    pub fn load64(&self, offset: u64) -> Option<u64> {
        self.word64(offset).map(Word64::get_acquire)
    }

    /// Stores to the field of 64 bits at `offset`; false if there is none of that size.
    pub fn store64(&self, offset: u64, value: u64) -> bool {
        self.word64(offset)
            .map(|word| word.set_release(value))
            .is_some()
    }

    fn word32(&self, offset: u64) -> Option<&'p Word32> {
        let Self(page) = *self;
        match offset {
            at::ANNOUNCE => Some(&page.announce),
            at::TRAP => Some(&page.trap),
            at::OP => Some(&page.op),
            at::RESERVED => Some(&page.reserved),
            _ => None,
        }
    }

    fn word64(&self, offset: u64) -> Option<&'p Word64> {
        let Self(page) = *self;
        match offset {
            at::CURRENT => Some(&page.current),
            at::RETURN_START => Some(&page.return_start),
            at::RETURN_END => Some(&page.return_end),
            at::RESULT => Some(&page.result),
            _ => nth(&page.record, at::TRAP_EVENT, offset)
                .or_else(|| nth(&page.args, at::ARG, offset))
                .or_else(|| nth(&page.out, at::OUT, offset)),
        }
    }
}

/// The one at `offset` of words that begin at `first`.
fn nth(words: &[Word64], first: u64, offset: u64) -> Option<&Word64> {
    let within = usize::try_from(offset.checked_sub(first)?).ok()?;
    let aligned = within.is_multiple_of(size_of::<u64>());
    words.get(within / size_of::<u64>()).filter(|_| aligned)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_there_once_and_nothing_else() {
        let page = Page::new();
        let host = page.host_side();
        let of_32: Vec<_> = (0..4096).filter(|at| host.load32(*at).is_some()).collect();
        assert_eq!(of_32, [0x40, 0x44, 0x80, 0x84]);
        let of_64: Vec<_> = (0..4096).filter(|at| host.load64(*at).is_some()).collect();
        let record = (0x48..0x68).step_by(8);
        let block = (0x88..0x100).step_by(8);
        let expected: Vec<_> = [0, 8, 0x10]
            .into_iter()
            .chain(record)
            .chain(block)
            .collect();
        assert_eq!(of_64, expected);
        for (value, offset) in (1..).zip(expected.iter().copied()) {
            assert!(host.store64(offset, value));
        }
        for (value, offset) in (1..).zip(of_32.iter().copied()) {
            assert!(host.store32(offset, value));
        }
        for (value, offset) in (1..).zip(expected) {
            assert_eq!(host.load64(offset), Some(value));
        }
        for (value, offset) in (1..).zip(of_32) {
            assert_eq!(host.load32(offset), Some(value));
        }
    }

    #[test]
    fn nothing_can_be_stored_where_nothing_is() {
        let page = Page::new();
        let host = page.host_side();
        assert!(!host.store32(0x48, 1) && !host.store64(0x40, 1) && !host.store64(0x100, 1));
    }
}
