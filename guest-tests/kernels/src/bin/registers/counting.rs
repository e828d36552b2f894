// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What makes a counter move, and what does not.

use rt::counter::{self, CTR_FRZ, Counter, EN, FIXED_ALL};
use rt::model::{model, msr};
use rt::msr::{read, write};
use rt::tap::Outcome;
use rt::{check, check_eq, fail, time};

/// A counter that runs moves within this time, whatever else the host does.
const PATIENCE_MS: u64 = 20_000;

/// The counter runs.
pub(crate) fn moves(counter: Counter) -> Outcome {
    let before = counter.get();
    let moved = time::wait_ms(PATIENCE_MS, || counter.get() != before);
    check!(moved, "{counter} stands still at {before:#x}");
    Ok(())
}

/// The counter stands still.
pub(crate) fn stands(counter: Counter) -> Outcome {
    let before = counter.get();
    time::busy(time::ticks_ms(1));
    check_eq!(counter.get(), before, "{counter} moves: its value");
    Ok(())
}

pub(crate) fn by_enable_bit() -> Outcome {
    counter::reset();
    for counter in counter::counting() {
        stands(counter)?;
        counter.start(false);
        moves(counter)?;
        for other in counter::all().filter(|&other| other != counter) {
            check_eq!(other.get(), 0, "{other}, while {counter} ran");
        }
        counter.stop();
        stands(counter)?;
        counter.set(0);
    }
    counter::reset();
    Ok(())
}

pub(crate) fn by_global_control() -> Outcome {
    counter::reset();
    counter::set_control(0);
    counter::counting().for_each(|counter| counter.start(false));
    time::busy(time::ticks_ms(1));
    for counter in counter::counting() {
        check_eq!(counter.get(), 0, "{counter}, globally disabled");
    }
    for counter in counter::counting() {
        counter::set_control(counter.bit());
        moves(counter)?;
        counter::set_control(0);
        for other in counter::counting().filter(|&other| other != counter) {
            check_eq!(other.get(), 0, "{other}, while {counter} was enabled");
        }
        counter.set(0);
    }
    counter::reset();
    Ok(())
}

pub(crate) fn fixed() -> Outcome {
    counter::reset();
    for counter in counter::all() {
        let Counter::Fixed(i) = counter else { continue };
        counter.set(1_000);
        counter.start(false);
        if model().counts_fixed(i) {
            moves(counter)?;
            check!(counter.get() > 1_000, "{counter} went back");
        } else {
            stands(counter)?;
            check_eq!(counter.get(), 1_000, "{counter}, which cannot count");
        }
        counter.stop();
        // The host's clock knows no privilege levels.
        for field in [0b01, 0b10] {
            write(msr::FIXED_CTR_CTRL, field << (4 * i));
            check_eq!(read(msr::FIXED_CTR_CTRL), field << (4 * i), "its field");
            stands(counter)?;
        }
        write(msr::FIXED_CTR_CTRL, FIXED_ALL << (4 * i));
        counter::set_control(0);
        stands(counter)?;
        counter::reset();
    }
    Ok(())
}

pub(crate) fn not_counted() -> Outcome {
    const USR: u64 = 1 << 16;
    const OS: u64 = 1 << 17;
    let cycles = model().cycles();
    let cases = [
        ("instructions", 0xc0 | USR | OS),
        ("an unknown event", 0xfefe | USR | OS),
        ("edges", cycles | 1 << 18),
        ("a counter mask", cycles | 1 << 24),
        ("an inverted counter mask", cycles | 1 << 24 | 1 << 23),
        ("user code only", cycles & !OS),
        ("kernel code only", cycles & !USR),
        ("no privilege level", cycles & !(USR | OS)),
    ];
    let counter = Counter::Gp(model().counters - 1);
    let select = model().select(model().counters - 1);
    for (what, value) in cases {
        counter::reset();
        counter.set_period(1);
        write(select, value | EN);
        check_eq!(read(select), value | EN, "the event select for {what}");
        stands(counter)?;
        check!(!counter.has_wrapped(), "{counter} counts {what}");
        check_eq!(counter::status(), 0, "the status for {what}");
        // The same counter still counts what it can.
        counter.set(0);
        counter.start(false);
        moves(counter)?;
    }
    counter::reset();
    Ok(())
}

pub(crate) fn extra_bits() -> Outcome {
    // Pin control; on AMD's, GuestOnly and HostOnly, which do nothing where there is no SVM.
    let bits: &[u64] = if model().is_amd() {
        &[1 << 40, 1 << 41, 1 << 40 | 1 << 41]
    } else {
        &[1 << 19]
    };
    for &bits in bits {
        counter::reset();
        write(model().select(0), model().cycles() | EN | bits);
        moves(Counter::Gp(0))?;
        let kept = read(model().select(0));
        check_eq!(kept, model().cycles() | EN | bits, "the event select");
    }
    counter::reset();
    Ok(())
}

pub(crate) fn frozen_by_hand() -> Outcome {
    let Some((globals, set)) = model().globals().and_then(|g| Some((g, g.set?))) else {
        fail!("this model has no status set register");
    };
    counter::reset();
    counter::counting().for_each(|counter| counter.start(false));
    write(set, CTR_FRZ);
    check_eq!(counter::status(), CTR_FRZ, "the status");
    check_eq!(
        read(globals.control),
        model().all_bits(),
        "the global control"
    );
    counter::counting().try_for_each(stands)?;
    // A status bit of a counter that is cleared changes nothing about that.
    write(globals.clear, model().all_bits());
    counter::counting().try_for_each(stands)?;
    write(globals.clear, CTR_FRZ);
    check_eq!(counter::status(), 0, "the status after the clear");
    counter::counting().try_for_each(moves)?;
    counter::reset();
    Ok(())
}
