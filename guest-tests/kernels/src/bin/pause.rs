// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The host pauses the VM again and again while all CPUs count towards overflows: counters stand
//! still meanwhile, no count is lost or comes twice, and a PMI that is due is taken once.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rt::apic::LVTPC;
use rt::host::{self, Wish};
use rt::msr::{read, write};
use rt::pmu::{self, select};
use rt::tap::Outcome;
use rt::trap::{self, TrapFrame, Verdict};
use rt::{books, check, check_eq, cpu, crew, diag, hotplug, model, smp, time};

rt::kernel!(main);

fn main() {
    model::find();
    books::set_up();
    trap::hook(OWN_VECTOR, on_own);
    rt::tap::run(&[
        ("four CPUs count towards overflows", all_count),
        ("500 pauses, and the counters stand still in each", pauses),
        ("a long pause has no cycles", no_cycles),
        ("pauses while CPUs are started", starts),
        ("every count and every PMI is in the books", balance),
        ("a PMI that waits for the guest is taken once", waiting_pmi),
    ]);
}

const CPUS: usize = 4;
const PAUSES: u64 = 500;

fn others() -> core::ops::Range<usize> {
    1..CPUS
}

fn all_count() -> Outcome {
    check_eq!(smp::start_all()?, CPUS, "CPUs");
    crew::open_books();
    others().for_each(|cpu| crew::hire(cpu, crew::count));
    for cpu in 0..CPUS {
        books::await_pmis(cpu, 1)?;
        host::grant(Wish::Watch(host::id(cpu)))?;
    }
    Ok(())
}

/// One pause, in which all watches stand still, and all CPUs.
fn pause(ms: u32) -> Outcome {
    let [same, moved, awake] = host::grant(Wish::Pause(ms))?;
    check_eq!(moved, 0, "watches that moved in a pause");
    check_eq!(awake, 0, "CPUs that were not paused");
    check_eq!(same as usize, CPUS, "watches");
    Ok(())
}

fn pauses() -> Outcome {
    let before: [u64; CPUS] = core::array::from_fn(books::pmis);
    for round in 1..=PAUSES {
        pause(0)?;
        // So that pauses meet PMIs, whatever else keeps the host busy.
        if round % 20 == 0 {
            (0..CPUS).try_for_each(|cpu| books::await_pmis(cpu, 1))?;
        }
    }
    for (cpu, before) in before.into_iter().enumerate() {
        books::verdict(cpu)?;
        diag!("CPU {cpu}: {} PMIs", books::pmis(cpu) - before);
    }
    Ok(())
}

fn no_cycles() -> Outcome {
    const PAUSE_MS: u32 = 200;
    for _ in 0..5 {
        let (start, before) = (time::tsc(), pmu::counter(1));
        pause(PAUSE_MS)?;
        let (cycles, passed) = (pmu::counter(1) - before, time::tsc() - start);
        let pause = time::ticks_ms(PAUSE_MS.into());
        check!(passed >= pause, "{passed} TSC ticks around {pause}");
        // Two per cent: see [`pmu::Measured::plausible`].
        check!(
            cycles <= passed - pause + passed / 50,
            "{cycles} cycles in {passed} TSC ticks, {pause} of them paused"
        );
    }
    Ok(())
}

fn starts() -> Outcome {
    const LAST: usize = CPUS - 1;
    for _ in 0..20 {
        crew::dismiss(LAST)?;
        smp::stop_cpu(LAST)?;
        host::post(Wish::Pause(1));
        let started = smp::start_cpu(LAST);
        let answer = host::wait(Wish::Pause(1))?;
        started?;
        check_eq!(answer.outcome, host::Outcome::Done, "the pause");
        check_eq!(answer.words, [4, 0, 0], "what stood still and what did not");
        crew::hire(LAST, crew::count);
        books::await_pmis(LAST, 1)?;
    }
    Ok(())
}

fn balance() -> Outcome {
    let own = books::close();
    others().try_for_each(crew::dismiss)?;
    own?;
    check!(hotplug::present().count() == CPUS, "CPUs are missing");
    Ok(())
}

/// Of a priority below all others here, so that nothing else is held up.
const OWN_VECTOR: u8 = 0x41;
static OWN_PMIS: AtomicU64 = AtomicU64::new(0);

fn on_own(_: &mut TrapFrame) -> Verdict {
    OWN_PMIS.fetch_add(1, Relaxed);
    Verdict::Resume
}

fn waiting_pmi() -> Outcome {
    for round in 1..=20 {
        pmu::reset();
        write(LVTPC, OWN_VECTOR.into());
        pmu::set_period(0, 10_000);
        // The PMI is on its way, and this CPU does not let it in.
        let held = cpu::without_interrupts(|| {
            pmu::set_select(0, select::CYCLES_INT);
            let due = time::wait_ms(10_000, || pmu::status() != 0);
            check!(due, "no overflow within 10 s");
            pause(0)?;
            pause(1)?;
            check_eq!(OWN_PMIS.load(Relaxed), round - 1, "PMIs too early");
            Ok(())
        });
        held?;
        let came = time::wait_ms(10_000, || OWN_PMIS.load(Relaxed) >= round);
        check!(came, "round {round}: the PMI did not come within 10 s");
        pause(0)?;
        check_eq!(OWN_PMIS.load(Relaxed), round, "PMIs");
        check!(read(LVTPC) & rt::apic::LVT_MASKED != 0, "LVTPC not masked");
    }
    pmu::reset();
    Ok(())
}
