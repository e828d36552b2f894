// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The task that makes something to count, round by round, and is blocked in between.

use rt::sched::{self, State, Step, Tid};
use rt::tap::Outcome;
use rt::text::Text;
use rt::{check, time};

use crate::VCPU;

/// The word that counts rounds.
const DONE: usize = 0;
/// The word that ends the spinning.
const GATE: usize = 1;

/// How long a round may take, in milliseconds.
const PATIENCE_MS: u64 = 60_000;

pub(crate) struct Worker {
    pub(crate) tid: Tid,
    rounds: u64,
    /// Ticks in a round.
    each: u64,
}

impl Worker {
    /// Makes so many ticks in a round, one after the other.
    pub(crate) fn ticking(each: u64) -> Result<Self, Text> {
        let script = [
            Step::blocks(),
            Step::store(each),
            Step::adds(DONE),
            Step::goes_to(0),
        ];
        Self::new(&script, each)
    }

    /// Has one round, in which it computes until [`spin_for`](Self::spin_for) ends that.
    pub(crate) fn spinning() -> Result<Self, Text> {
        let script = [
            Step::blocks(),
            Step::awaits(GATE, 1),
            Step::adds(DONE),
            Step::goes_to(0),
        ];
        Self::new(&script, 0)
    }

    fn new(script: &[Step], each: u64) -> Result<Self, Text> {
        sched::set_word(DONE, 0);
        sched::set_word(GATE, 0);
        let tid = sched::spawn("worker", VCPU, script)?;
        let worker = Self {
            tid,
            rounds: 0,
            each,
        };
        sched::await_state(tid, State::Blocked)?;
        Ok(worker)
    }

    /// A round on vCPU 1. When it returns the task is blocked.
    pub(crate) fn round(&mut self) -> Outcome {
        sched::wake(self.tid, VCPU);
        self.end_round()
    }

    /// A round on vCPU 0, which runs tasks meanwhile.
    pub(crate) fn round_here(&mut self) -> Outcome {
        sched::wake(self.tid, 0);
        let deadline = time::Deadline::after_ms(PATIENCE_MS);
        let wanted = self.rounds + 1;
        let over = || sched::word(DONE) >= wanted && sched::state(self.tid) == State::Blocked;
        sched::run_here(|| over() || deadline.is_over());
        self.end_round()
    }

    /// The only round of one that spins, which takes about so long.
    pub(crate) fn spin_for(&mut self, ms: u64) -> Outcome {
        sched::wake(self.tid, VCPU);
        _ = time::wait_ms(ms, || false);
        sched::set_word(GATE, 1);
        self.end_round()
    }

    fn end_round(&mut self) -> Outcome {
        self.rounds += 1;
        let wanted = self.rounds;
        let over = || sched::word(DONE) >= wanted && sched::state(self.tid) == State::Blocked;
        check!(
            time::wait_ms(PATIENCE_MS, over),
            "round {wanted} did not end in {PATIENCE_MS} ms"
        );
        Ok(())
    }

    /// Ticks so far.
    pub(crate) fn ticks(&self) -> u64 {
        self.rounds * self.each
    }

    /// As many rounds as it takes until `enough` says so.
    pub(crate) fn rounds_until(&mut self, enough: impl Fn() -> Result<bool, Text>) -> Outcome {
        const MOST: u64 = 500;
        let last = self.rounds + MOST;
        while !enough()? {
            check!(self.rounds < last, "not after {MOST} rounds more");
            self.round()?;
        }
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The point has its verdict by now.
        sched::set_word(GATE, 1);
        sched::kill(self.tid);
        _ = sched::join(self.tid);
    }
}
