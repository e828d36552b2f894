// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What all tasks count is what all vCPUs count.

use rt::sched::{self, State, Step, Tid};
use rt::tap::Outcome;
use rt::{check_eq, diag, fail};

use crate::counter::{BOTH, Counter, KERNEL, USER};
use crate::{CPUS, finish};

/// Counters of every vCPU: all stores, and those in user mode.
struct Vcpus([(Counter, Counter); CPUS]);

impl Vcpus {
    fn open() -> Result<Self, rt::text::Text> {
        let mut counters = [None; CPUS];
        for (vcpu, place) in (0..).zip(&mut counters) {
            *place = Some((Counter::of_vcpu(vcpu, BOTH)?, Counter::of_vcpu(vcpu, USER)?));
        }
        Ok(Self(counters.map(|counter| counter.expect("one each"))))
    }

    /// Checks the sums over all vCPUs.
    fn expect(self, both: u64, user: u64) -> Outcome {
        let mut counted = [(0, 0); CPUS];
        for ((all, in_user), place) in self.0.into_iter().zip(&mut counted) {
            *place = (all.take()?, in_user.take()?);
        }
        for (cpu, (all, in_user)) in counted.iter().enumerate() {
            diag!("CPU {cpu}: {all} stores, {in_user} of them in user mode");
            if *all == 0 {
                fail!("nothing ran on CPU {cpu}");
            }
        }
        let sum = counted
            .iter()
            .fold((0, 0), |sum, counts| (sum.0 + counts.0, sum.1 + counts.1));
        check_eq!(
            sum,
            (both, user),
            "stores of all vCPUs, and those in user mode"
        );
        Ok(())
    }
}

/// The tasks go round, each with a stride of its own, and store on each vCPU another number of times.
pub(crate) fn migrating() -> Outcome {
    const TASKS: usize = 12;
    const ROUNDS: u64 = 40;
    let mut counters = [None; TASKS];
    let (mut both, mut user) = (0, 0);
    for (number, place) in counters.iter_mut().enumerate() {
        let stores = number as u64 + 1;
        let cpu = |step: usize| (number + step * (1 + number % 3)) % CPUS;
        let script = [
            Step::blocks(),
            Step::store(stores),
            Step::migrates(cpu(1)),
            Step::kernel_store(2),
            Step::yields(),
            Step::migrates(cpu(2)),
            Step::store(3),
            Step::migrates(cpu(3)),
            Step::kernel_store(stores),
            Step::store(1),
            Step::migrates(cpu(0)),
            Step::repeats(1, ROUNDS),
            Step::exits(),
        ];
        let task = sched::spawn("round", 1, &script)?;
        let in_user = (stores + 4) * ROUNDS;
        let in_kernel = (stores + 2) * ROUNDS;
        *place = Some((
            Counter::of_task(task, USER)?,
            Counter::of_task(task, KERNEL)?,
            (in_user, in_kernel),
        ));
        user += in_user;
        both += in_user + in_kernel;
    }
    let vcpus = Vcpus::open()?;
    start_all()?;
    finish()?;
    for (in_user, in_kernel, expected) in counters.into_iter().flatten() {
        in_user.expect(expected.0, "a task in user mode")?;
        in_kernel.expect(expected.1, "a task in the kernel")?;
    }
    vcpus.expect(both, user)?;
    sched::join_all()
}

/// Wakes all tasks, which wait in their first step: each on a vCPU of its own choice.
fn start_all() -> Outcome {
    for (number, task) in sched::tasks().enumerate() {
        sched::await_state(task, State::Blocked)?;
        sched::wake(task, number % CPUS);
    }
    Ok(())
}

/// Pairs in which one wakes the other, on the next vCPU, and waits for the same.
pub(crate) fn waking() -> Outcome {
    const PAIRS: usize = 6;
    const ROUNDS: u64 = 80;
    let mut counters = [None; 2 * PAIRS];
    for (slot, place) in counters.iter_mut().enumerate() {
        let other = Tid(slot ^ 1);
        let stores = slot as u64 + 1;
        let (here, there) = (slot % CPUS, (slot + 1) % CPUS);
        let begins = [
            Step::blocks(),
            Step::store(stores),
            Step::wakes(other, there),
            Step::blocks(),
            Step::kernel_store(1),
            Step::wakes(other, here),
            Step::repeats(0, ROUNDS),
            Step::exits(),
        ];
        let follows = [
            Step::blocks(),
            Step::store(stores),
            Step::wakes(other, here),
            Step::blocks(),
            Step::kernel_store(1),
            Step::wakes(other, there),
            Step::repeats(0, ROUNDS),
            Step::exits(),
        ];
        let begins_now = slot.is_multiple_of(2);
        let script = if begins_now { &begins } else { &follows };
        let task = sched::spawn("pair", 1, script)?;
        check_eq!(task.0, slot, "the slot");
        *place = Some((Counter::of_task(task, BOTH)?, (stores + 1) * ROUNDS));
    }
    let vcpus = Vcpus::open()?;
    for slot in 0..2 * PAIRS {
        sched::await_state(Tid(slot), State::Blocked)?;
    }
    for slot in (0..2 * PAIRS).step_by(2) {
        sched::wake(Tid(slot), slot % CPUS);
    }
    finish()?;
    let (mut both, mut in_kernel) = (0, 0);
    for (counter, expected) in counters.into_iter().flatten() {
        counter.expect(expected, "a task")?;
        both += expected;
        in_kernel += ROUNDS;
    }
    vcpus.expect(both, both - in_kernel)?;
    sched::join_all()
}
