// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! vCPUs come and go, while others want something else of them.

use loom::thread;
use vcpu_life::{Goal, Plug, Refused, VcpuState};

use crate::machine::{LIMIT, Vm};
use crate::search::{Seen, search};

#[test]
fn c2_an_unplug_ends_offline_and_a_plug_brings_it_back() {
    search(
        "c2_an_unplug_ends_offline_and_a_plug_brings_it_back",
        3,
        || {
            let vm = Vm::new(1);
            let thread = vm.create(0);
            assert_eq!(vm.cpus.unplug(0), Ok(()));
            vm.wait_for(0, VcpuState::Offline);
            assert_eq!(vm.cpus.plug(0), Ok(Plug::Wake));
            assert_eq!(vm.cpus.wait_plugged(0, LIMIT), Ok(VcpuState::Running));
            vm.stop([thread]);
        },
    );
}

/// Whoever is refused because it is leaving waits for that and asks again.
#[test]
fn a_plug_against_an_unplug_is_refused_or_brings_it_back() {
    static LEAVING: Seen = Seen::new();
    static WOKEN: Seen = Seen::new();
    search(
        "a_plug_against_an_unplug_is_refused_or_brings_it_back",
        3,
        || {
            let vm = Vm::new(1);
            let thread = vm.create(0);
            let other = {
                let vm = vm.clone();
                thread::spawn(move || vm.cpus.unplug(0))
            };
            let plugged = vm.cpus.plug(0);
            assert_eq!(other.join().unwrap(), Ok(()));
            match plugged {
                Ok(Plug::Wake) => {
                    vm.wait_for(0, VcpuState::Running);
                    WOKEN.count();
                }
                Ok(Plug::Create) => panic!("it has a thread"),
                Err(why) => {
                    vm.wait_for(0, VcpuState::Offline);
                    if why == Refused::Leaving {
                        LEAVING.count();
                    }
                }
            }
            vm.stop([thread]);
        },
    );
    LEAVING.assert_seen("a vCPU that was leaving");
    WOKEN.assert_seen("a vCPU that was back");
}

#[test]
fn of_two_unplugs_one_is_honoured() {
    search("of_two_unplugs_one_is_honoured", 2, || {
        let vm = Vm::new(1);
        let thread = vm.create(0);
        let other = {
            let vm = vm.clone();
            thread::spawn(move || vm.cpus.unplug(0))
        };
        let answers = [vm.cpus.unplug(0), other.join().unwrap()];
        let honoured = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(honoured, 1, "{answers:?}");
        vm.wait_for(0, VcpuState::Offline);
        vm.stop([thread]);
    });
}

#[test]
fn of_two_plugs_one_is_taken() {
    search("of_two_plugs_one_is_taken", 2, || {
        let vm = Vm::new(1);
        let thread = vm.create(0);
        vm.cpus.unplug(0).unwrap();
        vm.wait_for(0, VcpuState::Offline);
        let other = {
            let vm = vm.clone();
            thread::spawn(move || vm.cpus.plug(0))
        };
        let mut answers = [vm.cpus.plug(0), other.join().unwrap()];
        answers.sort_by_key(Result::is_err);
        assert_eq!(answers, [Ok(Plug::Wake), Err(Refused::Present)]);
        vm.wait_for(0, VcpuState::Running);
        vm.stop([thread]);
    });
}

#[test]
fn c4_a_stop_against_an_unplug_ends_it() {
    search("c4_a_stop_against_an_unplug_ends_it", 3, || {
        let vm = Vm::new(1);
        let thread = vm.create(0);
        let other = {
            let vm = vm.clone();
            thread::spawn(move || match vm.cpus.unplug(0) {
                Ok(()) | Err(Refused::Ended) => {}
                Err(why) => panic!("{why:?}"),
            })
        };
        vm.stop([thread]);
        other.join().unwrap();
        assert_eq!(vm.cpus.state(0), VcpuState::Finished);
    });
}

/// A stop comes while a vCPU is being made: its thread leaves, or none is made.
#[test]
fn c4_a_stop_against_a_first_plug_leaves_nobody_behind() {
    static MADE: Seen = Seen::new();
    static ENDED: Seen = Seen::new();
    search(
        "c4_a_stop_against_a_first_plug_leaves_nobody_behind",
        3,
        || {
            let vm = Vm::new(1);
            let other = {
                let vm = vm.clone();
                thread::spawn(move || match vm.cpus.plug(0) {
                    Ok(Plug::Create) => Some(vm.spawn(0)),
                    Ok(Plug::Wake) => panic!("it was never there"),
                    Err(why) => {
                        assert_eq!(why, Refused::Ended);
                        None
                    }
                })
            };
            vm.stop([]);
            match other.join().unwrap() {
                Some(thread) => {
                    thread.join().unwrap();
                    assert_eq!(vm.cpus.state(0), VcpuState::Finished);
                    MADE.count();
                }
                None => {
                    assert_eq!(vm.cpus.state(0), VcpuState::Absent);
                    ENDED.count();
                }
            }
        },
    );
    MADE.assert_seen("a vCPU that was made in vain");
    ENDED.assert_seen("a plug refused");
}

/// It is away for a moment, and paused when it is back.
#[test]
fn c5_a_pause_against_a_plug_settles() {
    search("c5_a_pause_against_a_plug_settles", 2, || {
        let vm = Vm::new(1);
        let thread = vm.create(0);
        vm.cpus.unplug(0).unwrap();
        vm.wait_for(0, VcpuState::Offline);
        let other = {
            let vm = vm.clone();
            thread::spawn(move || vm.cpus.plug(0))
        };
        vm.cpus.ask_all(Goal::Pause);
        assert_eq!(vm.cpus.wait_all(Goal::Pause, LIMIT), Ok(()));
        assert_eq!(other.join().unwrap(), Ok(Plug::Wake));
        vm.wait_for(0, VcpuState::Paused);
        vm.stop([thread]);
    });
}
