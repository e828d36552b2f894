// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest that does as it likes with its vCPUs: it ignores what the host asks for, answers late,
//! refuses, gives back what nobody asked for, and writes garbage to the controller.

#![no_std]
#![no_main]

mod garbage;

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rt::arrivals::{self, Leaving, PLENTY_MS};
use rt::host::{self, Outcome::*, State, Wish};
use rt::hotplug::{self, Event, Register, Status, command};
use rt::tap::Outcome;
use rt::{books, check_eq, crew, model, smp, time};

rt::kernel!(main);

fn main() {
    model::find();
    books::set_up();
    arrivals::connect();
    rt::tap::run(&[
        ("two CPUs count", two_count),
        ("a removal that the guest ignores is not honoured", ignores),
        ("a late answer is one", answers_late),
        ("a refusal ends the request at once", refuses),
        ("a CPU that nobody asked for goes", unasked),
        ("a CPU that was never started goes", unstarted),
        ("what cannot go stays", not_to_go),
        ("a CPU that ejects itself does nothing more", itself),
        ("garbage on all ports, from all CPUs", garbage::all),
        ("every count and every PMI is in the books", balance),
    ]);
}

const CPUS: usize = 4;
/// The one that this is about.
const CPU: usize = 1;

/// Time in which the guest could do it, and does not.
const SHORT_MS: u32 = 300;

fn two_count() -> Outcome {
    crew::open_books();
    smp::start_all()?;
    crew::hire(CPU, crew::count);
    counts_on()
}

/// As if nothing had been asked.
fn counts_on() -> Outcome {
    check_eq!(host::state(CPU)?, State::Running, "CPU {CPU} for the host");
    books::await_pmis(CPU, 2)?;
    books::await_pmis(0, 1)
}

fn remove(limit_ms: u32) -> Wish {
    Wish::Remove(host::id(CPU), limit_ms)
}

fn answered(wish: Wish, wanted: host::Outcome) -> Outcome {
    let answer = host::wait(wish)?;
    check_eq!(answer.outcome, wanted, "the answer to {wish:?}");
    Ok(())
}

fn ignores() -> Outcome {
    const ASKED: u8 = Status::PRESENT | Status::REMOVE;
    for wish in [remove(0), remove(SHORT_MS)] {
        arrivals::provoke(wish, CPU, Event::Removal)?;
        answered(wish, NotHonoured)?;
        check_eq!(hotplug::status(CPU).0, ASKED, "the status");
        counts_on()?;
    }
    // One that it hears of and forgets is no better.
    arrivals::provoke(remove(SHORT_MS), CPU, Event::Removal)?;
    hotplug::acknowledge(CPU, Event::Removal);
    answered(remove(SHORT_MS), NotHonoured)?;
    check_eq!(hotplug::status(CPU).0, Status::PRESENT, "the status");
    counts_on()
}

fn answers_late() -> Outcome {
    arrivals::give_back(CPU, Leaving::Tidy)?;
    comes_again()
}

/// After the guest has given it back.
fn comes_again() -> Outcome {
    host::await_state(CPU, State::Offline)?;
    arrivals::is_gone(CPU)?;
    host::expect(remove(PLENTY_MS), NotPresent)?;
    arrivals::one_comes(CPU, host::id(CPU))?;
    counts_on()
}

fn refuses() -> Outcome {
    for hears in [false, true] {
        // Far longer than the answer may take.
        arrivals::provoke(remove(PLENTY_MS), CPU, Event::Removal)?;
        if hears {
            hotplug::acknowledge(CPU, Event::Removal);
        }
        hotplug::refuse(CPU);
        answered(remove(PLENTY_MS), Refused)?;
        check_eq!(hotplug::status(CPU).0, Status::PRESENT, "the status");
        counts_on()?;
    }
    Ok(())
}

fn unasked() -> Outcome {
    for how in [Leaving::AtWork, Leaving::AllOn, Leaving::Tidy] {
        arrivals::give_back(CPU, how)?;
        comes_again()?;
    }
    Ok(())
}

fn unstarted() -> Outcome {
    const OTHER: usize = 2;
    let add = Wish::Add(host::id(OTHER));
    for _ in 0..2 {
        arrivals::provoke(add, OTHER, Event::Added)?;
        answered(add, Done)?;
        // Its coming is not even acknowledged.
        let remove = Wish::Remove(host::id(OTHER), PLENTY_MS);
        host::post(remove);
        let asked = time::wait_ms(10_000, || hotplug::status(OTHER).has(Status::REMOVE));
        rt::check!(asked, "the removal did not show within 10 s");
        hotplug::eject(OTHER);
        answered(remove, Done)?;
        check_eq!(host::state(OTHER)?, State::Offline, "CPU {OTHER}");
        check_eq!(hotplug::next_event(), None, "an event of what is gone");
    }
    Ok(())
}

fn not_to_go() -> Outcome {
    let statuses = || core::array::from_fn::<u8, CPUS, _>(|cpu| hotplug::status(cpu).0);
    let before = statuses();
    for cpu in [0, 2, 3, CPUS, 200, 254, 255] {
        hotplug::eject(cpu);
        hotplug::refuse(cpu);
    }
    // Nobody asked for it.
    hotplug::refuse(CPU);
    check_eq!(statuses(), before, "the CPUs' status");
    let states = [0, 2, 3].map(host::state);
    for (is, wanted) in states
        .into_iter()
        .zip([State::Running, State::Offline, State::Absent])
    {
        check_eq!(is?, wanted, "a CPU for the host");
    }
    counts_on()
}

static POKES: AtomicU64 = AtomicU64::new(0);

fn eject_and_go_on() -> Outcome {
    // Without the driver's lock, which it would never give back.
    hotplug::write(Register::Selector, CPU.to_le_bytes()[0]);
    hotplug::write(Register::Command, command::EJECT);
    loop {
        POKES.fetch_add(1, Relaxed);
        hotplug::write(Register::Selector, 0);
        hotplug::write(Register::Command, command::EJECT);
    }
}

fn itself() -> Outcome {
    crew::dismiss(CPU)?;
    smp::start(CPU, eject_and_go_on);
    host::await_state(CPU, State::Offline)?;
    let pokes = POKES.load(Relaxed);
    time::compute(500_000);
    check_eq!(POKES.load(Relaxed), pokes, "what it did once it was gone");
    comes_again()
}

fn balance() -> Outcome {
    let own = books::close();
    (1..CPUS).try_for_each(crew::dismiss)?;
    own
}
