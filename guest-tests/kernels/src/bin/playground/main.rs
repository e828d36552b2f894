// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest to play with from the control socket: whatever CPU comes is started, counts cycles, with
//! PMIs, and runs tasks in user mode, until the host wants it back; then it is given back. For
//! people, not for the test harness.
//!
//! The tasks: `ticker` stores to the perf port's tick page 20 times a second, `walker` goes from CPU
//! to CPU if there are several, and each CPU has a `spinner`, which waits there while the CPU is
//! gone. A task whose event traps it has that told, once for each event.
//!
//! `seconds=N` on the command line ends it after that long, else it runs until it is stopped;
//! `period=N` says how many cycles lie between two PMIs.

#![no_std]
#![no_main]

mod counters;
mod tasks;

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rt::hotplug::{self, Event};
use rt::tap::Outcome;
use rt::time::Deadline;
use rt::trap::{TrapFrame, Verdict};
use rt::{cmdline, exit, println, sched, smp};

use tasks::Tasks;

rt::kernel!(main);

/// The controller has something to tell, which what came before it was asked may be.
static EVENTS: AtomicBool = AtomicBool::new(true);

fn main() {
    if let Err(why) = play() {
        println!("This does not work: {why}");
        exit::exit(1);
    }
}

fn play() -> Outcome {
    let end = cmdline::number("seconds").map(|seconds| Deadline::after_ms(1000 * seconds));
    let is_over = || end.is_some_and(Deadline::is_over);
    counters::find();
    hotplug::connect(on_event);
    sched::init()?;
    counters::set_out()?;
    let mut tasks = Tasks::start()?;
    for cpu in hotplug::present().filter(|&cpu| cpu != 0) {
        receive(&mut tasks, cpu);
    }
    println!(
        "{} of {} CPUs are here",
        smp::online().count(),
        hotplug::possible()
    );
    while !is_over() {
        tasks.run(|| EVENTS.load(Relaxed) || is_over());
        if EVENTS.swap(false, Relaxed) {
            attend(&mut tasks);
        }
    }
    for cpu in smp::online().filter(|&cpu| cpu != 0) {
        give_up(&tasks, cpu);
    }
    counters::come_in()?;
    counters::tell(0, "stays");
    Ok(())
}

fn on_event(_: &mut TrapFrame) -> Verdict {
    EVENTS.store(true, Relaxed);
    Verdict::Resume
}

/// Does what the controller tells of.
fn attend(tasks: &mut Tasks) {
    while let Some((cpu, event)) = hotplug::take_event() {
        match event {
            Event::Added => receive(tasks, cpu),
            Event::Removal => {
                if give_up(tasks, cpu) {
                    hotplug::eject(cpu);
                } else {
                    hotplug::refuse(cpu);
                }
            }
        }
    }
}

/// Starts a CPU that is here, and lets it count and run tasks.
fn receive(tasks: &mut Tasks, cpu: usize) {
    if sched::serves(cpu) {
        return;
    }
    let mut start = || {
        smp::start_cpu(cpu)?;
        on(cpu, counters::set_out)?;
        tasks.spread_to(cpu)
    };
    match start() {
        Ok(()) => println!("CPU {cpu} comes"),
        Err(why) => println!("CPU {cpu} does not come: {why}"),
    }
}

/// Stops a CPU; whether it could be.
fn give_up(tasks: &Tasks, cpu: usize) -> bool {
    match stop(tasks, cpu) {
        Ok(()) => {
            counters::tell(cpu, "goes");
            true
        }
        Err(why) => {
            println!("CPU {cpu} does not go: {why}");
            false
        }
    }
}

fn stop(tasks: &Tasks, cpu: usize) -> Outcome {
    if !smp::is_online(cpu) {
        return Ok(());
    }
    tasks.withdraw_from(cpu)?;
    on(cpu, counters::come_in)?;
    smp::stop_cpu(cpu)
}

/// Lets another CPU do something that does not take long.
fn on(cpu: usize, work: smp::Work) -> Outcome {
    smp::start(cpu, work);
    smp::finish(cpu)
}
