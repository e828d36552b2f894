// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The guest stores what is current, passes its fence and looks at the flag; the host raises the
//! flag, passes its fence and looks at what is current.

use loom::sync::Arc;
use loom::sync::atomic::{Ordering, fence};
use loom::thread;
use perf_port::page as at;
use perf_port_guest::{Id, Leaves, Page, Registers, VcpuPort};

use crate::search::{Seen, search};

/// Two threads and four accesses: nothing to bound.
const PREEMPTIONS: usize = 4;

/// What happened to a switch.
struct Outcome {
    /// The guest announces it.
    announced: bool,
    /// The host found the new task in the page.
    found: bool,
}

static ANNOUNCED_ONLY: Seen = Seen::new();
static FOUND_ONLY: Seen = Seen::new();
static BOTH: Seen = Seen::new();

impl Outcome {
    /// One of the two sees the other, or both do.
    fn judge(&self) {
        match (self.announced, self.found) {
            (true, true) => BOTH.count(),
            (true, false) => ANNOUNCED_ONLY.count(),
            (false, true) => FOUND_ONLY.count(),
            (false, false) => panic!("both missed: the task runs and nobody knows"),
        }
    }
}

/// Registers of a host that does everything it is asked.
struct Obliging(Arc<Page>);

impl Registers for Obliging {
    fn write(&self, _offset: u16, _value: u32) {
        assert!(self.0.host_side().store64(at::RESULT, 0));
    }

    fn read(&self, _offset: u16) -> u32 {
        0
    }
}

fn guest(page: &Arc<Page>) -> bool {
    let port = VcpuPort::new(page, Obliging(Arc::clone(page)));
    let announced = port.switch_to(Id::new(1), Leaves::Queued, Id::new(2));
    announced.expect("the host obliges")
}

fn host(page: &Page) -> bool {
    let side = page.host_side();
    assert!(side.store32(at::ANNOUNCE, 1));
    fence(Ordering::SeqCst);
    side.load64(at::CURRENT) == Some(2)
}

/// Each party is in front once: Loom looks for a reason to switch in the last access to a word only.
#[test]
fn u1_a_switch_is_announced_or_found_in_the_page() {
    search("guest first", PREEMPTIONS, || {
        let page = Arc::new(Page::new());
        let other = thread::spawn({
            let page = Arc::clone(&page);
            move || host(&page)
        });
        let announced = guest(&page);
        let found = other.join().unwrap();
        Outcome { announced, found }.judge();
    });
    search("host first", PREEMPTIONS, || {
        let page = Arc::new(Page::new());
        let other = thread::spawn({
            let page = Arc::clone(&page);
            move || guest(&page)
        });
        let found = host(&page);
        let announced = other.join().unwrap();
        Outcome { announced, found }.judge();
    });
    ANNOUNCED_ONLY.assert_seen("the guest alone sees the host");
    FOUND_ONLY.assert_seen("the host alone sees the guest");
    BOTH.assert_seen("both see each other");
}
