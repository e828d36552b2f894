// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A PMU in the guest, on real KVM, as far as the report tells of it. What the guest itself sees is
//! the matter of the guest kernels.

mod common;

use common::{HALT, LIMIT, exit, start, vm};
use vmm::ExitReason;
use vpmu::PmuModel;

/// `mov ecx, msr`, `mov eax, value`, `xor edx, edx`, `wrmsr`.
fn wrmsr(msr: u32, value: u32) -> Vec<u8> {
    [
        &[0xb9][..],
        &msr.to_le_bytes(),
        &[0xb8],
        &value.to_le_bytes(),
        &[0x31, 0xd2, 0x0f, 0x30],
    ]
    .concat()
}

/// Counter 0 to 1000 before its overflow; cycles at every CPL, with interrupt; then it waits for
/// the status bit: `mov ecx, 0x38e`, `rdmsr`, `test al, 1`, `jz` to the rdmsr.
fn overflow_once() -> Vec<u8> {
    [
        &wrmsr(0xc1, 1000_u32.wrapping_neg())[..],
        &wrmsr(0x186, 0x53_003c),
        &[0xb9, 0x8e, 3, 0, 0, 0x0f, 0x32, 0xa8, 1, 0x74, 0xfa],
        &wrmsr(0x186, 0),
        &exit(0),
    ]
    .concat()
}

#[test]
#[ignore = "needs KVM"]
fn the_report_tells_what_the_pmu_did() {
    let builder = vm(&overflow_once()).pmu(Some(PmuModel::INTEL_V2));
    let report = start(builder).wait(LIMIT).unwrap();
    assert_eq!(report.exit.code, Some(0), "{}", report.exit);
    assert_eq!(report.pmu.unwrap().model, "intel-v2");
    let vcpu = &report.vcpus[0];
    // The LVTPC is masked after reset: the guest sees the overflow and gets no PMI.
    assert_eq!((vcpu.overflows, vcpu.masked, vcpu.pmis), (1, 1, 0));
    assert_eq!((vcpu.counters.len(), vcpu.counters[0].overflows), (4, 1));
    assert!(vcpu.counters[0].counted >= 1000);
    assert_eq!(vcpu.skid.count, 1);
    assert_eq!(vcpu.exits["pmu-msr-write"], 3);
    assert!(vcpu.exits["pmu-msr-read"] >= 1);
}

#[test]
#[ignore = "needs KVM"]
fn a_guest_whose_counters_run_is_paused_and_stopped() {
    let count = wrmsr(0x186, 0x53_003c);
    for end in [HALT, common::SPIN] {
        let code = [&count[..], end].concat();
        let running = start(vm(&code).vcpus(2).pmu(Some(PmuModel::INTEL_V2)));
        for _ in 0..50 {
            running.pause().unwrap();
            running.resume().unwrap();
        }
        assert_eq!(running.stop().unwrap().exit.reason, ExitReason::Stopped);
    }
}

#[test]
#[ignore = "needs KVM"]
fn a_guest_without_a_pmu_is_told_so() {
    // mov eax, 0xa; cpuid; out 0xf4, eax.
    let code = [&[0xb8, 0xa, 0, 0, 0, 0x0f, 0xa2, 0xe7, 0xf4], HALT].concat();
    let report = start(vm(&code)).wait(LIMIT).unwrap();
    assert_eq!(report.exit.code, Some(0));
    assert!(report.pmu.is_none());
    assert!(report.vcpus[0].counters.is_empty());
}
