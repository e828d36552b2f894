// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Garbage on the controller's ports, at every width, while the host adds and removes.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rt::arrivals;
use rt::host::{self, State, Wish};
use rt::hotplug;
use rt::random::Random;
use rt::tap::Outcome;
use rt::text::Text;
use rt::{books, check, check_eq, crew, diag, smp, time};

use crate::CPUS;

/// So many vCPUs are to come meanwhile, and as many to go.
const CHANGES: u32 = 15;

/// From below the controller's ports to above them.
const FIRST_PORT: u16 = 0xcd5;
const PORTS: u64 = 8;

/// One access of a random kind.
fn poke(random: &mut Random) {
    let port = FIRST_PORT + u16::try_from(random.below(PORTS)).unwrap_or(0);
    // Mostly numbers that mean something there.
    let byte = |random: &mut Random| match random.below(4) {
        0 => random.below(256),
        _ => random.below(6),
    };
    let value = (0..4).fold(0, |value, _| value << 8 | byte(random));
    // SAFETY: the controller does no DMA, and nothing else has these ports.
    unsafe {
        match random.below(6) {
            0 => asm!("in al, dx", in("dx") port, out("al") _, options(nostack)),
            1 => asm!("in ax, dx", in("dx") port, out("ax") _, options(nostack)),
            2 => asm!("in eax, dx", in("dx") port, out("eax") _, options(nostack)),
            3 => asm!("out dx, al", in("dx") port, in("rax") value, options(nostack)),
            4 => asm!("out dx, ax", in("dx") port, in("rax") value, options(nostack)),
            _ => asm!("out dx, eax", in("dx") port, in("rax") value, options(nostack)),
        }
    }
}

static STOP: AtomicBool = AtomicBool::new(false);

fn work() -> Outcome {
    let mut random = Random::new(time::tsc());
    crew::open_books();
    while !STOP.load(Relaxed) && books::work() {
        (0..8).for_each(|_| poke(&mut random));
    }
    Ok(())
}

pub(crate) fn all() -> Outcome {
    let result = storm();
    STOP.store(true, Relaxed);
    let [came, went, faults] = result?;
    diag!("{came} came, {went} went");
    check_eq!(faults, 0, "requests that ended as none should");
    check!(came >= CHANGES && went >= CHANGES, "too few came or went");
    all_back()
}

/// All CPUs there can be start with garbage, and CPU 0 goes on with it until the storm is over.
fn storm() -> Result<[u32; 3], Text> {
    crew::dismiss(crate::CPU)?;
    for cpu in [2, 3] {
        arrivals::one_comes(cpu, host::id(cpu))?;
        crew::dismiss(cpu)?;
    }
    (1..CPUS).for_each(|cpu| smp::start(cpu, work));
    let seed = time::tsc();
    let mut random = Random::new(seed);
    diag!("CPU 0's garbage is of seed {seed:#x}");
    host::post(Wish::Storm(CHANGES));
    let deadline = time::Deadline::after_ms(120_000);
    loop {
        if let Some(answer) = host::answer() {
            return Ok(answer.words);
        }
        check!(!deadline.is_over(), "the storm does not end");
        (0..16).for_each(|_| poke(&mut random));
    }
}

/// Whatever it did: the controller works, and so does every CPU.
fn all_back() -> Outcome {
    while hotplug::take_event().is_some() {}
    for cpu in 1..CPUS {
        hotplug::eject(cpu);
        check_eq!(hotplug::status(cpu).0, 0, "the status of CPU {cpu}");
        let deadline = time::Deadline::after_ms(30_000);
        while !matches!(host::state(cpu)?, State::Offline | State::Absent) {
            check!(!deadline.is_over(), "CPU {cpu} does not go");
        }
        crew::forget(cpu);
    }
    for cpu in 1..CPUS {
        let which = |why: Text| Text::format(format_args!("CPU {cpu}: {why}"));
        arrivals::one_comes(cpu, host::id(cpu)).map_err(which)?;
    }
    (0..CPUS).try_for_each(|cpu| books::await_pmis(cpu, 1))
}
