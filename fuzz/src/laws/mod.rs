// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What must hold, whatever is done. P01 and so on are the rules of `vpmu::registers`.
//!
//! This is no model of the PMU, but what can be said of it without one: books are kept of what was
//! counted, and each step is compared with what could be seen before it.

mod access;
mod entry;

use std::sync::Arc;

use vpmu::source::MAX_SLOTS;
use vpmu::vcpu::DEFAULT_MIN_REARM;
use vpmu::{CounterId, CounterState, EventFilter, MsrWrite, Nanos, PmiOutcome, PmuModel, Vendor};

use crate::expected::{self, CTR_FRZ, Register};
use crate::guest::{self, Pmu, Seen, Told, running};
use crate::input::{Answer, Op, Shape};

/// One counter since it was last written.
#[derive(Clone, Copy, Debug, Default)]
struct Book {
    /// What was shown then, and what was counted since.
    truth: u128,
    /// What was last shown of that.
    shown: u128,
}

/// The laws, and what they have to remember.
#[derive(Debug)]
pub struct Laws {
    model: PmuModel,
    filter: Option<Arc<EventFilter>>,
    books: [Book; MAX_SLOTS],
    /// As of the last step.
    seen: Seen,
    /// The counters for which STATUS_SET asked for a PMI that is still to come, by their bits.
    by_hand: u64,
    /// How often the sink worked, and how often it delivered, since the PMU was made.
    asked: u64,
    delivered: u64,
    /// The shortest time between two PMIs.
    min_rearm: Nanos,
    /// No PMI comes earlier, and what is due then comes (P19); `None` when that cannot be said.
    throttled: Option<Nanos>,
}

impl Laws {
    /// For a PMU with this filter and the usual re-arm interval, about to be used.
    pub fn new(pmu: &Pmu, filter: Option<Arc<EventFilter>>) -> Self {
        let seen = Seen::of(pmu);
        let stats = pmu.stats();
        let snapshot = pmu.clone().snapshot(Nanos(0));
        let asked = snapshot.counters.iter().filter(|counter| counter.pmi_asked);
        let mut books = [Book::default(); MAX_SLOTS];
        for held in &snapshot.counters {
            let counter = seen.counter(held.id);
            books[held.id.slot()] = Book {
                truth: counter.shown + u128::from(held.count) - u128::from(counter.value),
                shown: counter.shown,
            };
        }
        Self {
            model: pmu.model(),
            filter,
            books,
            seen,
            by_hand: asked.fold(0, |bits, counter| bits | expected::bit(counter.id)),
            asked: stats.pmis + stats.masked + stats.undeliverable,
            delivered: stats.pmis,
            min_rearm: DEFAULT_MIN_REARM,
            throttled: Some(snapshot.throttled_for),
        }
    }

    /// `op` is about to be done.
    pub fn before(&mut self, op: &Op) {
        match *op {
            Op::Count(slot, events) => self.counting(Some(slot), events),
            Op::CountAll(events) => self.counting(None, events),
            _ => {}
        }
    }

    /// `op` was done, at `now`.
    pub fn after(&mut self, pmu: &Pmu, now: Nanos, op: &Op, told: Told) {
        match (*op, told) {
            (Op::Write(msr, value), Told::Write(answer)) => self.wrote(pmu, msr, value, answer),
            (Op::Read(msr), Told::Read(answer)) => self.read(pmu, msr, answer),
            (Op::ReadPmc(index), Told::ReadPmc(answer)) => self.read_pmc(pmu, index, answer),
            (Op::Enter(answer), Told::Enter(entry, asked)) => {
                self.entered(pmu, now, answer, entry, asked);
            }
            (Op::Count(..) | Op::CountAll(_), Told::Nothing) => {
                let seen = Seen::of(pmu);
                self.hidden(&seen);
                self.look(pmu, seen);
            }
            (Op::Reset, Told::Nothing) => self.reset(pmu),
            (Op::MinRearm(time), Told::Nothing) => {
                self.min_rearm = time;
                // It holds for the PMI to come as well.
                self.throttled = None;
                self.idle(pmu);
            }
            (Op::Wait(_) | Op::Exit | Op::Move, Told::Nothing) => self.idle(pmu),
            (op, told) => panic!("{told:?} is no answer to {op:?}"),
        }
    }

    /// The shortest time between two PMIs, as it was last set.
    pub const fn min_rearm(&self) -> Nanos {
        self.min_rearm
    }

    /// Whether counts go to the counter.
    fn counts(&self, id: CounterId) -> bool {
        self.seen.wants(self.model.vendor(), id) && self.lets(id)
    }

    fn lets(&self, id: CounterId) -> bool {
        self.filter.as_ref().is_none_or(|filter| match id {
            CounterId::Gp(_) => filter.allows_select(self.model.vendor(), self.seen.asked(id)),
            CounterId::Fixed(i) => filter.allows_fixed(i),
        })
    }

    fn freeze_bit(&self) -> u64 {
        match self.model.kind().version() {
            Some(4..) => CTR_FRZ,
            _ => 0,
        }
    }

    /// So many events are about to happen, in this slot or in all.
    fn counting(&mut self, slot: Option<usize>, events: u64) {
        for id in expected::counters(self.model) {
            if slot.is_none_or(|slot| slot == id.slot()) && self.counts(id) {
                self.books[id.slot()].truth += u128::from(events);
            }
        }
    }

    /// Nothing that a guest sees may have happened.
    fn idle(&mut self, pmu: &Pmu) {
        let seen = Seen::of(pmu);
        assert_eq!(seen, self.seen, "something happened by itself");
    }

    /// Overflows with INT stay hidden until an entry (P14).
    fn hidden(&self, seen: &Seen) {
        let wrap = expected::wrap(self.model);
        for counter in seen.counters() {
            let id = counter.id;
            if seen.asked(id).interrupts() {
                let before = self.books[id.slot()].shown;
                assert_eq!(counter.shown / wrap, before / wrap, "P14: {id} wrapped");
                let bits = expected::bit(id) & (seen.status ^ self.seen.status);
                assert_eq!(bits, 0, "P14: the status bit of {id}");
            }
        }
    }

    /// The counters that run and have INT, by their bits.
    fn interrupting(&self) -> u64 {
        let mut bits = 0;
        for id in expected::counters(self.model) {
            if self.counts(id) && self.seen.asked(id).interrupts() {
                bits |= expected::bit(id);
            }
        }
        bits
    }

    /// After events, and after steps with laws of their own.
    fn look(&mut self, pmu: &Pmu, seen: Seen) {
        let wrap = expected::wrap(self.model);
        let before = core::mem::replace(&mut self.seen, seen);
        for counter in seen.counters() {
            let id = counter.id;
            let book = &self.books[id.slot()];
            let shown = counter.shown;
            assert!(u128::from(counter.value) < wrap, "{id} is wider than it is");
            assert!(shown >= book.shown, "P09: {id} went back");
            assert!(shown <= book.truth, "P09: {id} shows what was not counted");
            let held = u128::from(counter.value) == wrap - 1;
            assert!(held || shown == book.truth, "P09: {id} lost counts");
            assert_eq!(counter.select, seen.asked(id), "{id}'s select in the view");
            if !seen.enabled(id) {
                assert_eq!(counter.state, CounterState::Disabled, "P08: {id}");
            }
            if !before.enabled(id) && !seen.enabled(id) {
                assert_eq!(shown, book.shown, "P08: {id} moved though not enabled");
            }
            let counts = counter.state == CounterState::Counting;
            assert_eq!(
                counts,
                self.counts(id),
                "P08, P35: {id} is {:?}",
                counter.state
            );
            if !self.lets(id) && seen.wants(self.model.vendor(), id) {
                assert_eq!(counter.state, CounterState::Filtered, "P35: {id}");
            }
            // Found running without INT, it wants no PMI any more.
            if counts && !seen.asked(id).interrupts() {
                self.by_hand &= !expected::bit(id);
            }
            self.books[id.slot()].shown = shown;
        }
        let mine: u32 = seen
            .counters()
            .filter(|counter| counter.state == CounterState::Counting)
            .fold(0, |slots, counter| slots | 1 << counter.id.slot());
        let theirs = running(pmu).fold(0, |slots, slot| slots | 1 << slot);
        assert_eq!(mine, theirs, "the slots that run");
        assert_eq!(pmu.counting(), mine != 0, "P08");
    }

    /// The PMU was reset (P34).
    fn reset(&mut self, pmu: &Pmu) {
        let seen = Seen::of(pmu);
        let new = Seen::of(&guest::new(self.model));
        assert_eq!(seen.forgetful(), new.forgetful(), "P34");
        for counter in seen.counters() {
            let shown = counter.shown;
            self.books[counter.id.slot()] = Book {
                truth: shown,
                shown,
            };
        }
        self.by_hand = 0;
        self.look(pmu, seen);
    }

    /// The PMU went on as another one, `pmu` (P36).
    pub fn moved(&mut self, pmu: &Pmu) {
        let seen = Seen::of(pmu);
        assert_eq!(seen.forgetful(), self.seen.forgetful(), "P36");
        for counter in seen.counters() {
            let book = &mut self.books[counter.id.slot()];
            book.truth = book.truth - book.shown + counter.shown;
            book.shown = counter.shown;
        }
        self.asked = 0;
        self.delivered = 0;
        self.look(pmu, seen);
    }

    /// Whatever was held comes out once the guest lets it. For a PMU that is not used any more.
    pub fn nothing_is_lost(mut self, shape: &Shape, mut pmu: Pmu, now: Nanos) {
        let event = match self.model.vendor() {
            Vendor::Intel => 0x53_003C,
            Vendor::Amd => 0x53_0076,
        };
        let fields = expected::readable(self.model, Register::FixedControl) & 0xBBB;
        let thaw = self.freeze_bit();
        for (msr, register) in shape.registers() {
            let value = match register {
                Register::DebugControl => 0,
                Register::StatusClear => thaw,
                Register::Select(_) => event,
                Register::FixedControl => fields,
                Register::Control => expected::counter_bits(self.model),
                _ => continue,
            };
            assert_eq!(pmu.write_msr(msr, value), MsrWrite::Done);
        }
        pmu.set_min_rearm(Nanos(0));
        let answer = Answer::Outcome(PmiOutcome::Nmi);
        let told = guest::apply(&mut pmu, &mut now.clone(), &Op::Enter(answer));
        assert!(matches!(told, Told::Enter(Ok(_), _)), "P17: the sink works");
        self.seen = Seen::of(&pmu);
        for counter in self.seen.counters() {
            if self.counts(counter.id) {
                let truth = self.books[counter.id.slot()].truth;
                assert_eq!(counter.shown, truth, "P09: {} lost counts", counter.id);
            }
        }
    }
}
