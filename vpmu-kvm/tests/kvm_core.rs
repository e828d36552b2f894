// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The perf core beneath a real guest's PMU: events of the host share the vCPU with the guest's
//! counters.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use vcpu_call::{Park, VcpuId};
use vpmu::context::{Attr, Event, HostThread, Open, PerfObserver, Record, Step, Target};
use vpmu::source::MAX_SLOTS;
use vpmu::{
    CounterId, CounterState, EventConfig, EventSelect, MsrId, MsrWrite, PmuModel, PmuObserver,
};
use vpmu_kvm::{Exit, Handled, PerfCore, VcpuPmuKvm, kick};

mod real_mode;
mod watchdog;

use real_mode::{SPIN, with_pmu, wrmsr};
use watchdog::Watchdog;

const MODEL: PmuModel = PmuModel::INTEL_V2;
const VCPU: VcpuId = VcpuId(0);

/// Long past the moment at which whatever is waited for has happened.
const LONG: Duration = Duration::from_secs(20);

/// What the host's end of a test has.
struct Host<'a> {
    core: &'a PerfCore,
    me: HostThread,
}

impl Host<'_> {
    fn open(&mut self) -> Event {
        let cycles = EventConfig::everywhere(vpmu::Event::CoreCycles);
        let open = Open::new(Attr::counting(cycles), Target::Vcpu(VCPU));
        self.core.perf().open(&open, &mut self.me).unwrap()
    }

    fn count(&mut self, event: &Event) -> u64 {
        let reading = self.core.perf().read(event, &mut self.me).unwrap();
        reading.map_or(0, |reading| reading.count)
    }

    /// Reads until the event counted more than `than`; what it did.
    fn counts_past(&mut self, event: &Event, than: u64) -> u64 {
        let start = Instant::now();
        loop {
            let count = self.count(event);
            if count > than {
                return count;
            }
            assert!(start.elapsed() < LONG, "it counts {count} and no more");
        }
    }
}

/// Runs its function however the test ends: no thread is left that nobody stops.
struct AtEnd<F: Fn()>(F);

impl<F: Fn()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Runs a guest on the perf core, and `host` beside it once the guest has programmed what `code`
/// programs; in the end what the guest's counter 0 has, and what that is doing.
fn run(code: &[u8], writes: usize, host: impl FnOnce(Host<'_>)) -> (u64, CounterState) {
    let _watchdog = Watchdog::new();
    let core = PerfCore::new(1);
    let stop = AtomicBool::new(false);
    let (running, ready) = mpsc::channel();
    let (kicker, kickers) = mpsc::channel();
    thread::scope(|threads| {
        let vcpu = threads.spawn(|| {
            let mut guest = with_pmu(code, Some(MODEL));
            let options = guest.options(MODEL);
            let guard = kick::bind(&mut guest.vcpu).unwrap();
            kicker.send(guard.kicker()).unwrap();
            let source = core.bind(VCPU, &guard, options.tsc_khz).unwrap();
            let mut pmu =
                VcpuPmuKvm::with_source(guest.vm.clone(), &guard, &options, source).unwrap();
            let mut written = 0;
            if writes == 0 {
                running.send(()).unwrap();
            }
            loop {
                guard.clear();
                if stop.load(Ordering::SeqCst) {
                    let counter = pmu.registers().counters().next().unwrap();
                    return (counter.value, counter.state);
                }
                match pmu.run(&mut guest.vcpu, &guest.ram).unwrap() {
                    Exit::Handled(Handled::WriteMsr) => {
                        written += 1;
                        if written == writes {
                            running.send(()).unwrap();
                        }
                    }
                    Exit::Handled(_) | Exit::Kicked => {}
                    other => panic!("{other:?}"),
                }
            }
        });
        let kicker = kickers.recv_timeout(LONG).unwrap();
        let end = AtEnd(|| {
            stop.store(true, Ordering::SeqCst);
            kicker.kick().unwrap();
        });
        ready.recv_timeout(LONG).unwrap();
        let me = core.host_thread();
        host(Host { core: &core, me });
        drop(end);
        vcpu.join().unwrap()
    })
}

/// Cycles in user and kernel mode, enabled, on counter 0; then spin.
fn counting() -> Vec<u8> {
    [&wrmsr(0x186, 0x43_003c)[..], SPIN].concat()
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn an_event_of_the_host_counts_beside_the_guests_counter() {
    let mut counted = 0;
    let (value, state) = run(&counting(), 1, |mut host| {
        let event = host.open();
        let first = host.counts_past(&event, 0);
        counted = host.counts_past(&event, first);
    });
    assert_eq!(state, CounterState::Counting);
    // The same clock, and the guest's counter was there first.
    assert!(value > counted, "{value} and {counted}");
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn an_event_of_the_host_counts_in_a_guest_that_counts_nothing() {
    let (value, state) = run(SPIN, 0, |mut host| {
        let event = host.open();
        let first = host.counts_past(&event, 0);
        host.counts_past(&event, first);
    });
    assert_eq!((value, state), (0, CounterState::Disabled));
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn events_that_wait_for_a_counter_take_turns_and_the_guests_counter_never_does() {
    let mut counted = 0;
    let (value, state) = run(&counting(), 1, |mut host| {
        // With the guest's own these are three more than there are counters.
        let events: Vec<_> = (0..MAX_SLOTS + 2).map(|_| host.open()).collect();
        for event in &events {
            counted = counted.max(host.counts_past(event, 0));
        }
        // Some had to wait for that, so not all can have counted all the time.
        let counts: Vec<_> = events.iter().map(|event| host.count(event)).collect();
        assert!(counts.iter().min() < counts.iter().max(), "{counts:?}");
    });
    assert_eq!(state, CounterState::Counting);
    assert!(value > counted, "{value} and {counted}");
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn a_vcpu_that_waits_outside_its_guest_answers() {
    let _watchdog = Watchdog::new();
    let core = PerfCore::new(1);
    let done = AtomicBool::new(false);
    let (bound, ready) = mpsc::channel();
    thread::scope(|threads| {
        threads.spawn(|| {
            let mut guest = with_pmu(SPIN, Some(MODEL));
            let options = guest.options(MODEL);
            let guard = kick::bind(&mut guest.vcpu).unwrap();
            let source = core.bind(VCPU, &guard, options.tsc_khz).unwrap();
            let mut pmu =
                VcpuPmuKvm::with_source(guest.vm.clone(), &guard, &options, source).unwrap();
            bound.send(pmu.waker()).unwrap();
            while !done.load(Ordering::SeqCst) {
                pmu.park();
            }
        });
        let waker = ready.recv_timeout(LONG).unwrap();
        let _end = AtEnd(|| {
            done.store(true, Ordering::SeqCst);
            waker.wake();
        });
        let me = core.host_thread();
        let mut host = Host { core: &core, me };
        let event = host.open();
        assert_eq!(host.count(&event), 0);
    });
}

/// How many events were opened.
#[derive(Default)]
struct Opened(AtomicUsize);

impl PerfObserver for Opened {
    fn record(&self, record: &Record) {
        if record.step == Step::Open {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What is not counted.
#[derive(Default)]
struct Warned(Vec<EventSelect>);

impl PmuObserver for Warned {
    fn not_counted(&mut self, _counter: CounterId, select: EventSelect) {
        self.0.push(select);
    }
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn core_and_registers_are_watched() {
    let _watchdog = Watchdog::new();
    let core = PerfCore::with_observer(1, Opened::default());
    let mut guest = with_pmu(SPIN, Some(MODEL));
    let options = guest.options(MODEL);
    let guard = kick::bind(&mut guest.vcpu).unwrap();
    let source = core.bind(VCPU, &guard, options.tsc_khz).unwrap();
    let mut pmu = VcpuPmuKvm::with_source_and_observer(
        guest.vm.clone(),
        &guard,
        &options,
        source,
        Warned::default(),
    )
    .unwrap();
    let cycles = EventConfig::everywhere(vpmu::Event::CoreCycles);
    let open = Open::new(Attr::counting(cycles), Target::Vcpu(VCPU));
    let me = pmu.registers().source_mut();
    let _event = core.perf().open(&open, me).unwrap();
    assert_eq!(core.perf().observer().0.load(Ordering::Relaxed), 1);

    // Instructions, which no clock counts.
    let written = pmu.registers().write_msr(MsrId(0x186), 0x43_00c0);
    assert_eq!(written, MsrWrite::Done);
    let warned = &pmu.registers().observer().0;
    assert_eq!(warned[..], [EventSelect(0x43_00c0)]);
}
