// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Counts of tasks, to the unit: they follow the tasks from vCPU to vCPU, tell user mode from the
//! kernel, and add up to what the vCPUs count. While no task has an event, nobody is told of switches.

#![no_std]
#![no_main]

mod announced;
mod counter;
mod sums;
mod traps;

use rt::sched::{self, Step, port};
use rt::tap::Outcome;
use rt::{check, check_eq};

use counter::{Counter, KERNEL, USER};

rt::kernel!(main);

fn main() {
    rt::tap::run(&[
        ("the machine has a perf port", present),
        (
            "a task's stores are counted, and whose mode they are",
            modes,
        ),
        ("a count belongs to its task", apart),
        (
            "counts follow tasks, and add up to the vCPUs'",
            sums::migrating,
        ),
        (
            "counts follow tasks that block and are woken elsewhere",
            sums::waking,
        ),
        ("a filter lets a task count on one vCPU only", filtered),
        (
            "the kernel's last store before user mode is the kernel's",
            window,
        ),
        ("the controller's stores are no task's", controller),
        ("what an exited task counted stays", exited),
        (
            "without events of tasks no switch is announced",
            announced::off,
        ),
        ("with one every switch is announced", announced::on),
        (
            "the n-th store traps, at the next instruction",
            traps::exact,
        ),
        (
            "a trap of the kernel's waits for user mode",
            traps::in_kernel,
        ),
        (
            "a trap that comes after the check is not missed",
            traps::in_window,
        ),
        ("a handler's own traps come after it", traps::in_handler),
        ("no switch was refused, and nothing odd came", clean),
    ]);
}

fn present() -> Outcome {
    let cpus = sched::init()?;
    check_eq!(cpus, CPUS, "CPUs");
    check!(port::exists(), "there is none");
    (1..CPUS).try_for_each(sched::enter)
}

const CPUS: usize = 4;

/// Runs tasks on CPU 0 as well until all have exited.
fn finish() -> Outcome {
    let over = || sched::tasks().all(|tid| sched::state(tid) == sched::State::Exited);
    let deadline = rt::time::Deadline::after_ms(60_000);
    sched::run_here(|| over() || deadline.is_over());
    check!(over(), "tasks did not exit within 60 s");
    Ok(())
}

fn modes() -> Outcome {
    const ROUNDS: u64 = 50;
    let task = sched::spawn(
        "modes",
        1,
        &[
            Step::blocks(),
            Step::store(7),
            Step::kernel_store(3),
            Step::yields(),
            Step::repeats(1, ROUNDS),
            Step::exits(),
        ],
    )?;
    let all = Counter::of_task(task, counter::BOTH)?;
    let user = Counter::of_task(task, USER)?;
    let kernel = Counter::of_task(task, KERNEL)?;
    sched::await_state(task, sched::State::Blocked)?;
    sched::wake(task, 2);
    finish()?;
    user.expect(7 * ROUNDS, "in user mode")?;
    kernel.expect(3 * ROUNDS, "in the kernel")?;
    all.expect(10 * ROUNDS, "in both")?;
    sched::join_all()
}

/// On one vCPU, turn about, with a different count each.
fn apart() -> Outcome {
    const TASKS: usize = 24;
    const ROUNDS: u64 = 5;
    let mut counters = [const { None }; TASKS];
    let gate = sched::spawn("gate", 1, &[Step::awaits(0, 1), Step::exits()])?;
    for (stores, place) in (1..).zip(&mut counters) {
        let script = [
            Step::store(stores),
            Step::yields(),
            Step::repeats(0, ROUNDS),
            Step::exits(),
        ];
        let task = sched::spawn("apart", 1, &script)?;
        *place = Some(Counter::of_task(task, USER)?);
    }
    let none = Counter::of_task(gate, counter::BOTH)?;
    sched::set_word(0, 1);
    finish()?;
    none.expect(0, "the gate")?;
    for (stores, counter) in (1..).zip(counters.into_iter().flatten()) {
        counter.expect(stores * ROUNDS, "a task")?;
    }
    sched::set_word(0, 0);
    sched::join_all()
}

fn filtered() -> Outcome {
    const ROUNDS: u64 = 100;
    let task = sched::spawn(
        "filtered",
        1,
        &[
            Step::blocks(),
            Step::store(5),
            Step::migrates(2),
            Step::store(7),
            Step::kernel_store(1),
            Step::migrates(3),
            Step::store(11),
            Step::migrates(1),
            Step::repeats(1, ROUNDS),
            Step::exits(),
        ],
    )?;
    let there = Counter::of_task_on(task, 2, counter::BOTH)?;
    let elsewhere = Counter::of_task_on(task, 0, counter::BOTH)?;
    let all = Counter::of_task(task, counter::BOTH)?;
    sched::await_state(task, sched::State::Blocked)?;
    sched::wake(task, 1);
    finish()?;
    there.expect(8 * ROUNDS, "on CPU 2")?;
    elsewhere.expect(0, "on CPU 0")?;
    all.expect(24 * ROUNDS, "anywhere")?;
    sched::join_all()
}

fn window() -> Outcome {
    const STORES: u64 = 20;
    let task = sched::spawn(
        "window",
        1,
        &[
            Step::blocks(),
            Step::store(1),
            Step::yields(),
            Step::repeats(1, 2 * STORES),
            Step::exits(),
        ],
    )?;
    let user = Counter::of_task(task, USER)?;
    let kernel = Counter::of_task(task, KERNEL)?;
    sched::await_state(task, sched::State::Blocked)?;
    sched::store_in_window(1, STORES);
    sched::wake(task, 1);
    finish()?;
    kernel.expect(STORES, "in the kernel")?;
    user.expect(2 * STORES, "in user mode")?;
    sched::join_all()
}

fn controller() -> Outcome {
    let task = sched::spawn("idle", 1, &[Step::blocks(), Step::exits()])?;
    let of_task = Counter::of_task(task, counter::BOTH)?;
    let of_vcpu = Counter::of_vcpu(0, counter::BOTH)?;
    let in_user = Counter::of_vcpu(0, USER)?;
    for _ in 0..1000 {
        sched::tick();
    }
    of_vcpu.expect(1000, "on CPU 0")?;
    in_user.expect(0, "in user mode")?;
    sched::await_state(task, sched::State::Blocked)?;
    sched::wake(task, 1);
    finish()?;
    of_task.expect(0, "the task")?;
    sched::join_all()
}

fn exited() -> Outcome {
    let task = sched::spawn("short", 3, &[Step::blocks(), Step::store(9), Step::exits()])?;
    let counter = Counter::of_task(task, counter::BOTH)?;
    sched::await_state(task, sched::State::Blocked)?;
    sched::wake(task, 3);
    sched::join(task)?;
    let reading = counter.read()?;
    check_eq!(reading.state, port::EventState::Exit, "its event's state");
    let errno = port::ask(|port| port.open(&counter::open_on(counter.task)));
    check_eq!(
        errno,
        Err(port::Errno::NoSuchTask),
        "an event of a task that is over"
    );
    counter.expect(9, "the task")
}

fn clean() -> Outcome {
    (0..CPUS).try_for_each(|cpu| sched::counts(cpu).check(cpu))?;
    sched::stop()
}
