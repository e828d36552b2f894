// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The scheduler itself: what the kernels with tasks stand on. Neither PMU nor perf port is needed.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rt::sched::{self, State, Step, Tid};
use rt::tap::Outcome;
use rt::trap::{self, Verdict, vector};
use rt::{apic, check, check_eq, smp, time};

rt::kernel!(main);

fn main() {
    rt::tap::run(&[
        ("a script runs to its end", script),
        ("CPU 0 runs tasks as well", controller),
        ("tasks of one vCPU take turns", turns),
        ("a wake is never lost", wakes),
        ("one wake is remembered", remembered),
        ("tasks trade places for ever", migrations),
        ("a fork tree has all its leaves", forks),
        ("a full house forks no more", full_house),
        ("a running task is put elsewhere", placed),
        ("a queued task is put elsewhere", placed_queued),
        ("tasks survive NMIs and preemption", disturbed),
        ("the store in the window is made once", window),
        ("a blocked task outlives its vCPU", orphan),
        ("what could run moves on when its vCPU leaves", refugees),
    ]);
}

/// Starts anew: all shared words are 0, all vCPUs but the first run tasks.
fn begin() -> Result<usize, rt::text::Text> {
    let cpus = sched::init()?;
    check!(cpus >= 2, "only {cpus} CPU: this kernel wants two");
    (0..sched::WORDS).for_each(|word| sched::set_word(word, 0));
    for cpu in 1..cpus {
        if !sched::serves(cpu) {
            sched::enter(cpu)?;
        }
    }
    Ok(cpus)
}

fn spawn(cpu: usize, script: &[Step]) -> Result<Tid, rt::text::Text> {
    sched::spawn("test", cpu, script)
}

fn script() -> Outcome {
    begin()?;
    let task = spawn(
        1,
        &[
            Step::adds(0),
            Step::store(3),
            Step::repeats(0, 10),
            Step::adds(1),
            Step::repeats(0, 7),
            Step::kernel_store(2),
            Step::computes(100),
            Step::exits(),
        ],
    )?;
    sched::join(task)?;
    check_eq!(sched::word(0), 70, "rounds of the inner loop");
    check_eq!(sched::word(1), 7, "rounds of the outer loop");
    check_eq!(sched::state(task), State::Free, "the slot");
    Ok(())
}

fn controller() -> Outcome {
    begin()?;
    let task = spawn(0, &[Step::adds(0), Step::yields(), Step::goes_to(0)])?;
    sched::run_here(|| sched::word(0) >= 100);
    check_eq!(sched::word(0), 100, "rounds until it was asked to stop");
    check_eq!(sched::state(task), State::Queued, "the task");
    sched::place(task, 1);
    sched::await_word(0, 200)?;
    sched::kill(task);
    sched::join(task)
}

fn turns() -> Outcome {
    begin()?;
    const TASKS: u64 = 24;
    const ROUNDS: u64 = 50;
    // So that all are there before the first begins.
    spawn(1, &[Step::awaits(1, 1), Step::exits()])?;
    for _ in 0..TASKS {
        spawn(
            1,
            &[
                Step::adds(0),
                Step::yields(),
                Step::repeats(0, ROUNDS),
                Step::exits(),
            ],
        )?;
    }
    let before = sched::counts(1).switches;
    sched::set_word(1, 1);
    sched::join_all()?;
    check_eq!(sched::word(0), TASKS * ROUNDS, "turns");
    // In each turn all others come first; at their ends they go in the same order.
    let switches = sched::counts(1).switches - before;
    check!(switches >= TASKS * ROUNDS, "{switches} switches");
    Ok(())
}

fn wakes() -> Outcome {
    begin()?;
    const ROUNDS: u64 = 2_000;
    // The second starts the first, and each wakes the other, on both vCPUs in turn.
    let first = spawn(
        1,
        &[
            Step::blocks(),
            Step::adds(0),
            Step::wakes(Tid(1), 0),
            Step::blocks(),
            Step::adds(0),
            Step::wakes(Tid(1), 1),
            Step::repeats(0, ROUNDS),
            Step::exits(),
        ],
    )?;
    check_eq!(first, Tid(0), "the first slot");
    let second = spawn(
        0,
        &[
            Step::wakes(first, 0),
            Step::blocks(),
            Step::wakes(first, 1),
            Step::blocks(),
            Step::repeats(0, ROUNDS),
            Step::exits(),
        ],
    )?;
    check_eq!(second, Tid(1), "the second slot");
    let over = || {
        [first, second]
            .iter()
            .all(|&tid| sched::state(tid) == State::Exited)
    };
    let deadline = time::Deadline::after_ms(30_000);
    sched::run_here(|| over() || deadline.is_over());
    sched::join_all()?;
    check_eq!(sched::word(0), 2 * ROUNDS, "wakes");
    Ok(())
}

fn remembered() -> Outcome {
    begin()?;
    let task = spawn(
        1,
        &[
            Step::adds(0),
            Step::awaits(1, 1),
            Step::blocks(),
            Step::adds(0),
            Step::blocks(),
            Step::exits(),
        ],
    )?;
    sched::await_word(0, 1)?;
    check!(!sched::wake(task, 1), "it was not blocked");
    check!(!sched::wake(task, 1), "it was not blocked");
    sched::set_word(1, 1);
    sched::await_word(0, 2)?;
    // Two wakes were one.
    sched::await_state(task, State::Blocked)?;
    check!(sched::wake(task, 1), "it was blocked");
    sched::join(task)
}

fn migrations() -> Outcome {
    let cpus = begin()?;
    const ROUNDS: u64 = 1_000;
    // Each in the others' way, in both directions.
    for task in 0..8 {
        let (here, there) = (task % cpus, (task + 1) % cpus);
        spawn(
            here,
            &[
                Step::migrates(there),
                Step::adds(0),
                Step::migrates(here),
                Step::repeats(0, ROUNDS),
                Step::exits(),
            ],
        )?;
    }
    let deadline = time::Deadline::after_ms(30_000);
    sched::run_here(|| over() || deadline.is_over());
    sched::join_all()?;
    check_eq!(sched::word(0), 8 * ROUNDS, "journeys");
    Ok(())
}

/// Whether all tasks have exited.
fn over() -> bool {
    sched::tasks().all(|tid| sched::state(tid) == State::Exited)
}

fn forks() -> Outcome {
    begin()?;
    // Two children each, four levels: the word says on which level the youngest are.
    let root = spawn(
        1,
        &[
            Step::awaits(3, 1),
            Step::forks(5),
            Step::forks(5),
            Step::adds(0),
            Step::exits(),
            Step::forks(10),
            Step::forks(10),
            Step::adds(1),
            Step::exits(),
            Step::exits(),
            Step::adds(2),
            Step::exits(),
        ],
    )?;
    sched::forget(root);
    sched::set_word(3, 1);
    let grown = || sched::tasks().count() == 0;
    check!(
        time::wait_ms(30_000, grown),
        "{} tasks are left",
        sched::tasks().count()
    );
    check_eq!(
        [0, 1, 2].map(sched::word),
        [1, 2, 4],
        "tasks of each generation"
    );
    Ok(())
}

fn full_house() -> Outcome {
    begin()?;
    const FORKS: u64 = 100;
    let before = sched::failed_forks();
    let root = spawn(
        1,
        &[
            Step::forks(4),
            Step::repeats(0, FORKS),
            Step::adds(0),
            Step::exits(),
            Step::awaits(1, 1),
            Step::exits(),
        ],
    )?;
    sched::await_word(0, 1)?;
    let children = sched::MAX_TASKS as u64 - 1;
    check_eq!(
        sched::failed_forks() - before,
        FORKS - children,
        "forks without a slot"
    );
    check!(spawn(1, &[]).is_err(), "a slot was free");
    sched::set_word(1, 1);
    sched::join(root)?;
    sched::join_all()
}

fn placed() -> Outcome {
    begin()?;
    // It never ends its turn.
    let task = spawn(1, &[Step::adds(0), Step::goes_to(0)])?;
    sched::await_word(0, 1)?;
    for _ in 0..200 {
        sched::place(task, 0);
        check_eq!(sched::cpu_of(task), 0, "its vCPU");
        let before = sched::word(0);
        sched::run_here(|| true);
        check_eq!(sched::word(0), before, "steps on a vCPU that runs nothing");
        sched::place(task, 1);
        sched::await_word(0, before + 10)?;
        sched::preempt(1);
    }
    sched::kill(task);
    sched::join(task)
}

fn placed_queued() -> Outcome {
    begin()?;
    let spinner = spawn(1, &[Step::awaits(1, 1), Step::exits()])?;
    let queued = spawn(1, &[Step::adds(0), Step::exits()])?;
    sched::await_state(spinner, State::Running)?;
    check_eq!(
        sched::state(queued),
        State::Queued,
        "behind the one that spins"
    );
    sched::place(queued, 0);
    sched::run_here(|| sched::state(queued) == State::Exited);
    check_eq!(sched::word(0), 1, "its step");
    sched::set_word(1, 1);
    sched::join_all()
}

static NMIS: AtomicU64 = AtomicU64::new(0);

fn disturbed() -> Outcome {
    let cpus = begin()?;
    trap::hook(vector::NMI, |_| {
        NMIS.fetch_add(1, Relaxed);
        Verdict::Resume
    });
    const ROUNDS: u64 = 2_000;
    for task in 0..6 {
        let cpu = 1 + task % (cpus - 1);
        spawn(
            cpu,
            &[
                Step::store(3),
                Step::yields(),
                Step::adds(0),
                Step::kernel_store(1),
                Step::repeats(0, ROUNDS),
                Step::exits(),
            ],
        )?;
    }
    let mut sent = 0_u64;
    while !over() && sent < 10_000_000 {
        for cpu in 1..cpus {
            apic::send_nmi(cpu);
            sched::preempt(cpu);
            sent += 1;
        }
    }
    sched::join_all()?;
    // The last NMIs may still come: the hook stays.
    check_eq!(sched::word(0), 6 * ROUNDS, "rounds");
    check!(NMIS.load(Relaxed) > 0, "no NMI of {sent}");
    Ok(())
}

fn window() -> Outcome {
    if sched::port::exists() {
        // The tick page is no memory; the kernel `tasks` counts its stores.
        return Ok(());
    }
    begin()?;
    let task = spawn(
        1,
        &[
            Step::blocks(),
            Step::adds(0),
            Step::yields(),
            Step::adds(0),
            Step::exits(),
        ],
    )?;
    sched::await_state(task, State::Blocked)?;
    // SAFETY: without a port, a page of memory that no Rust code has a reference to.
    let page = || unsafe { (sched::TICKS as *mut u64).replace(0) };
    _ = page();
    sched::store_in_window(1, 1);
    sched::wake(task, 1);
    sched::join(task)?;
    check!(page() != 0, "no store");
    check_eq!(sched::word(0), 2, "steps");
    Ok(())
}

fn orphan() -> Outcome {
    begin()?;
    for round in 1..=20 {
        let task = spawn(1, &[Step::blocks(), Step::adds(0), Step::exits()])?;
        sched::await_state(task, State::Blocked)?;
        sched::leave(1, 0)?;
        smp::stop_cpu(1)?;
        check_eq!(sched::state(task), State::Blocked, "the task");
        sched::wake(task, 0);
        sched::run_here(|| sched::state(task) == State::Exited);
        check_eq!(sched::word(0), round, "its step");
        sched::reap(task);
        smp::start_cpu(1)?;
        sched::enter(1)?;
    }
    Ok(())
}

fn refugees() -> Outcome {
    begin()?;
    const TASKS: u64 = 10;
    for _ in 0..TASKS {
        spawn(
            1,
            &[
                Step::adds(0),
                Step::yields(),
                Step::awaits(1, 1),
                Step::exits(),
            ],
        )?;
    }
    sched::await_word(0, 1)?;
    sched::leave(1, 0)?;
    for tid in sched::tasks() {
        check_eq!(
            (sched::state(tid), sched::cpu_of(tid)),
            (State::Queued, 0),
            "task {}",
            tid.0
        );
    }
    sched::set_word(1, 1);
    sched::run_here(over);
    check_eq!(sched::word(0), TASKS, "tasks that went on");
    sched::join_all()?;
    sched::stop()?;
    check!(
        (1..rt::MAX_CPUS).all(|cpu| !sched::serves(cpu)),
        "one still serves"
    );
    Ok(())
}
