// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Every CPU has a PMU of its own.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rt::apic::{LVTPC, PmiDelivery};
use rt::msr::{read, write};
use rt::pmu::{self, ALL, COUNTERS, counter, select, set_counter, set_select};
use rt::smp::{self, Meeting};
use rt::sync::PerCpu;
use rt::tap::Outcome;
use rt::text::Text;
use rt::trap::{self, Verdict, vector};
use rt::{MAX_CPUS, check, check_eq, cpu, diag, time};

rt::kernel!(main);

fn main() {
    rt::tap::run(&[
        ("there is more than one CPU", several_cpus),
        ("the same MSR holds each CPU's own value", own_values),
        ("a counter is enabled on one CPU only", enabled_on_one),
        (
            "a counter does not move for another CPU's work",
            others_work,
        ),
        ("all CPUs count at once", all_at_once),
        (
            "one CPU starts and stops while another counts on",
            start_and_stop,
        ),
        ("an overflow shows on its own CPU only", own_overflow),
        ("a PMI arrives on its own CPU only", own_pmi),
    ]);
}

static MEETING: Meeting = Meeting::new();

fn meet() -> Outcome {
    MEETING.wait(cpu::count())
}

fn several_cpus() -> Outcome {
    let count = smp::start_all()?;
    check!(count >= 2, "only {count}: this kernel wants two");
    smp::on_each(|| {
        pmu::reset();
        Ok(())
    })
}

fn own_values() -> Outcome {
    smp::together(|| {
        let own = (cpu::current() as u64 + 1) * 1_000;
        for n in 0..COUNTERS {
            set_counter(n, own + u64::from(n));
            // Pin control changes nothing that counts.
            set_select(n, (own & 0xff) << 8 | u64::from(n));
        }
        pmu::set_global(own & ALL);
        meet()?;
        for n in 0..COUNTERS {
            check_eq!(counter(n), own + u64::from(n), "counter {n}");
            let select = (own & 0xff) << 8 | u64::from(n);
            check_eq!(read(pmu::PERFEVTSEL0 + n), select, "event select {n}");
        }
        check_eq!(read(pmu::GLOBAL_CTRL), own & ALL, "GLOBAL_CTRL");
        pmu::reset();
        Ok(())
    })
}

fn enabled_on_one() -> Outcome {
    for which in 0..cpu::count() {
        ENABLED.store(which as u64, Relaxed);
        smp::together(|| {
            pmu::reset();
            let own = ENABLED.load(Relaxed) == cpu::current() as u64;
            if own {
                set_select(0, select::CYCLES);
            }
            time::busy(time::ticks_ms(3));
            check_eq!(counter(0) != 0, own, "whether the counter moved");
            pmu::reset();
            Ok(())
        })?;
    }
    Ok(())
}

static ENABLED: AtomicU64 = AtomicU64::new(0);
static COUNTS: PerCpu<AtomicU64> = PerCpu([const { AtomicU64::new(0) }; MAX_CPUS]);

fn start_counting() -> Outcome {
    pmu::reset();
    set_select(0, select::CYCLES);
    Ok(())
}

fn note_count() -> Outcome {
    COUNTS.store(counter(0), Relaxed);
    pmu::reset();
    Ok(())
}

/// How long to look for a try that shows it: what the host takes away counts as well.
const PATIENCE_MS: u64 = 30_000;

fn others_work() -> Outcome {
    // The first call measures the timer.
    rt::apic::halt_for(1);
    in_one_try("CPU 1 halted, CPU 0 busy", || {
        smp::run_on(1, start_counting)?;
        start_counting()?;
        time::busy(time::ticks_ms(200));
        note_count()?;
        smp::run_on(1, note_count)?;
        Ok((COUNTS[1].load(Relaxed), COUNTS[0].load(Relaxed)))
    })?;
    in_one_try("CPU 0 halted, CPU 1 busy", || {
        smp::start(1, || {
            start_counting()?;
            time::busy(time::ticks_ms(200));
            note_count()
        });
        start_counting()?;
        rt::apic::halt_for(time::ticks_ms(200));
        note_count()?;
        smp::finish(1)?;
        Ok((COUNTS[0].load(Relaxed), COUNTS[1].load(Relaxed)))
    })
}

/// In some try the halted CPU counts less than a third of what the busy one does.
fn in_one_try(what: &str, count: impl Fn() -> Result<(u64, u64), Text>) -> Outcome {
    let deadline = time::Deadline::after_ms(PATIENCE_MS);
    loop {
        let (halted, busy) = count()?;
        diag!("{what}: {halted} and {busy} cycles");
        if halted * 3 < busy {
            return Ok(());
        }
        check!(!deadline.is_over(), "{what}: {halted} and {busy} cycles");
    }
}

fn all_at_once() -> Outcome {
    smp::together(|| {
        meet()?;
        let measured = pmu::measure(|| {
            time::busy(time::ticks_ms(100));
        });
        diag!("CPU {}: {measured:?}", cpu::current());
        measured.plausible()?;
        // A tenth: the host may have far fewer CPUs free than the guest has.
        check!(
            measured.cycles * 10 > measured.inside,
            "{} cycles in {} TSC ticks",
            measured.cycles,
            measured.inside
        );
        Ok(())
    })
}

static STOP: AtomicBool = AtomicBool::new(false);

fn start_and_stop() -> Outcome {
    STOP.store(false, Relaxed);
    smp::start(1, || {
        start_counting()?;
        let mut last = counter(0);
        while !STOP.load(Relaxed) {
            time::busy(time::ticks_ms(1));
            let now = counter(0);
            check!(now > last, "{now} after {last}: stopped by the other CPU?");
            last = now;
        }
        pmu::reset();
        Ok(())
    });
    for round in 0..20 {
        pmu::reset();
        set_select(0, select::CYCLES);
        time::busy(time::ticks_ms(1));
        set_select(0, 0);
        let stopped = counter(0);
        time::busy(time::ticks_ms(1));
        let now = counter(0);
        if stopped == 0 || stopped != now {
            STOP.store(true, Relaxed);
            smp::finish(1)?;
            rt::fail!("round {round}: counted {stopped}, after the stop {now}");
        }
    }
    STOP.store(true, Relaxed);
    smp::finish(1)
}

fn own_overflow() -> Outcome {
    for which in 0..cpu::count() {
        ENABLED.store(which as u64, Relaxed);
        smp::together(|| {
            pmu::reset();
            meet()?;
            let own = ENABLED.load(Relaxed) == cpu::current() as u64;
            if own {
                pmu::set_period(2, 1000);
                set_select(2, select::CYCLES);
                let done = time::wait_ms(5_000, || pmu::status() != 0);
                check!(done, "no overflow within 5 s");
            }
            meet()?;
            check_eq!(pmu::status(), if own { 1 << 2 } else { 0 }, "GLOBAL_STATUS");
            pmu::reset();
            Ok(())
        })?;
    }
    Ok(())
}

static PMIS: PerCpu<AtomicU64> = PerCpu([const { AtomicU64::new(0) }; MAX_CPUS]);

fn own_pmi() -> Outcome {
    let on_pmi = |_: &mut _| {
        PMIS.fetch_add(1, Relaxed);
        Verdict::Resume
    };
    trap::hook(vector::PMI, on_pmi);
    trap::hook(vector::NMI, on_pmi);
    for which in 0..cpu::count() {
        PMIS.0.iter().for_each(|pmis| pmis.store(0, Relaxed));
        ENABLED.store(which as u64, Relaxed);
        smp::together(|| {
            pmu::reset();
            let own = ENABLED.load(Relaxed) == cpu::current() as u64;
            let how = if cpu::current() == 0 {
                PmiDelivery::Vector
            } else {
                PmiDelivery::Nmi
            };
            write(LVTPC, how.lvtpc());
            meet()?;
            if own {
                pmu::set_period(0, 1000);
                set_select(0, select::CYCLES_INT);
                let done = time::wait_ms(5_000, || PMIS.load(Relaxed) != 0);
                check!(done, "no PMI within 5 s");
            }
            meet()?;
            time::busy(time::ticks_ms(2));
            check_eq!(PMIS.load(Relaxed), u64::from(own), "PMIs");
            pmu::reset();
            Ok(())
        })?;
    }
    Ok(())
}
