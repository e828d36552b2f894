// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A vCPU of the perf core as a source: its guest has it alone, or shares it with events of the
//! host that go where there is room.

use vcpu_call::{Calls, VcpuId};
use vpmu::context::{Attr, Event, Open, Perf, PerfConfig, Target, VcpuThread};
use vpmu::source::MAX_SLOTS;
use vpmu::source::script::ScriptSource;
use vpmu::{CounterSource, EventConfig, Nanos, Wake};

use crate::contract::Rig;

type Thread = VcpuThread<ScriptSource, fn() -> Nanos>;

struct Core<const SHARED: usize> {
    vcpu: Thread,
    /// Open for as long as the rig is used.
    _host: Vec<Event>,
}

impl<const SHARED: usize> Rig for Core<SHARED> {
    type Source = Thread;

    const COUNTED: EventConfig = EventConfig::everywhere(vpmu::Event::CoreCycles);
    const REFUSED: EventConfig = EventConfig::everywhere(vpmu::Event::Instructions);

    fn new() -> Result<Self, String> {
        let clock: fn() -> Nanos = || Nanos(0);
        let config = PerfConfig {
            slots: MAX_SLOTS,
            ..PerfConfig::new(1)
        };
        let perf = Perf::new(config, clock);
        let source = ScriptSource::supporting(|config| *config == Self::COUNTED);
        let cpu = perf.cpu(VcpuId(0), source).unwrap();
        let mail = Calls::new(1, |_| ()).vcpu(VcpuId(0)).unwrap();
        let mut vcpu = VcpuThread::new(cpu, mail);
        vcpu.online().unwrap();
        let cycles = Open::new(Attr::counting(Self::COUNTED), Target::Vcpu(VcpuId(0)));
        let open = |_| perf.open(&cycles, &mut vcpu).unwrap();
        let _host = (0..SHARED).map(open).collect();
        Ok(Self { vcpu, _host })
    }

    fn source(&mut self) -> &mut Thread {
        &mut self.vcpu
    }

    fn advance(&mut self, counts: u64) {
        CounterSource::enter_guest(&mut self.vcpu);
        self.vcpu.cpu_mut().source_mut().count(counts);
        CounterSource::exit_guest(&mut self.vcpu);
    }

    fn run(&mut self, wake: Wake) {
        match wake {
            Wake::InCycles(cycles) => self.advance(cycles),
            Wake::BySource => panic!("the source beneath is one that is kicked"),
        }
    }
}

mod alone {
    contract!(super::Core<0>);
}

mod beside_the_host {
    contract!(super::Core<5>);
}

mod beside_more_than_there_is_room_for {
    contract!(super::Core<40>);
}
