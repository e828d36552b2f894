// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The host's own counters, as far as they can be shown without any: on page faults, which Linux
//! counts itself. Hardware is not touched here.

mod pages;
mod plumbing;
mod signal;

use vpmu::source::host::HostSource;
use vpmu::{CounterSource, Event, EventConfig, Wake};

use self::pages::Pages;
use self::signal::Pending;
use crate::contract::Rig;

/// A guest that touches fresh pages, on this thread.
pub(crate) struct Host {
    source: HostSource,
    pages: Pages,
    kicks: Pending,
}

impl Host {
    /// In the guest: touches as many fresh pages as `goes_on` says.
    fn touch(&mut self, mut goes_on: impl FnMut(&Pending) -> bool) {
        self.source.enter_guest();
        while goes_on(&self.kicks) {
            self.pages.touch();
        }
        self.source.exit_guest();
    }
}

impl Rig for Host {
    type Source = HostSource;

    // A page is touched by user code: the kernel's own faults are not this guest's.
    const COUNTED: EventConfig = EventConfig {
        os: false,
        ..EventConfig::everywhere(HostSource::PAGE_FAULTS)
    };
    const REFUSED: EventConfig = EventConfig::everywhere(Event::Instructions);

    fn new() -> Result<Self, String> {
        let kicks = Pending::block();
        let source = HostSource::software(kicks.signal()).map_err(|error| error.to_string())?;
        Ok(Self {
            source,
            pages: Pages::new(),
            kicks,
        })
    }

    fn source(&mut self) -> &mut HostSource {
        &mut self.source
    }

    fn advance(&mut self, counts: u64) {
        let mut left = counts;
        self.touch(|_| {
            let more = left > 0;
            left = left.saturating_sub(1);
            more
        });
        // What overflowed on the way called nobody back.
        self.kicks.take();
    }

    fn run(&mut self, wake: Wake) {
        assert_eq!(wake, Wake::BySource);
        let mut left = pages::MANY;
        self.touch(|kicks| {
            left -= 1;
            assert!(left > 0, "nobody is called back");
            kicks.take() == 0
        });
    }

    fn outside(&mut self) {
        for _ in 0..10 {
            self.pages.touch();
        }
    }
}

contract!(Host);
