// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! vCPUs that come and go at random, as several impatient users of one VM would have it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::host::{Failure, Host, State};
use super::wish::Outcome;

/// How long a guest gets to give a vCPU back, in milliseconds: from never enough to plenty.
const LIMITS_MS: [u64; 6] = [0, 1, 10, 50, 200, 2_000];
/// A guest that honours nothing ends the storm all the same.
const PATIENCE: Duration = Duration::from_secs(100);
/// Until the next request after one that was refused at once.
const BREATH: Duration = Duration::from_millis(1);
/// Faults that end the storm early.
const TOO_MANY: usize = 8;

/// What a storm did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// vCPUs that came.
    pub came: u32,
    /// vCPUs that went.
    pub went: u32,
    /// Pauses of the VM.
    pub pauses: u32,
    /// Requests that ended in a way that none should.
    pub faults: Vec<String>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            came,
            went,
            pauses,
            faults,
        } = self;
        write!(f, "{came} vCPUs came, {went} went, {pauses} pauses")?;
        faults.iter().try_for_each(|fault| write!(f, "; {fault}"))
    }
}

#[derive(Default)]
struct Shared {
    came: AtomicU32,
    went: AtomicU32,
    pauses: AtomicU32,
    faults: Mutex<Vec<String>>,
    /// Those who change vCPUs are done.
    calm: AtomicBool,
}

impl Shared {
    fn fault(&self, what: String) {
        self.faults().push(what);
    }

    fn faults(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds and removes vCPUs of `host` until `changes` came and as many went, or `is_over` says that
/// nobody wants it any more. Two threads do so at once; a third pauses the VM and counts on its
/// vCPUs meanwhile.
pub fn run(
    host: &impl Host,
    seed: u64,
    changes: u32,
    is_over: &(impl Fn() -> bool + Sync),
) -> Tally {
    let start = Instant::now();
    let is_over = || is_over() || start.elapsed() > PATIENCE;
    run_until(host, seed, changes, &is_over)
}

fn run_until(
    host: &impl Host,
    seed: u64,
    changes: u32,
    is_over: &(impl Fn() -> bool + Sync),
) -> Tally {
    let shared = Shared::default();
    thread::scope(|threads| {
        let pauser = threads.spawn(|| pause_now_and_then(host, &shared, Random(seed ^ 1)));
        let changers = [2, 3].map(|salt| {
            let shared = &shared;
            threads.spawn(move || change(host, shared, Random(seed ^ salt), changes, is_over))
        });
        for changer in changers {
            if changer.join().is_err() {
                shared.fault("a thread of the storm panicked".to_owned());
            }
        }
        shared.calm.store(true, Relaxed);
        if pauser.join().is_err() {
            shared.fault("a thread of the storm panicked".to_owned());
        }
    });
    let faults = shared.faults().clone();
    Tally {
        came: shared.came.load(Relaxed),
        went: shared.went.load(Relaxed),
        pauses: shared.pauses.load(Relaxed),
        faults,
    }
}

fn change(
    host: &impl Host,
    shared: &Shared,
    mut random: Random,
    changes: u32,
    is_over: &(impl Fn() -> bool + Sync),
) {
    loop {
        let enough = [&shared.came, &shared.went]
            .iter()
            .all(|count| count.load(Relaxed) >= changes);
        if enough || is_over() || shared.faults().len() >= TOO_MANY {
            return;
        }
        let request = Request::choose(&host.states(), &mut random);
        let result = match request {
            Request::Add(vcpu) => host.add(vcpu).map(|_| ()),
            Request::Remove(vcpu, limit) => host.remove(vcpu, limit),
        };
        match (request, &result) {
            (Request::Add(_), Ok(())) => shared.came.fetch_add(1, Relaxed),
            (Request::Remove(..), Ok(())) => shared.went.fetch_add(1, Relaxed),
            _ => 0,
        };
        if let Some(fault) = request.fault(&result) {
            shared.fault(fault);
        }
        if result.is_err() {
            // For the guest's sake; nothing waits for it.
            thread::sleep(BREATH);
        }
    }
}

/// What a user of the VM asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Add(Option<u32>),
    Remove(u32, Duration),
}

impl Request {
    /// Mostly one that makes sense: vCPUs are added that are not there, and removed that are.
    fn choose(states: &[State], random: &mut Random) -> Self {
        let vcpu = random.below(states.len().max(1));
        let there = !matches!(
            states.get(vcpu),
            Some(State::Absent | State::Offline) | None
        );
        let id = u32::try_from(vcpu).unwrap_or(u32::MAX);
        let sensible = random.below(8) > 0;
        if there == sensible {
            let limit = LIMITS_MS[random.below(LIMITS_MS.len())];
            Self::Remove(id, Duration::from_millis(limit))
        } else {
            let any = random.below(4) == 0;
            Self::Add((!any).then_some(id))
        }
    }

    /// What is wrong with how it ended.
    fn fault(self, result: &Result<(), Failure>) -> Option<String> {
        let outcome = match result {
            Ok(()) => Outcome::Done,
            Err(failure) => failure.outcome,
        };
        let fine = match self {
            Self::Add(_) => matches!(
                outcome,
                Outcome::Done
                    | Outcome::Present
                    | Outcome::AllPresent
                    | Outcome::Paused
                    | Outcome::Ended
            ),
            Self::Remove(0, _) => matches!(outcome, Outcome::BootVcpu | Outcome::Ended),
            Self::Remove(..) => matches!(
                outcome,
                Outcome::Done
                    | Outcome::NotPresent
                    | Outcome::Paused
                    | Outcome::NotHonoured
                    | Outcome::Refused
                    | Outcome::Ended
            ),
        };
        (!fine).then(|| match result {
            Ok(()) => format!("{self:?} was done"),
            Err(failure) => format!("{self:?}: {:?}: {}", outcome, failure.words),
        })
    }
}

fn pause_now_and_then(host: &impl Host, shared: &Shared, mut random: Random) {
    while !shared.calm.load(Relaxed) {
        if let Err(failure) = disturb(host, shared, &mut random) {
            if failure.outcome == Outcome::Ended {
                return;
            }
            shared.fault(format!("{:?}: {}", failure.outcome, failure.words));
        }
        // The rhythm of the pauses; nothing waits for it.
        thread::sleep(Duration::from_millis([0, 2, 10, 40][random.below(4)]));
    }
}

/// Pauses the VM, or does not, and counts on one of its vCPUs, which may go away meanwhile.
fn disturb(host: &impl Host, shared: &Shared, random: &mut Random) -> Result<(), Failure> {
    let vcpu = u32::try_from(random.below(host.states().len().max(1))).unwrap_or(0);
    let pauses = random.below(2) == 0;
    if pauses {
        host.pause()?;
        shared.pauses.fetch_add(1, Relaxed);
    }
    let watched = match host.watch(vcpu) {
        Ok(watch) => {
            let counted = host.count(&watch).map(|_| ());
            counted.and(host.unwatch(watch))
        }
        // It is not there, or going.
        Err(failure) if failure.outcome == Outcome::Perf => Ok(()),
        Err(failure) => Err(failure),
    };
    let resumed = if pauses { host.resume() } else { Ok(()) };
    watched.and(resumed)
}

/// A generator of random numbers (SplitMix64).
#[derive(Clone, Copy, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`, which must not be 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed >> 1).unwrap_or(usize::MAX) % end
    }
}

#[cfg(test)]
mod tests {
    use super::super::host::Count;
    use super::*;

    /// A VM whose guest gives back whatever it is asked for, unless it is stubborn.
    struct Fake {
        states: Mutex<Vec<State>>,
        paused: AtomicBool,
        stubborn: bool,
        broken: bool,
    }

    impl Fake {
        fn new(stubborn: bool, broken: bool) -> Self {
            let mut states = vec![State::Absent; 4];
            states[0] = State::Running;
            Self {
                states: Mutex::new(states),
                paused: AtomicBool::new(false),
                stubborn,
                broken,
            }
        }
    }

    fn failed<T>(outcome: Outcome) -> Result<T, Failure> {
        Err(Failure {
            outcome,
            words: "no".to_owned(),
        })
    }

    impl Host for Fake {
        type Watch = ();

        fn add(&self, vcpu: Option<u32>) -> Result<u32, Failure> {
            if self.paused.load(Relaxed) {
                return failed(Outcome::Paused);
            }
            let mut states = self.states.lock().unwrap();
            let free = |state: &State| matches!(state, State::Absent | State::Offline);
            let id = match vcpu {
                Some(id) => id as usize,
                None => match states.iter().position(free) {
                    Some(id) => id,
                    None => return failed(Outcome::AllPresent),
                },
            };
            if !free(&states[id]) {
                return failed(Outcome::Present);
            }
            states[id] = State::Running;
            Ok(0)
        }

        fn remove(&self, vcpu: u32, _limit: Duration) -> Result<(), Failure> {
            if vcpu == 0 {
                return failed(Outcome::BootVcpu);
            }
            if self.broken {
                return failed(Outcome::Fault);
            }
            if self.stubborn {
                return failed(Outcome::NotHonoured);
            }
            let mut states = self.states.lock().unwrap();
            let state = &mut states[vcpu as usize];
            if *state != State::Running {
                return failed(Outcome::NotPresent);
            }
            *state = State::Offline;
            Ok(())
        }

        fn pause(&self) -> Result<(), Failure> {
            self.paused.store(true, Relaxed);
            Ok(())
        }

        fn resume(&self) -> Result<(), Failure> {
            self.paused.store(false, Relaxed);
            Ok(())
        }

        fn states(&self) -> Vec<State> {
            self.states.lock().unwrap().clone()
        }

        fn watch(&self, vcpu: u32) -> Result<(), Failure> {
            match self.states()[vcpu as usize] {
                State::Running => Ok(()),
                _ => failed(Outcome::Perf),
            }
        }

        fn count(&self, _watch: &()) -> Result<Count, Failure> {
            Ok(Count {
                cycles: 1,
                counts_on: true,
            })
        }

        fn unwatch(&self, _watch: ()) -> Result<(), Failure> {
            Ok(())
        }
    }

    #[test]
    fn a_storm_ends_when_enough_came_and_went() {
        let host = Fake::new(false, false);
        let tally = run(&host, 7, 20, &|| false);
        assert!(tally.came >= 20 && tally.went >= 20, "{tally}");
        assert_eq!(tally.faults, Vec::<String>::new());
        assert!(!host.paused.load(Relaxed));
    }

    #[test]
    fn a_stubborn_guest_costs_no_more_than_patience() {
        let looks = AtomicU32::new(0);
        let over = || looks.fetch_add(1, Relaxed) > 20;
        let tally = run(&Fake::new(true, false), 7, 3, &over);
        assert_eq!((tally.went, tally.faults.len()), (0, 0), "{tally}");
    }

    #[test]
    fn nobody_waits_for_a_storm_that_is_not_wanted() {
        let tally = run(&Fake::new(false, false), 7, u32::MAX, &|| true);
        assert_eq!((tally.came, tally.went), (0, 0));
    }

    #[test]
    fn a_request_that_ends_as_none_should_is_a_fault() {
        let tally = run(&Fake::new(false, true), 7, 20, &|| false);
        assert!(tally.faults.len() >= TOO_MANY, "{tally}");
        assert!(tally.to_string().contains("Fault: no"), "{tally}");
    }

    #[test]
    fn the_boot_vcpu_must_not_go() {
        let request = Request::Remove(0, Duration::ZERO);
        assert!(request.fault(&Ok(())).is_some());
        assert!(request.fault(&failed(Outcome::BootVcpu)).is_none());
        assert!(request.fault(&failed(Outcome::NotHonoured)).is_some());
        assert!(
            Request::Add(None)
                .fault(&failed(Outcome::NotHonoured))
                .is_some()
        );
    }

    #[test]
    fn a_seed_stands_for_one_sequence() {
        let sequence = |seed| {
            let mut random = Random(seed);
            let states = [State::Running, State::Offline, State::Running];
            [(); 64].map(|()| Request::choose(&states, &mut random))
        };
        assert_eq!(sequence(5), sequence(5));
        assert_ne!(sequence(5), sequence(6));
        let adds = sequence(5)
            .into_iter()
            .filter(|request| matches!(request, Request::Add(_)));
        assert!((1..64).contains(&adds.count()));
    }
}
