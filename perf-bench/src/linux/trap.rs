// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! From an overflow to the handler of SIGTRAP and back.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use libc::{c_int, c_void, siginfo_t};
use perf_event_open_sys::bindings::{
    HW_BREAKPOINT_LEN_8, HW_BREAKPOINT_W, PERF_COUNT_SW_PAGE_FAULTS, PERF_TYPE_BREAKPOINT,
    PERF_TYPE_SOFTWARE, perf_event_attr,
};
use vmm_sys_util::signal::register_signal_handler;

use super::{Error, Event, Target, attributes, refused};

/// What the breakpoint is on.
static WATCHED: AtomicU64 = AtomicU64::new(0);

/// How often the handler ran.
static TRAPS: AtomicU64 = AtomicU64::new(0);

const PAGE: usize = 4096;

extern "C" fn on_trap(_: c_int, _: *mut siginfo_t, _: *mut c_void) {
    TRAPS.fetch_add(1, Ordering::Relaxed);
}

/// What makes the event overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A store to a watched variable.
    Breakpoint,
    /// The first touch of a page. The page fault itself is in the time.
    PageFault,
}

impl Trigger {
    /// What Linux does in the measured time.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Breakpoint => "Linux: a watched store, SIGTRAP's handler and back",
            Self::PageFault => "Linux: a page fault, SIGTRAP's handler and back",
        }
    }
}

/// An event of the calling thread that traps at every overflow. One at a time in a process: the
/// signal handler is the process's.
#[derive(Debug)]
pub struct Trap {
    trigger: Trigger,
    /// Held for the traps it sends.
    _event: Event,
    pages: Option<Pages>,
}

impl Trap {
    /// Installs the handler and opens the event: a breakpoint's, or page faults if this machine
    /// lends no breakpoints. `batch` is how many overflows [`run`](Self::run) is asked for at most.
    ///
    /// # Errors
    /// When the kernel refuses both; the error is the second one's.
    pub fn new(batch: u32) -> Result<Self, Error> {
        Self::with(Trigger::Breakpoint, batch).or_else(|_| Self::with(Trigger::PageFault, batch))
    }

    fn with(trigger: Trigger, batch: u32) -> Result<Self, Error> {
        register_signal_handler(libc::SIGTRAP, on_trap).map_err(|error| Error::Refused {
            call: "sigaction",
            source: error.into(),
        })?;
        let (pages, attributes) = match trigger {
            Trigger::Breakpoint => (None, breakpoint()),
            Trigger::PageFault => (Some(Pages::new(batch)?), page_faults()),
        };
        Ok(Self {
            trigger,
            _event: Event::open(attributes, Target::Own)?,
            pages,
        })
    }

    /// What makes it overflow.
    #[must_use]
    pub fn trigger(&self) -> Trigger {
        self.trigger
    }

    /// Makes it overflow so many times; how long that took until the last handler had returned.
    ///
    /// # Errors
    /// [`Error::Traps`] if there was less than one trap for each, or the kernel does not take the
    /// pages back. There can be more: the thread may take a page fault that it was not asked for.
    pub fn run(&mut self, overflows: u32) -> Result<Duration, Error> {
        if let Some(pages) = &self.pages {
            pages.give_back()?;
        }
        let before = TRAPS.load(Ordering::Relaxed);
        let started = Instant::now();
        match &self.pages {
            None => {
                for at in 0..overflows {
                    WATCHED.store(at.into(), Ordering::Relaxed);
                }
            }
            Some(pages) => pages.touch(overflows),
        }
        let took = started.elapsed();
        let traps = TRAPS.load(Ordering::Relaxed).wrapping_sub(before);
        if traps < u64::from(overflows) {
            return Err(Error::Traps { traps, overflows });
        }
        Ok(took)
    }
}

fn breakpoint() -> perf_event_attr {
    let mut attributes = attributes(PERF_TYPE_BREAKPOINT, 0);
    attributes.bp_type = HW_BREAKPOINT_W;
    attributes.__bindgen_anon_3.bp_addr = ptr::from_ref(&WATCHED).expose_provenance() as u64;
    attributes.__bindgen_anon_4.bp_len = HW_BREAKPOINT_LEN_8.into();
    trapping(attributes)
}

fn page_faults() -> perf_event_attr {
    trapping(attributes(PERF_TYPE_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS))
}

fn trapping(mut attributes: perf_event_attr) -> perf_event_attr {
    attributes.__bindgen_anon_1.sample_period = 1;
    attributes.set_sigtrap(1);
    // Linux asks for this of everything that traps.
    attributes.set_remove_on_exec(1);
    attributes
}

/// Pages that are not there until they are touched.
#[derive(Debug)]
struct Pages {
    start: *mut c_void,
    length: usize,
}

impl Pages {
    fn new(pages: u32) -> Result<Self, Error> {
        let length = pages as usize * PAGE;
        // SAFETY: an anonymous private mapping wherever the kernel likes.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(refused("mmap"));
        }
        let pages = Self { start, length };
        // One fault must be one page's.
        // SAFETY: the range is the mapping's.
        match unsafe { libc::madvise(start, length, libc::MADV_NOHUGEPAGE) } {
            0 => Ok(pages),
            // A kernel without huge pages does not know the advice.
            _ if io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) => Ok(pages),
            _ => Err(refused("madvise")),
        }
    }

    /// Lets the kernel take them away again.
    fn give_back(&self) -> Result<(), Error> {
        // SAFETY: the range is the mapping's, and nobody keeps anything in it.
        match unsafe { libc::madvise(self.start, self.length, libc::MADV_DONTNEED) } {
            0 => Ok(()),
            _ => Err(refused("madvise")),
        }
    }

    /// Writes to the first `count` of them; no more than there are.
    fn touch(&self, count: u32) {
        for page in (0..self.length).step_by(PAGE).take(count as usize) {
            // SAFETY: the byte is within the mapping; a static reference to it is only ever this.
            let byte = unsafe { AtomicU8::from_ptr(self.start.cast::<u8>().add(page)) };
            byte.store(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the range is the mapping's, and nothing refers to it any more.
        unsafe { libc::munmap(self.start, self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test for both, since they share the handler.
    #[test]
    fn every_overflow_traps() {
        for trigger in [Trigger::Breakpoint, Trigger::PageFault] {
            match Trap::with(trigger, 16) {
                // `run` compares the numbers.
                Ok(mut trap) => {
                    trap.run(16).unwrap();
                    trap.run(3).unwrap();
                    assert_eq!(trap.trigger(), trigger);
                }
                Err(error) => eprintln!("{trigger:?} not available: {error}"),
            }
        }
        // Without an event there is no trap, and that does not go unnoticed.
        let before = TRAPS.load(Ordering::Relaxed);
        WATCHED.store(1, Ordering::Relaxed);
        assert_eq!(TRAPS.load(Ordering::Relaxed), before);
    }
}
