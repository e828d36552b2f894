// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Trees of three generations.

use rt::sched::port::{self, EventState, OpenFlags};
use rt::sched::{self, Step, Tid};
use rt::tap::Outcome;
use rt::text::Text;
use rt::time::Deadline;
use rt::{check, check_eq, smp};

use crate::family::{Counter, at_rest, end_all, others, wake_all};

const CPU: usize = 1;
const ROUNDS: u64 = 30;

/// A root, two children, and a child of each of those.
const TASKS: usize = 5;
/// What all of them store in a round, in user mode and in the kernel.
const USER: u64 = 3 + 2 * 5 + 2 * 7;
const KERNEL: u64 = 5;

/// Blocks; then grows, stores, and blocks, each at its own speed. Every wake is another time of it
/// without the growing.
const SCRIPT: [Step; 22] = [
    Step::blocks(),
    Step::forks(9),
    Step::forks(9),
    // The root.
    Step::store(3),
    Step::kernel_store(1),
    Step::yields(),
    Step::repeats(3, ROUNDS),
    Step::blocks(),
    Step::goes_to(3),
    // The children.
    Step::forks(16),
    Step::store(5),
    Step::kernel_store(1),
    Step::yields(),
    Step::repeats(10, ROUNDS),
    Step::blocks(),
    Step::goes_to(10),
    // Theirs.
    Step::store(7),
    Step::kernel_store(1),
    Step::yields(),
    Step::repeats(16, ROUNDS),
    Step::blocks(),
    Step::goes_to(16),
];

const INHERIT: OpenFlags = OpenFlags::INHERIT;

/// A root that waits, with an event that is inherited.
fn plant() -> Result<(Tid, Counter), Text> {
    let root = sched::spawn("root", CPU, &SCRIPT)?;
    at_rest(1)?;
    Ok((root, Counter::on(root, INHERIT)?))
}

pub(crate) fn adds_up() -> Outcome {
    let (root, both) = plant()?;
    let user = Counter::on(root, INHERIT.with(OpenFlags::EXCLUDE_KERNEL))?;
    let kernel = Counter::on(root, INHERIT.with(OpenFlags::EXCLUDE_USER))?;
    let counted = |times: u64, when| {
        both.expect(times * ROUNDS * (USER + KERNEL), when)?;
        user.expect(times * ROUNDS * USER, when)?;
        kernel.expect(times * ROUNDS * KERNEL, when)
    };
    sched::wake(root, CPU);
    at_rest(TASKS)?;
    counted(1, "the tree has grown")?;
    wake_all(CPU);
    at_rest(TASKS)?;
    counted(2, "once more")?;

    // One after the other: what the dead counted stays in the sum.
    for tid in others(root) {
        sched::kill(tid);
        sched::join(tid)?;
        counted(2, "one died")?;
    }
    sched::wake(root, CPU);
    at_rest(1)?;
    both.expect(ROUNDS * (2 * (USER + KERNEL) + 3 + 1), "the root alone")?;
    end_all()?;
    let (_, state) = both.read()?;
    check_eq!(state, EventState::Exit, "the event's state");
    both.expect(ROUNDS * (2 * (USER + KERNEL) + 3 + 1), "all are dead")?;
    [both, user, kernel]
        .into_iter()
        .try_for_each(Counter::close)
}

pub(crate) fn strangers() -> Outcome {
    let (root, family) = plant()?;
    let stranger = |stores| {
        let script = [
            Step::blocks(),
            Step::store(stores),
            Step::kernel_store(1),
            Step::yields(),
            Step::repeats(1, 4 * ROUNDS),
            Step::goes_to(0),
        ];
        sched::spawn("stranger", CPU, &script)
    };
    // Nobody counts the one; the other has an event that looks like the family's.
    let strangers = [stranger(11)?, stranger(13)?];
    let [_, counted] = strangers;
    at_rest(1 + strangers.len())?;
    let own = Counter::on(counted, INHERIT)?;
    for times in 1..=2 {
        wake_all(CPU);
        at_rest(TASKS + strangers.len())?;
        family.expect(times * ROUNDS * (USER + KERNEL), "the family")?;
        own.expect(times * 4 * ROUNDS * (13 + 1), "the stranger")?;
    }
    check_eq!(sched::state(root), sched::State::Blocked, "the root");
    end_all()?;
    family.expect(2 * ROUNDS * (USER + KERNEL), "the family, dead")?;
    own.expect(8 * ROUNDS * (13 + 1), "the stranger, dead")?;
    [family, own].into_iter().try_for_each(Counter::close)
}

pub(crate) fn switched() -> Outcome {
    let (root, family) = plant()?;
    let other = Counter::on(root, INHERIT)?;
    sched::wake(root, CPU);
    at_rest(TASKS)?;
    let round = ROUNDS * (USER + KERNEL);
    let mut expected = round;
    for times in 2..=5 {
        port::must("disable", |port| port.disable(family.0))?;
        wake_all(CPU);
        at_rest(TASKS)?;
        family.expect(expected, "switched off")?;
        port::must("enable", |port| port.enable(family.0))?;
        wake_all(CPU);
        at_rest(TASKS)?;
        expected += round;
        family.expect(expected, "switched on")?;
        other.expect((2 * times - 1) * round, "the other event")?;
    }
    port::must("reset", |port| port.reset(family.0))?;
    family.expect(0, "reset")?;
    wake_all(CPU);
    at_rest(TASKS)?;
    family.expect(round, "after the reset")?;
    end_all()?;
    [family, other].into_iter().try_for_each(Counter::close)
}

/// The tree's tasks go round all vCPUs that run tasks, while the controller reads, opens and closes.
pub(crate) fn spread() -> Outcome {
    const STORES: u64 = 2 + 3 + 1;
    const CHILDREN: usize = 6;
    let cpus = smp::online().count();
    let last = cpus - 1;
    let script = [
        Step::blocks(),
        Step::forks(4),
        Step::repeats(1, CHILDREN as u64),
        Step::adds(0),
        // Everyone.
        Step::store(2),
        Step::migrates(last),
        Step::store(3),
        Step::yields(),
        Step::store_and_migrate(CPU),
        Step::repeats(4, ROUNDS),
        Step::blocks(),
        Step::goes_to(4),
    ];
    sched::set_word(0, 0);
    let root = sched::spawn("spread", CPU, &script)?;
    at_rest(1)?;
    let family = Counter::on(root, INHERIT)?;
    sched::wake(root, CPU);
    sched::await_word(0, 1)?;
    let mut seen = 0;
    let deadline = Deadline::after_ms(60_000);
    let all = ROUNDS * STORES * (CHILDREN as u64 + 1);
    while seen < all && !deadline.is_over() {
        let (count, _) = family.read()?;
        check!(count >= seen, "a sum went back from {seen} to {count}");
        check!(count <= all, "{count} stores counted, there are only {all}");
        seen = count;
        // Another event of the family comes and goes: it takes nothing of this one's.
        Counter::on(root, INHERIT)?.close()?;
    }
    at_rest(CHILDREN + 1)?;
    family.expect(all, "after some travels")?;
    wake_all(last);
    at_rest(CHILDREN + 1)?;
    family.expect(2 * all, "after some more")?;
    end_all()?;
    family.expect(2 * all, "all are dead")?;
    family.close()
}
