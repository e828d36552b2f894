// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The host adds and removes vCPUs at random, and pauses the VM, while the guest starts them, counts
//! on them, takes their PMIs and gives them back in the middle of whatever they are doing.

#![no_std]
#![no_main]

use rt::arrivals::{self, PLENTY_MS};
use rt::host::{self, ANY, State, Wish};
use rt::hotplug::{self, Event};
use rt::random::Random;
use rt::tap::Outcome;
use rt::text::Text;
use rt::{books, check, check_eq, crew, diag, fail, model, smp, time};

rt::kernel!(main);

fn main() {
    model::find();
    books::set_up();
    arrivals::connect();
    rt::tap::run(&[
        ("CPUs come and go in the middle of everything", storm),
        ("the host and the guest agree on who is there", agreement),
        ("all CPUs that there can be come, and count", all_come),
        ("every count and every PMI is in the books", balance),
    ]);
}

const CPUS: usize = 4;
/// So many are to come and as many to go.
const CHANGES: u32 = 40;

/// The guest's view of the CPUs but the first.
struct Guest {
    hired: [bool; CPUS],
    random: Random,
    ejected: u32,
    refused: u32,
    ignored: u32,
}

impl Guest {
    /// Sees to all that the controller tells; from outside an interrupt handler, which has seen
    /// nothing but that something is to be seen to.
    fn serve(&mut self) -> Outcome {
        while let Some((cpu, event)) = hotplug::take_event() {
            check!(cpu < CPUS, "an event of CPU {cpu}");
            match event {
                Event::Added => self.start(cpu),
                Event::Removal => self.removal(cpu)?,
            }
        }
        for cpu in 1..CPUS {
            books::verdict(cpu)?;
            if !self.hired[cpu] && smp::is_online(cpu) {
                crew::hire(cpu, arrivals::newcomer);
                self.hired[cpu] = true;
            }
        }
        books::verdict(0)
    }

    /// Does not wait until it runs.
    fn start(&mut self, cpu: usize) {
        crew::forget(cpu);
        self.hired[cpu] = false;
        arrivals::expect_newcomer(cpu);
        smp::begin_start(cpu);
    }

    fn removal(&mut self, cpu: usize) -> Outcome {
        match self.random.below(8) {
            0 if self.hired[cpu] => {
                self.hired[cpu] = false;
                crew::dismiss(cpu)?;
                smp::stop_cpu(cpu)?;
                self.eject(cpu);
            }
            1 => {
                hotplug::refuse(cpu);
                self.refused += 1;
            }
            2 => self.ignored += 1,
            // Perhaps it is only just starting.
            _ => self.eject(cpu),
        }
        Ok(())
    }

    fn eject(&mut self, cpu: usize) {
        hotplug::eject(cpu);
        self.ejected += 1;
    }
}

fn storm() -> Outcome {
    crew::open_books();
    smp::start_all()?;
    let mut guest = Guest {
        hired: [false; CPUS],
        random: Random::new(time::tsc()),
        ejected: 0,
        refused: 0,
        ignored: 0,
    };
    arrivals::expect_newcomer(1);
    let wish = Wish::Storm(CHANGES);
    host::post(wish);
    let deadline = time::Deadline::after_ms(150_000);
    let answer = loop {
        guest.serve()?;
        if let Some(answer) = host::answer() {
            break answer;
        }
        check!(!deadline.is_over(), "the storm does not end");
    };
    // What it left behind.
    guest.serve()?;
    let Guest {
        ejected,
        refused,
        ignored,
        ..
    } = guest;
    let [came, went, faults] = answer.words;
    diag!("{came} came, {went} went; {ejected} ejected, {refused} refused, {ignored} ignored");
    for cpu in 0..CPUS {
        diag!("CPU {cpu}: {} PMIs", books::pmis_ever(cpu));
    }
    check_eq!(answer.outcome, host::Outcome::Done, "the storm");
    check_eq!(faults, 0, "requests that ended as none should");
    check!(
        came >= CHANGES && went >= CHANGES,
        "{came} came and {went} went, not {CHANGES}"
    );
    Ok(())
}

fn agreement() -> Outcome {
    for cpu in 0..CPUS {
        if hotplug::is_present(cpu) {
            host::await_state(cpu, State::Running)?;
        } else {
            let deadline = time::Deadline::after_ms(30_000);
            while !matches!(host::state(cpu)?, State::Offline | State::Absent) {
                check!(!deadline.is_over(), "CPU {cpu} does not go");
            }
        }
    }
    Ok(())
}

/// Those that are there may still be starting, or count; they all go, and come.
fn all_come() -> Outcome {
    for cpu in 1..CPUS {
        if hotplug::is_present(cpu) {
            let wish = Wish::Remove(host::id(cpu), PLENTY_MS);
            arrivals::provoke(wish, cpu, Event::Removal)?;
            hotplug::eject(cpu);
            let answer = host::wait(wish)?;
            check_eq!(
                answer.outcome,
                host::Outcome::Done,
                "the answer to {wish:?}"
            );
        }
        crew::forget(cpu);
    }
    for cpu in 1..CPUS {
        let which = |why: Text| Text::format(format_args!("CPU {cpu}: {why}"));
        arrivals::one_comes(cpu, ANY).map_err(which)?;
    }
    (0..CPUS).try_for_each(|cpu| books::await_pmis(cpu, 2))
}

fn balance() -> Outcome {
    let own = books::close();
    (1..CPUS).try_for_each(crew::dismiss)?;
    if hotplug::present().count() != CPUS {
        fail!("CPUs are missing");
    }
    own
}
