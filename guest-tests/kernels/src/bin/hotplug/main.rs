// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! vCPUs come and go while all of them count and take PMIs: those that stay lose nothing, and one
//! that comes again is as new.

#![no_std]
#![no_main]

mod cycle;
mod watches;

use rt::host::{self, ANY, Outcome::*, State, Wish};
use rt::hotplug::{self, Status};
use rt::tap::Outcome;
use rt::{arrivals, books, check_eq, crew, footprint, model};

rt::kernel!(main);

/// A leak of one page a cycle is more.
const GROWTH_KIB: u32 = 512;

fn flat() -> Outcome {
    footprint::flat(GROWTH_KIB)
}

fn main() {
    model::find();
    books::set_up();
    arrivals::connect();
    rt::tap::run(&[
        ("two of four CPUs are there", two_of_four),
        ("what cannot be asked for is refused", refused),
        ("two CPUs come, as new", two_come),
        ("a full machine takes no more", full),
        (
            "the host's events of a removed CPU stop for good",
            watches::stop,
        ),
        ("200 times a CPU goes and comes again", cycle::all),
        ("the host's memory stays flat", flat),
        ("every count and every PMI is in the books", balance),
    ]);
}

/// What the machine can have; it starts with half of them.
const CPUS: usize = 4;
const AT_START: usize = 2;

fn two_of_four() -> Outcome {
    check_eq!(hotplug::possible(), CPUS, "possible CPUs");
    for cpu in 0..CPUS {
        let (status, state) = if cpu < AT_START {
            (Status::PRESENT, State::Running)
        } else {
            (0, State::Absent)
        };
        check_eq!(hotplug::status(cpu).0, status, "status of CPU {cpu}");
        check_eq!(host::state(cpu)?, state, "CPU {cpu} for the host");
    }
    check_eq!(hotplug::next_event(), None, "an event");
    // Nobody does without a PMU for being alone.
    crew::open_books();
    rt::smp::start_all()?;
    crew::hire(1, crew::count);
    (0..AT_START).try_for_each(|cpu| books::await_pmis(cpu, 1))
}

fn refused() -> Outcome {
    const LONG: u32 = 600_000;
    let before = arrivals::interrupts();
    for (wish, outcome) in [
        (Wish::Remove(0, LONG), BootVcpu),
        (Wish::Remove(2, LONG), NotPresent),
        (Wish::Remove(4, LONG), NoSuchVcpu),
        (Wish::Remove(ANY, LONG), NoSuchVcpu),
        (Wish::Add(0), Present),
        (Wish::Add(1), Present),
        (Wish::Add(4), NoSuchVcpu),
        (Wish::Add(256), NoSuchVcpu),
    ] {
        host::expect(wish, outcome)?;
    }
    check_eq!(arrivals::interrupts(), before, "interrupts of nothing");
    check_eq!(hotplug::next_event(), None, "an event of nothing");
    Ok(())
}

fn two_come() -> Outcome {
    // The host may choose: the lowest that is free.
    arrivals::one_comes(2, ANY)?;
    arrivals::one_comes(3, 3)?;
    (0..CPUS).try_for_each(|cpu| books::await_pmis(cpu, 2))
}

fn full() -> Outcome {
    host::expect(Wish::Add(ANY), AllPresent)?;
    host::expect(Wish::Add(3), Present)?;
    check_eq!(hotplug::next_event(), None, "an event");
    Ok(())
}

fn balance() -> Outcome {
    let own = books::close();
    (1..CPUS).try_for_each(crew::dismiss)?;
    own
}
