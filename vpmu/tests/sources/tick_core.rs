// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Ticks through the perf core: every `period`th tick overflows, and its trap comes with that tick's
//! address before anything else happens.

use vcpu_call::{Calls, VcpuId};
use vpmu::context::{Attr, Event, Open, Perf, PerfConfig, Sample, Target, Task, VcpuThread};
use vpmu::source::script::ScriptSource;
use vpmu::source::tick::TickSource;
use vpmu::{EventConfig, Nanos};

type Thread = VcpuThread<TickSource<ScriptSource>, fn() -> Nanos>;

const TICKS: EventConfig = EventConfig::everywhere(vpmu::Event::PortTick);

/// One vCPU with a task in it, at a time that stands still.
struct Guest {
    perf: Perf<fn() -> Nanos>,
    vcpu: Thread,
    task: Task,
}

impl Guest {
    fn new() -> Self {
        let clock: fn() -> Nanos = || Nanos(0);
        let perf = Perf::new(PerfConfig::new(1), clock);
        let source = TickSource::new(ScriptSource::new());
        let cpu = perf.cpu(VcpuId(0), source).unwrap();
        let mail = Calls::new(1, |_| ()).vcpu(VcpuId(0)).unwrap();
        let mut vcpu = VcpuThread::new(cpu, mail);
        vcpu.online().unwrap();
        let task = perf.create_task(VcpuId(0)).unwrap();
        let switched =
            vcpu.cpu_mut()
                .switch(None, vpmu::context::Leaves::Queued, Some(task.clone()));
        switched.unwrap();
        Self { perf, vcpu, task }
    }

    fn open(&mut self, config: EventConfig, period: u64, data: u64) -> Event {
        let attr = Attr {
            sigtrap: Some(data),
            remove_on_exec: true,
            ..Attr::sampling(config, period)
        };
        let open = Open::new(attr, Target::Task(&self.task));
        self.perf.open(&open, &mut self.vcpu).unwrap()
    }

    /// A store to `addr`, and all that the vCPU does until it is back in user mode: the data and the
    /// address of each trap.
    fn store(&mut self, addr: u64, user: bool) -> Vec<(u64, u64)> {
        let cpu = self.vcpu.cpu_mut();
        cpu.source_mut().inner_mut().count(1_000);
        cpu.count(None);
        cpu.source_mut().tick(user);
        cpu.count(Some(Sample { addr, user }));
        cpu.irq_work();
        let mut traps = Vec::new();
        while let Some(trap) = cpu.return_to_user() {
            traps.push((trap.data, trap.addr));
            cpu.trap_done().unwrap();
        }
        cpu.arm();
        traps
    }

    fn status(&self, event: &Event) -> vpmu::context::Status {
        self.perf.status(event).unwrap()
    }
}

#[test]
fn every_nth_tick_traps_with_its_own_address() {
    for period in [1, 2, 3, 7, 50] {
        let mut guest = Guest::new();
        let event = guest.open(TICKS, period, 42);
        for tick in 1..=200 {
            let addr = 0xFEB0_0000 + 8 * (tick % 512);
            let traps = guest.store(addr, tick % 2 == 0);
            let expected = if tick % period == 0 {
                vec![(42, addr)]
            } else {
                vec![]
            };
            assert_eq!(traps, expected, "tick {tick} of period {period}");
            assert_eq!(guest.status(&event).overflows, tick / period);
        }
        let status = guest.status(&event);
        assert_eq!(status.throttled, 0);
        assert_eq!(
            (status.traps.queued, status.traps.sent),
            (200 / period, 200 / period)
        );
        assert_eq!((status.traps.merged, status.traps.refused), (0, 0));
        let reading = guest.perf.read(&event, &mut guest.vcpu).unwrap();
        assert_eq!(reading.unwrap().count, 200);
    }
}

#[test]
fn a_level_that_is_excluded_neither_counts_nor_overflows() {
    let mut guest = Guest::new();
    let user = EventConfig { os: false, ..TICKS };
    let event = guest.open(user, 2, 1);
    let stores = [true, false, false, true, false, true, true];
    let traps = stores.map(|user| guest.store(0x1000, user).len());
    assert_eq!(traps, [0, 0, 0, 1, 0, 0, 1]);
    assert_eq!(guest.status(&event).overflows, 2);
}

#[test]
fn a_limit_ends_it_at_that_very_tick() {
    let mut guest = Guest::new();
    let event = guest.open(TICKS, 3, 1);
    guest
        .perf
        .clone()
        .refresh(&event, 2, &mut guest.vcpu)
        .unwrap();
    let traps = (1..=20).map(|tick| guest.store(tick, true));
    let traps: Vec<_> = traps.collect::<Vec<_>>().concat();
    assert_eq!(traps, [(1, 3), (1, 6)]);
    let reading = guest.perf.read(&event, &mut guest.vcpu).unwrap();
    assert_eq!(reading.unwrap().count, 6);
}

/// A tick is looked at when it is made: what else overflowed did before, and shows no address of it.
#[test]
fn two_that_overflow_at_one_tick_both_trap() {
    let mut guest = Guest::new();
    guest.open(TICKS, 4, 1);
    guest.open(TICKS, 6, 2);
    guest.open(EventConfig::everywhere(vpmu::Event::CoreCycles), 12_000, 3);
    let traps = (1..=12).map(|tick| guest.store(tick, true));
    let traps: Vec<_> = traps.collect();
    for (tick, traps) in (1..).zip(traps) {
        let expected = match tick {
            4 | 8 => vec![(1, tick)],
            6 => vec![(2, tick)],
            12 => vec![(3, 0), (1, tick), (2, tick)],
            _ => vec![],
        };
        assert_eq!(traps, expected, "tick {tick}");
    }
}
