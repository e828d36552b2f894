// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The host's own counters beneath a real guest's PMU.
//!
//! The lab has no PMU. What is shown here is the way from an overflow in the host's kernel to a PMI in
//! the guest, on software events; nothing of it was seen on hardware.

use kvm_ioctls::VcpuExit;
use vpmu::source::host::HostSource;
use vpmu::{CounterState, PmuModel};
use vpmu_kvm::{Exit, VcpuPmuKvm, kick};

mod real_mode;
mod watchdog;

use real_mode::{CODE, SPIN, rdmsr_to, with_pmu, wrmsr};
use watchdog::Watchdog;

const MODEL: PmuModel = PmuModel::INTEL_V2;
const SVR: u32 = 0x80f;
const LVTPC: u32 = 0x834;
const PMC0: u32 = 0xc1;
const PERFEVTSEL0: u32 = 0x186;
const GLOBAL_STATUS: u32 = 0x38e;
/// The source's task clock in user and kernel mode, with INT, enabled.
const TASK_CLOCK: u32 = 0x53_01ff;
/// Two milliseconds of it.
const PERIOD: u32 = 2_000_000;

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn an_overflow_of_the_hosts_counter_is_a_pmi_of_the_guest() {
    let _watchdog = Watchdog::new();
    let sti = [0xfb];
    let mut code = [
        &wrmsr(SVR, 0x1ff)[..],
        &wrmsr(LVTPC, 0x40),
        &wrmsr(PMC0, PERIOD.wrapping_neg()),
        &wrmsr(PERFEVTSEL0, TASK_CLOCK),
        &sti,
        SPIN,
    ]
    .concat();
    let handler = u32::try_from(CODE).unwrap() + u32::try_from(code.len()).unwrap();
    code.extend([&rdmsr_to(0x10, GLOBAL_STATUS)[..], SPIN].concat());
    let mut guest = with_pmu(&code, Some(MODEL));
    guest.ram.set_vector(0x40, handler);
    let options = guest.options(MODEL);
    let guard = kick::bind(&mut guest.vcpu).unwrap();
    let source = HostSource::software(kick::signal()).unwrap();
    let mut pmu = VcpuPmuKvm::with_source(guest.vm.clone(), &guard, &options, source).unwrap();
    let status = loop {
        guard.clear();
        match pmu.run(&mut guest.vcpu, &guest.ram).unwrap() {
            Exit::Handled(_) | Exit::Kicked => {}
            Exit::Vcpu(VcpuExit::IoOut(0x10, data)) => break data.to_vec(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(status, [1, 0, 0, 0]);
    let stats = pmu.stats();
    assert_eq!((stats.pmu.overflows, stats.pmu.pmis), (1, 1));
    assert_eq!(
        stats.counted_ns, None,
        "it is not asked how long the guest ran"
    );
    let counter = pmu.registers().counters().next().unwrap();
    assert_eq!(counter.state, CounterState::Counting);
    assert_eq!(pmu.registers().source().stats().refused, 0);
}
