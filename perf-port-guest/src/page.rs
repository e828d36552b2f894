// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The page that a vCPU and its host both see, and what the guest does there without an exit.

use core::fmt;
use core::ops::Range;

use perf_port::page::{ARGS, OUTS, TRAP_TAKEN, TRAP_WAITS};
use perf_port::{Command, Id};

use crate::Record;
use crate::sync::{Word32, Word64, full_fence, words};

/// The page of one vCPU: a static of the kernel, whose physical address it knows.
///
/// Everything in it is atomic, so that it can be shared; but what is done here is about the vCPU that
/// has the page, and is done there.
///
/// ```
/// use perf_port_guest::{Id, Page};
///
/// static PAGES: [Page; 4] = [const { Page::new() }; 4];
///
/// let task = Id::new(42);
/// // The switch is over if nobody asks for announcements.
/// assert!(!PAGES[1].switch(task));
/// assert_eq!(PAGES[1].current(), task);
/// assert!(!PAGES[1].trap_waits());
/// ```
#[cfg_attr(not(loom), repr(C, align(4096)))]
pub struct Page {
    pub(crate) current: Word64,
    pub(crate) return_start: Word64,
    pub(crate) return_end: Word64,
    _of_the_guest: [u64; 5],
    pub(crate) announce: Word32,
    pub(crate) trap: Word32,
    pub(crate) record: [Word64; 4],
    _of_the_host: [u64; 3],
    pub(crate) op: Word32,
    pub(crate) reserved: Word32,
    pub(crate) result: Word64,
    pub(crate) args: [Word64; ARGS],
    pub(crate) out: [Word64; OUTS],
    _at_the_end: [u64; AT_THE_END],
}

/// Words without a meaning. The stacks of a model checker's threads have no room for them.
const AT_THE_END: usize = if cfg!(loom) { 0 } else { 480 };

/// A page as it is before anybody used it.
macro_rules! empty {
    () => {
        Self {
            current: Word64::new(),
            return_start: Word64::new(),
            return_end: Word64::new(),
            _of_the_guest: [0; 5],
            announce: Word32::new(),
            trap: Word32::new(),
            record: words(),
            _of_the_host: [0; 3],
            op: Word32::new(),
            reserved: Word32::new(),
            result: Word64::new(),
            args: words(),
            out: words(),
            _at_the_end: [0; AT_THE_END],
        }
    };
}

impl Page {
    /// A page without a task, in which nothing waits.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        empty!()
    }

    /// A page without a task, in which nothing waits.
    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        empty!()
    }

    /// The vCPU switches to `next` (none: to the idle loop, a kernel thread). Returns whether the
    /// switch is to be announced (U1).
    ///
    /// [`VcpuPort::switch_to`](crate::VcpuPort::switch_to) does both.
    #[must_use = "a switch that is to be announced and is not makes counts wrong"]
    pub fn switch(&self, next: Option<Id>) -> bool {
        self.current.set(next.map_or(0, Id::get));
        // The host raises the flag, passes its fence and reads what is current. One of the two sees
        // what the other one stored.
        full_fence();
        self.announces()
    }

    /// The task that the page says is current.
    pub fn current(&self) -> Option<Id> {
        Id::new(self.current.get())
    }

    /// Whether the host asks for announcements: of every switch, migration and wake (U2).
    pub fn announces(&self) -> bool {
        self.announce.get() != 0
    }

    /// Says where the kernel's last look before IRET is (U4): the linear addresses of
    /// [`return_to_user!`](crate::return_to_user)'s two labels. An empty window is none.
    pub fn set_return_window(&self, window: Range<u64>) {
        let (start, end) = if window.is_empty() {
            (0, 0)
        } else {
            (window.start, window.end)
        };
        self.return_start.set(start);
        self.return_end.set(end);
    }

    /// Where an NMI's handler, or that of any exception that comes with interrupts off, has to return
    /// to: where it was interrupted, or the start of the window if that was inside (U4).
    ///
    /// ```
    /// let page = perf_port_guest::Page::new();
    /// page.set_return_window(0x1000..0x1010);
    /// assert_eq!(page.restart_rip(0x100f), 0x1000);
    /// assert_eq!(page.restart_rip(0x1010), 0x1010);
    /// ```
    pub fn restart_rip(&self, rip: u64) -> u64 {
        let window = self.return_start.get()..self.return_end.get();
        if window.contains(&rip) {
            window.start
        } else {
            rip
        }
    }

    /// Whether the current task has a trap that is to be taken before it returns to user mode (U4).
    pub fn trap_waits(&self) -> bool {
        self.trap.get_acquire() == TRAP_WAITS
    }

    /// The record that was handed over, until it is acknowledged: for the handler of exception 28
    /// (U5).
    pub fn record(&self) -> Option<Record> {
        (self.trap.get_acquire() == TRAP_TAKEN)
            .then(|| Record::from_words(self.record.each_ref().map(Word64::get)))
    }

    /// Puts a command where the host looks for it, and `unanswered` where it answers.
    pub(crate) fn ask(&self, command: &Command, unanswered: i64) {
        let (op, args) = command.encode();
        self.op.set(op.number());
        self.reserved.set(0);
        for (word, value) in self.args.iter().zip(&args[..op.args()]) {
            word.set(*value);
        }
        self.result.set(unanswered.cast_unsigned());
    }

    /// What the host answered.
    pub(crate) fn answer(&self) -> i64 {
        self.result.get_acquire().cast_signed()
    }

    /// What it answered besides.
    pub(crate) fn further(&self) -> [u64; OUTS] {
        self.out.each_ref().map(Word64::get)
    }
}

impl Default for Page {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("current", &self.current())
            .field("announces", &self.announces())
            .field("trap", &self.trap.get())
            .finish_non_exhaustive()
    }
}

/// The fields are where both sides expect them. (A model checker's words are larger.)
#[cfg(not(loom))]
const _: () = {
    use core::mem::{align_of, offset_of, size_of};
    use perf_port::page as at;

    const fn is_at(field: usize, offset: u64) {
        assert!(field as u64 == offset);
    }
    is_at(size_of::<Page>(), at::SIZE);
    is_at(align_of::<Page>(), at::SIZE);
    is_at(offset_of!(Page, current), at::CURRENT);
    is_at(offset_of!(Page, return_start), at::RETURN_START);
    is_at(offset_of!(Page, return_end), at::RETURN_END);
    is_at(offset_of!(Page, announce), at::ANNOUNCE);
    is_at(offset_of!(Page, trap), at::TRAP);
    is_at(offset_of!(Page, record), at::TRAP_EVENT);
    is_at(offset_of!(Page, op), at::OP);
    is_at(offset_of!(Page, reserved), at::RESERVED);
    is_at(offset_of!(Page, result), at::RESULT);
    is_at(offset_of!(Page, args), at::ARG);
    is_at(offset_of!(Page, out), at::OUT);
};

#[cfg(all(test, not(loom)))]
mod tests {
    use perf_port::page as at;

    use super::*;

    #[test]
    fn a_switch_says_what_is_current_and_whether_that_is_asked_for() {
        let page = Page::new();
        assert!(!page.switch(Id::new(7)));
        assert_eq!(page.current(), Id::new(7));
        assert!(page.host_side().store32(at::ANNOUNCE, 1));
        assert!(page.switch(None));
        assert_eq!(page.current(), None);
    }

    #[test]
    fn a_record_is_there_while_it_is_handed_over() {
        let page = Page::new();
        let host = page.host_side();
        let record = Record {
            event: 1,
            task: 2,
            addr: 3,
            data: 4,
        };
        for (word, offset) in record
            .words()
            .into_iter()
            .zip((at::TRAP_EVENT..).step_by(8))
        {
            assert!(host.store64(offset, word));
        }
        for (trap, waits, there) in [
            (at::TRAP_NONE, false, None),
            (at::TRAP_WAITS, true, None),
            (at::TRAP_TAKEN, false, Some(record)),
        ] {
            assert!(host.store32(at::TRAP, trap));
            assert_eq!((page.trap_waits(), page.record()), (waits, there));
        }
    }

    #[test]
    fn nothing_is_put_back_without_a_window() {
        let page = Page::new();
        for rip in [0, 1, u64::MAX] {
            assert_eq!(page.restart_rip(rip), rip);
        }
        page.set_return_window(5..5);
        assert_eq!(page.host_side().load64(at::RETURN_START), Some(0));
        assert_eq!(page.host_side().load64(at::RETURN_END), Some(0));
    }

    #[test]
    fn what_lies_in_the_window_starts_over() {
        let page = Page::new();
        page.set_return_window(0x10..0x20);
        for rip in 0..0x30 {
            let inside = (0x10..0x20).contains(&rip);
            assert_eq!(page.restart_rip(rip), if inside { 0x10 } else { rip });
        }
        page.set_return_window(0..0);
        assert_eq!(page.restart_rip(0x18), 0x18);
    }
}
