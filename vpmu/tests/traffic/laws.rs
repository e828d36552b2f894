// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Laws that need no model: only what the guest sees, what the source was told, and the answers of
//! the local APIC.

use vpmu::source::script::ScriptSource;
use vpmu::{Entry, MsrId, MsrRead, MsrWrite, Nanos, PmiOutcome, VcpuPmu};

use crate::script::{Answer, Apic, CONTROL, PMC, SELECT, STATUS, Step, apply, pmu, supported};

const WRAP: u128 = 1 << 48;

fn read(pmu: &mut VcpuPmu<ScriptSource>, msr: u32) -> u64 {
    match pmu.read_msr(MsrId(msr)) {
        MsrRead::Value(value) => value,
        other => panic!("RDMSR of {msr:#x} gave {other:?}"),
    }
}

/// What the guest and the statistics show of a counter, as one number that never falls.
fn shown(pmu: &mut VcpuPmu<ScriptSource>, n: usize) -> u128 {
    let value = read(pmu, PMC + u32::try_from(n).expect("few"));
    let overflows = pmu
        .stats()
        .counters()
        .nth(n)
        .map(|(_, stats)| stats.overflows);
    u128::from(value) + WRAP * u128::from(overflows.expect("it is there"))
}

fn enabled(pmu: &mut VcpuPmu<ScriptSource>, n: usize) -> bool {
    let select = read(pmu, SELECT + u32::try_from(n).expect("few"));
    select >> 22 & 1 == 1 && read(pmu, CONTROL) >> n & 1 == 1
}

/// How many counts `step` feeds to counter `n`.
fn fed(pmu: &VcpuPmu<ScriptSource>, step: &Step, n: usize) -> u64 {
    let counts = match *step {
        Step::Count(counts) => counts,
        Step::CountSlot(slot, counts) if slot == n => counts,
        _ => 0,
    };
    if pmu
        .source()
        .running(n)
        .is_some_and(|config| supported(&config))
    {
        counts
    } else {
        0
    }
}

/// A counter's books since it was last written.
#[derive(Clone, Copy, Default)]
struct Book {
    /// What was shown right after the write.
    start: u128,
    fed: u128,
    last: u128,
}

pub(crate) fn check(steps: &[Step]) {
    let mut pmu = pmu();
    let mut now = 0;
    let mut books = [Book::default(); 4];
    let mut delivered = 0;
    let mut asked = 0;
    for step in steps {
        let before = pmu.clone();
        match *step {
            Step::Enter(answer) => {
                let outcome = enter(&mut pmu, &before, now, answer);
                asked += u64::from(outcome.is_some());
                delivered += u64::from(outcome.is_some_and(PmiOutcome::delivered));
            }
            Step::Write(msr @ 0xC1..=0xC4, value) => {
                assert_eq!(pmu.write_msr(MsrId(msr), value), MsrWrite::Done);
                let n = (msr - PMC) as usize;
                let start = shown(&mut pmu.clone(), n);
                books[n] = Book {
                    start,
                    fed: 0,
                    last: start,
                };
            }
            _ => {
                for (n, book) in books.iter_mut().enumerate() {
                    book.fed += u128::from(fed(&pmu, step, n));
                }
                apply(&mut pmu, &mut now, step);
            }
        }
        let mut copy = pmu.clone();
        for (n, book) in books.iter_mut().enumerate() {
            let shown = shown(&mut copy, n);
            let truth = book.start + book.fed;
            assert!(shown >= book.last, "P09: counter {n} went back at {step:?}");
            assert!(
                shown <= truth,
                "P09: counter {n} shows more than was counted at {step:?}"
            );
            let held = shown % WRAP == WRAP - 1;
            assert!(
                held || shown == truth,
                "P09: counter {n} lost counts at {step:?}"
            );
            if !enabled(&mut copy, n) {
                assert_eq!(
                    shown, book.last,
                    "P08: disabled counter {n} moved at {step:?}"
                );
            }
            book.last = shown;
        }
    }
    let stats = *pmu.stats();
    assert_eq!(stats.pmis, delivered);
    assert_eq!(stats.pmis + stats.masked + stats.undeliverable, asked);
    assert!(asked <= stats.overflows, "more PMIs than overflows");
    nothing_is_lost(pmu, &books, now);
}

/// Returns what the sink did, if it was asked and worked.
fn enter(
    pmu: &mut VcpuPmu<ScriptSource>,
    before: &VcpuPmu<ScriptSource>,
    now: u64,
    answer: Answer,
) -> Option<PmiOutcome> {
    // Entering an untouched PMU and one that was just read must be the same.
    let mut before = before.clone();
    let state = |pmu: &mut VcpuPmu<ScriptSource>| {
        let status = read(pmu, STATUS);
        (status, [0, 1, 2, 3].map(|n| shown(pmu, n)))
    };
    let was = state(&mut before);
    let interrupting = (0..4).any(|n| {
        let select = read(&mut before, SELECT + u32::try_from(n).expect("few"));
        select >> 20 & 1 == 1 && enabled(&mut before, n)
    });
    let counting = pmu.counting();
    let mut apic = Apic { answer, asked: 0 };
    let entry = pmu.enter_guest(Nanos(now), &mut apic);
    assert!(
        counting || entry == Ok(Entry::default()),
        "P08: an entry without a running counter"
    );
    let is = state(&mut pmu.clone());
    assert!(apic.asked <= 1, "P14: one PMI for all");
    if apic.asked == 1 {
        assert!(
            interrupting,
            "P15: a PMI although nothing with INT is enabled"
        );
    }
    let outcome = entry.ok().and_then(|entry| entry.pmi);
    if outcome.is_some() {
        let overflowed = (0..4)
            .filter(|&n| is.1[n] > was.1[n])
            .fold(0, |bits, n| bits | 1 << n);
        assert!(overflowed != 0, "P14: a PMI without overflow");
        assert_eq!(
            is.0,
            was.0 | overflowed,
            "P14: status and value change together"
        );
    } else {
        assert_eq!(is, was, "P14: nothing becomes visible without a PMI");
    }
    outcome
}

/// Whatever was held comes out once the guest lets it.
fn nothing_is_lost(mut pmu: VcpuPmu<ScriptSource>, books: &[Book; 4], now: u64) {
    pmu.set_min_rearm(Nanos(0));
    assert_eq!(pmu.write_msr(MsrId(CONTROL), 0xF), MsrWrite::Done);
    for n in 0..4 {
        assert_eq!(pmu.write_msr(MsrId(SELECT + n), 0x53_003C), MsrWrite::Done);
    }
    let mut apic = Apic {
        answer: Answer::Sink(PmiOutcome::Nmi),
        asked: 0,
    };
    pmu.enter_guest(Nanos(now), &mut apic)
        .expect("the APIC works");
    for (n, book) in books.iter().enumerate() {
        assert_eq!(shown(&mut pmu, n), book.start + book.fed, "counter {n}");
    }
}
