// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! R24: a guest that cannot be made to wait, in both shapes (A1-A3), without a bound.
//!
//! P0 is the guest, P1 the host; each stores, passes its fence and looks at what the other stored.
//! That both miss each other must not happen, and does in the twin of plain atomics as soon as one
//! of the fences is gone.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use loom::sync::Arc as Shared;
use loom::sync::atomic::Ordering::{Relaxed, SeqCst};
use loom::sync::atomic::{AtomicU32, fence};
use loom::thread;
use vcpu_call::VcpuId;
use vpmu::context::announce::{Announcements, Flag};

use crate::search::search;

/// One of the two sees the other, or both do.
const THREE: [&str; 3] = ["0:r1=0; 1:r1=1;", "0:r1=1; 1:r1=0;", "0:r1=1; 1:r1=1;"];

/// The forbidden one among them.
const FOUR: [&str; 4] = [
    "0:r1=0; 1:r1=0;",
    "0:r1=0; 1:r1=1;",
    "0:r1=1; 1:r1=0;",
    "0:r1=1; 1:r1=1;",
];

/// Runs both sides, each in front once, and holds what they saw against `expected`.
fn run<T: Send + Sync + 'static>(
    name: &str,
    expected: &[&str],
    shared: fn() -> T,
    guest: fn(&T) -> bool,
    host: fn(&T) -> bool,
) {
    let states: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    for guest_first in [true, false] {
        let seen = Arc::clone(&states);
        let front = if guest_first { "guest" } else { "host" };
        search(&format!("{name}, {front} first"), None, move || {
            let shared = Shared::new(shared());
            let (main, other) = if guest_first {
                (guest, host)
            } else {
                (host, guest)
            };
            let other = {
                let shared = Shared::clone(&shared);
                thread::spawn(move || other(&shared))
            };
            let main = main(&shared);
            let other = other.join().unwrap();
            let (guest, host) = if guest_first {
                (main, other)
            } else {
                (other, main)
            };
            let [guest, host] = [guest, host].map(u8::from);
            let state = format!("0:r1={guest}; 1:r1={host};");
            seen.lock().unwrap().insert(state);
        });
    }
    let states = states.lock().unwrap();
    println!("{name}: States {}", states.len());
    for state in &*states {
        println!("{name}: {state}");
    }
    let states: Vec<_> = states.iter().map(String::as_str).collect();
    assert_eq!(states, expected);
}

const VCPU: VcpuId = VcpuId(0);

#[test]
fn a_switch_is_announced_or_found_in_the_page() {
    run(
        "a_switch_is_announced_or_found_in_the_page",
        &THREE,
        || Announcements::new(1),
        |vm| vm.guest_switches(VCPU, 42).unwrap(),
        |vm| vm.turn_on(|_| ()) == [42],
    );
}

#[test]
fn a_trap_is_taken_or_the_vcpu_kicked() {
    run(
        "a_trap_is_taken_or_the_vcpu_kicked",
        &THREE,
        || (Flag::new(), Flag::new()),
        |(trap_waits, in_user_mode)| in_user_mode.raise_and_look(trap_waits),
        |(trap_waits, in_user_mode)| trap_waits.raise_and_look(in_user_mode),
    );
}

/// What both shapes are in terms of plain atomics: the guest's word and the host's.
#[derive(Default)]
struct Plain {
    guest: AtomicU32,
    host: AtomicU32,
}

fn guest(plain: &Plain) -> bool {
    plain.guest.store(1, Relaxed);
    fence(SeqCst);
    plain.host.load(Relaxed) == 1
}

fn host(plain: &Plain) -> bool {
    plain.host.store(1, Relaxed);
    fence(SeqCst);
    plain.guest.load(Relaxed) == 1
}

#[test]
fn the_pair_over_plain_atomics() {
    run(
        "the_pair_over_plain_atomics",
        &THREE,
        Plain::default,
        guest,
        host,
    );
}

#[test]
fn the_pair_needs_the_guests_fence() {
    run(
        "the_pair_needs_the_guests_fence",
        &FOUR,
        Plain::default,
        |plain| {
            plain.guest.store(1, Relaxed);
            plain.host.load(Relaxed) == 1
        },
        host,
    );
}

#[test]
fn the_pair_needs_the_hosts_fence() {
    run(
        "the_pair_needs_the_hosts_fence",
        &FOUR,
        Plain::default,
        guest,
        |plain| {
            plain.host.store(1, Relaxed);
            plain.guest.load(Relaxed) == 1
        },
    );
}
