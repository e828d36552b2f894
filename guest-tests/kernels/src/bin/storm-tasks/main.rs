// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Sixteen tasks that store, yield and migrate, while events on them are opened, changed, read and
//! closed at random by this kernel and by the host, and vCPUs go and come: nothing violates the
//! counting law, nothing hangs, and nothing is left behind.
//!
//! `seconds=N` on the command line says how long, `seed=N` what is done.

#![no_std]
#![no_main]

mod events;
mod vcpus;

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rt::footprint;
use rt::host::{self, STORM_EXACT, STORM_LOOSE, Wish};
use rt::random::Random;
use rt::sched::{self, Step, Tid, port};
use rt::tap::Outcome;
use rt::text::Text;
use rt::time::{self, Deadline};
use rt::{check, check_eq, cmdline, diag, fail};

use events::{EXACT, Events, LOOSE};

rt::kernel!(main);

fn main() {
    rt::tap::run(&[
        ("sixteen tasks run on four CPUs", tasks),
        ("they outlive a storm of events", storm),
        ("every trap of this kernel's came, and no other", own_traps),
        ("every trap of the host's came, and no other", hosts_traps),
        ("the VMM takes no more than before", no_more_than_before),
        ("nothing odd came", clean),
    ]);
}

const CPUS: usize = 4;
const TASKS: usize = 16;
/// Unless the command line says.
const SECONDS: u64 = 60;
/// How long traps may be on their way when nobody makes new ones.
const SETTLE_MS: u64 = 10_000;
/// What the VMM may take more at the end, for buffers that have found their size.
const GROWTH_KIB: u32 = 1024;

/// Traps that tasks must have got of this kernel's events: exactly, at least, at most.
static OWN: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

fn tasks() -> Outcome {
    let cpus = sched::init()?;
    check_eq!(cpus, CPUS, "CPUs");
    check!(port::exists(), "there is no perf port");
    (1..CPUS).try_for_each(sched::enter)?;
    for number in 0..TASKS {
        let stores = 1 + number as u64 % 5;
        let cpu = |step: usize| 1 + (number + step * (1 + number % 2)) % (CPUS - 1);
        let script = [
            Step::store(stores),
            Step::yields(),
            Step::kernel_store(1),
            Step::store_and_yield(),
            Step::migrates(cpu(1)),
            Step::store(1),
            Step::computes(200 * stores),
            Step::store_and_migrate(cpu(2)),
            Step::kernel_store(stores),
            Step::store_and_yield(),
            Step::migrates(cpu(0)),
            Step::goes_to(0),
        ];
        sched::spawn("stormy", cpu(0), &script)?;
    }
    Ok(())
}

fn storm() -> Outcome {
    let seconds = cmdline::number("seconds").unwrap_or(SECONDS);
    let seed = cmdline::number("seed").unwrap_or_else(time::tsc);
    diag!("{seconds} s, seed {seed:#x}");
    let mut random = Random::new(seed);
    let mut events = Events::new();
    host::grant(Wish::TaskStorm(true))?;
    // What is made once is made in a tenth of the time.
    let warm = Deadline::after_ms(seconds * 100);
    let end = Deadline::after_ms(seconds * 1000);
    let (mut steps, mut trips) = (0_u64, 0_u64);
    let mut looked = false;
    while !end.is_over() {
        if random.below(400) == 0 {
            vcpus::trip(&mut random)?;
            trips += 1;
        }
        if !looked && warm.is_over() && trips >= 3 {
            footprint::before()?;
            looked = true;
        }
        events.step(&mut random)?;
        steps += 1;
    }
    check!(looked, "{trips} vCPUs went and came, which is too few");
    footprint::after()?;
    events.close_all()?;
    for (to, from) in OWN.iter().zip(events.traps()) {
        to.store(from, Relaxed);
    }
    let [asked, faults, _] = host::grant(Wish::TaskStorm(false))?;
    diag!("{steps} steps here, {asked} requests of the host's, {trips} vCPUs went and came");
    for cpu in 1..CPUS {
        diag!("CPU {cpu}: {:?}", sched::counts(cpu));
    }
    check_eq!(faults, 0, "answers that the host should not have got");
    check!(asked > 0, "the host asked for nothing");
    Ok(())
}

/// How many traps with that data all tasks got.
fn got(data: usize) -> u64 {
    sched::tasks().map(|tid| sched::tally(tid, data)).sum()
}

/// Checks what came with `exact` and `loose` in it against what must have been sent.
fn balance(exact: usize, loose: usize, [sent, least, most]: [u64; 3]) -> Outcome {
    // A task counts a trap some instructions after it was handed over.
    _ = time::wait_ms(SETTLE_MS, || got(exact) >= sent && got(loose) >= least);
    diag!(
        "{} of {sent} traps, {} of {least} to {most}",
        got(exact),
        got(loose)
    );
    check!(sent > 0 && most > 0, "no event trapped");
    check_eq!(got(exact), sent, "traps of events that were settled");
    if !(least..=most).contains(&got(loose)) {
        fail!("{} traps, not {least} to {most}", got(loose));
    }
    Ok(())
}

fn own_traps() -> Outcome {
    let traps = [0, 1, 2].map(|n: usize| OWN[n].load(Relaxed));
    balance(EXACT, LOOSE, traps)
}

fn hosts_traps() -> Outcome {
    let traps = host::grant(Wish::TaskStormTraps)?;
    balance(STORM_EXACT, STORM_LOOSE, traps.map(u64::from))
}

fn no_more_than_before() -> Outcome {
    footprint::flat(GROWTH_KIB)
}

fn clean() -> Outcome {
    let tasks: [Option<Tid>; TASKS] = {
        let mut all = sched::tasks();
        core::array::from_fn(|_| all.next())
    };
    for tid in tasks.into_iter().flatten() {
        sched::kill(tid);
    }
    sched::join_all()?;
    (0..CPUS).try_for_each(|cpu| sched::counts(cpu).check(cpu))?;
    sched::stop()
}

/// What went wrong with `what`.
fn refused(what: &str, errno: port::Errno) -> Text {
    Text::format(format_args!("{what}: {errno:?}"))
}
