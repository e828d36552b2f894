// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! An integration test of a guest, to be copied; `docs/integration-tests.md` goes through it.

mod common;

use std::error::Error;
use std::time::{Duration, Instant};

use vcpu_call::VcpuId;
use vmm::{ExitReason, VcpuState, VmBuilder};
use vpmu::context::{Attr, Open, Target};
use vpmu::{Event, EventConfig};

/// More than a good guest needs on a busy machine; who needs more fails instead of hanging.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
#[ignore = "needs KVM"]
fn a_vcpu_comes_counts_and_goes() -> Result<(), Box<dyn Error>> {
    // 1. A machine with one vCPU and room for another, and your kernel.
    let running = VmBuilder::new()
        .vcpus(1)
        .max_vcpus(2)
        .memory(4 << 20)
        .kernel_bytes(common::elf(common::HOTPLUG))
        .build()?
        .start()?;
    let vm = running.handle();

    // 2. The guest hears of the new vCPU from its hotplug controller, and starts it.
    let vcpu = vm.add_vcpu(None)?;
    assert_eq!(vm.state(vcpu), VcpuState::Running);

    // 3. An event of the host's own on it, beneath whatever the guest counts.
    let core = vm.perf().ok_or("the guest has no PMU")?;
    let mut me = core.host_thread();
    let cycles = Attr::counting(EventConfig::everywhere(Event::CoreCycles));
    let event = core
        .perf()
        .open(&Open::new(cycles, Target::Vcpu(VcpuId(vcpu))), &mut me)?;
    let mut count = || -> Result<u64, Box<dyn Error>> {
        let reading = core.perf().read(&event, &mut me)?;
        Ok(reading.ok_or("the event has no counter")?.count)
    };

    // 4. It counts once the guest has started the vCPU, and stands still with it.
    let since = Instant::now();
    while count()? < 1_000_000 {
        assert!(since.elapsed() < LIMIT, "the guest does not start it");
    }
    vm.pause()?;
    let paused = count()?;
    assert_eq!(count()?, paused);
    vm.resume()?;

    // 5. The guest gives the vCPU back. What it counted stays.
    vm.remove_vcpu(vcpu, LIMIT)?;
    assert_eq!(vm.state(vcpu), VcpuState::Offline);
    let last = count()?;
    assert!(last >= paused);
    assert_eq!(count()?, last);

    // 6. The end, and what all vCPUs did, those that are gone as well.
    let report = running.stop()?;
    assert_eq!(report.exit.reason, ExitReason::Stopped);
    assert_eq!(report.vcpus.len(), 2);
    assert!(report.vcpus[1].guest_time_ns > Some(0));
    Ok(())
}
