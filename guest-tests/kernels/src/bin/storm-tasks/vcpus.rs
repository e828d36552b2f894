// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! vCPUs that go, with tasks queued for them, and come again.

use rt::host::{self, Wish};
use rt::hotplug::{self, Event};
use rt::random::Random;
use rt::tap::Outcome;
use rt::{check_eq, sched, smp};

use crate::CPUS;

/// One vCPU other than the first leaves, is unplugged, is plugged in again and runs tasks.
pub(crate) fn trip(random: &mut Random) -> Outcome {
    let others = CPUS - 1;
    let cpu = 1 + rt::index(random.below(others as u64));
    let refuge = 1 + cpu % others;
    sched::leave(cpu, refuge)?;
    smp::stop_cpu(cpu)?;
    hotplug::eject(cpu);
    host::grant(Wish::Add(host::id(cpu)))?;
    check_eq!(
        hotplug::take_event(),
        Some((cpu, Event::Added)),
        "the controller's event"
    );
    smp::start_cpu(cpu)?;
    sched::enter(cpu)
}
