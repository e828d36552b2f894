// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The store-fence-load pairs, without a bound: which outcomes there are, all of them.
//!
//! C-peterz is the litmus test of the Linux commit "perf/core: Fix sys_perf_event_open() vs.
//! hotplug", in its own notation: P0 installs the first event, P1 moves the task away, P2 switches
//! to it. It runs over the engine's own words first, then over plain atomics of the same shape,
//! which can be weakened: each of its orderings is needed, but for one.
//!
//! Loom compares an access with the last one to the same word only, so that a thread's own load
//! hides an earlier one of another thread from its read-modify-write: with P0 in front, it never
//! lets P1's migration overtake P0's look. Each thread is in front once therefore, and what counts
//! is all that was seen. That nothing forbidden is among it means something, because the weakened
//! twins of the same shape show it in the same searches.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use loom::sync::Arc as Shared;
use loom::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use loom::sync::atomic::{AtomicU32, fence};
use loom::thread;
use vcpu_call::VcpuId;
use vpmu::context::order::{Place, Publication, Seen, TaskWord, full_fence};

use crate::search::search;

/// All outcomes of a test, as the seed writes them.
#[derive(Clone, Default)]
struct States(Arc<Mutex<BTreeSet<String>>>);

impl States {
    fn saw(&self, state: String) {
        self.0.lock().unwrap().insert(state);
    }

    /// Prints the set and holds it against the expected one.
    fn assert_are(&self, name: &str, expected: &[&str]) {
        let states = self.0.lock().unwrap();
        println!("{name}: States {}", states.len());
        for state in &*states {
            println!("{name}: {state}");
        }
        let states: Vec<_> = states.iter().map(String::as_str).collect();
        assert_eq!(states, expected);
    }
}

const FORBIDDEN: &str = "0:r1=0; 2:r1=1; 2:r2=0;";

/// The seed's seven.
const SEVEN: [&str; 7] = [
    "0:r1=0; 2:r1=0; 2:r2=0;",
    "0:r1=0; 2:r1=0; 2:r2=1;",
    "0:r1=0; 2:r1=1; 2:r2=1;",
    "0:r1=1; 2:r1=0; 2:r2=0;",
    "0:r1=1; 2:r1=0; 2:r2=1;",
    "0:r1=1; 2:r1=1; 2:r2=0;",
    "0:r1=1; 2:r1=1; 2:r2=1;",
];

fn peterz(installer: bool, switch: (bool, bool)) -> String {
    let (placed, published) = switch;
    let [r1, p2_r1, p2_r2] = [installer, placed, published].map(u8::from);
    format!("0:r1={r1}; 2:r1={p2_r1}; 2:r2={p2_r2};")
}

fn eight() -> Vec<&'static str> {
    let mut eight = SEVEN.to_vec();
    eight.push(FORBIDDEN);
    eight.sort_unstable();
    eight
}

const VCPU: VcpuId = VcpuId(2);

/// Runs P0 to P2 over `shared` and notes what they saw.
///
/// Three times, each with another thread in front: see the module on why.
fn run<T: Send + Sync + 'static>(
    name: &str,
    expected: &[&str],
    shared: fn() -> T,
    p0: fn(&T) -> bool,
    p1: fn(&T),
    p2: fn(&T) -> (bool, bool),
) {
    let play = move |role, shared: &T| match role {
        0 => (p0(shared), false),
        1 => {
            p1(shared);
            (false, false)
        }
        _ => p2(shared),
    };
    let states = States::default();
    for first in 0..3 {
        let seen = states.clone();
        search(&format!("{name}, P{first} first"), None, move || {
            let shared = Shared::new(shared());
            let others = [1, 2].map(|nth| {
                let shared = Shared::clone(&shared);
                thread::spawn(move || play((first + nth) % 3, &shared))
            });
            let mut saw = [(false, false); 3];
            saw[first] = play(first, &shared);
            for (nth, other) in (1..).zip(others) {
                saw[(first + nth) % 3] = other.join().unwrap();
            }
            seen.saw(peterz(saw[0].0, saw[2]));
        });
    }
    states.assert_are(name, expected);
}

#[test]
fn c_peterz_over_the_engines_words() {
    struct Words {
        /// Whether the task has a context.
        x: Publication,
        /// The task's vCPU.
        y: TaskWord,
        /// The task's place in the queue of vCPU 2.
        z: TaskWord,
    }
    run(
        "c_peterz_over_the_engines_words",
        &SEVEN,
        || {
            // Blocked, so that nobody claims it before P1 queued it.
            let z = TaskWord::new(VcpuId(0));
            z.claim(VcpuId(0)).unwrap();
            z.leave(Place::Blocked(VcpuId(0)));
            Words {
                x: Publication::new(),
                y: TaskWord::new(VcpuId(0)),
                z,
            }
        },
        |Words { x, y, .. }| {
            x.publish();
            full_fence();
            y.place().vcpu() == VCPU
        },
        |Words { y, z, .. }| {
            y.migrate(VCPU).unwrap();
            z.wake(VCPU).unwrap();
        },
        // The fence is the claim's own.
        |Words { x, z, .. }| (z.claim(VCPU).is_ok(), x.seen() == Seen::Context),
    );
}

#[test]
fn c_peterz_with_one_word_for_vcpu_and_queue() {
    run(
        "c_peterz_with_one_word_for_vcpu_and_queue",
        &SEVEN,
        || {
            let word = TaskWord::new(VcpuId(0));
            word.claim(VcpuId(0)).unwrap();
            (Publication::new(), word)
        },
        |(published, word)| {
            published.publish();
            full_fence();
            word.place().vcpu() == VCPU
        },
        |(_, word)| word.leave(Place::Queued(VCPU)),
        |(published, word)| {
            let claimed = word.claim(VCPU).is_ok();
            (claimed, published.seen() == Seen::Context)
        },
    );
}

/// C-peterz over plain atomics.
#[derive(Default)]
struct Plain {
    x: AtomicU32,
    y: AtomicU32,
    z: AtomicU32,
}

impl Plain {
    fn p0(&self) -> bool {
        self.x.store(1, Relaxed);
        fence(SeqCst);
        self.y.load(Relaxed) == 1
    }

    fn p1(&self) {
        self.y.store(1, Relaxed);
        self.z.store(1, Release);
    }

    fn p2(&self) -> (bool, bool) {
        let placed = self.z.load(Acquire) == 1;
        fence(SeqCst);
        (placed, self.x.load(Relaxed) == 1)
    }
}

#[test]
fn c_peterz_over_plain_atomics() {
    run(
        "c_peterz_over_plain_atomics",
        &SEVEN,
        Plain::default,
        Plain::p0,
        Plain::p1,
        Plain::p2,
    );
}

#[test]
fn c_peterz_needs_the_installers_fence() {
    run(
        "c_peterz_needs_the_installers_fence",
        &eight(),
        Plain::default,
        |Plain { x, y, .. }| {
            x.store(1, Relaxed);
            y.load(Relaxed) == 1
        },
        Plain::p1,
        Plain::p2,
    );
}

#[test]
fn c_peterz_needs_more_than_acquire_and_release_of_the_installer() {
    run(
        "c_peterz_needs_more_than_acquire_and_release_of_the_installer",
        &eight(),
        Plain::default,
        |Plain { x, y, .. }| {
            x.store(1, Relaxed);
            fence(AcqRel);
            y.load(Relaxed) == 1
        },
        Plain::p1,
        Plain::p2,
    );
}

#[test]
fn c_peterz_needs_the_switchs_fence() {
    run(
        "c_peterz_needs_the_switchs_fence",
        &eight(),
        Plain::default,
        Plain::p0,
        Plain::p1,
        |Plain { x, z, .. }| (z.load(Acquire) == 1, x.load(Relaxed) == 1),
    );
}

#[test]
fn c_peterz_needs_the_queues_release() {
    run(
        "c_peterz_needs_the_queues_release",
        &eight(),
        Plain::default,
        Plain::p0,
        |Plain { y, z, .. }| {
            y.store(1, Relaxed);
            z.store(1, Relaxed);
        },
        Plain::p2,
    );
}

#[test]
fn c_peterz_does_not_need_the_queues_acquire_beside_the_fence() {
    run(
        "c_peterz_does_not_need_the_queues_acquire_beside_the_fence",
        &SEVEN,
        Plain::default,
        Plain::p0,
        Plain::p1,
        |Plain { x, z, .. }| {
            let placed = z.load(Relaxed) == 1;
            fence(SeqCst);
            (placed, x.load(Relaxed) == 1)
        },
    );
}
