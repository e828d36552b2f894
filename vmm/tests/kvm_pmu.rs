// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A PMU in the guest, on real KVM, as far as the report tells of it. What the guest itself sees is
//! the matter of the guest kernels.

mod common;

use common::{EXIT_WITH_VENDOR, HALT, LIMIT, elf, exit, start, vm, wrmsr};
use vmm::{ExitReason, RunReport, VmBuilder};
use vpmu::{EventFilter, PmuModel, Vendor};
use vpmu_kvm::cpuid::host_vendor;

/// The registers of a counter 0, and the select that counts cycles at every CPL with interrupt.
struct Counter0 {
    counter: u32,
    select: u32,
    status: u32,
    cycles: u32,
}

const INTEL: Counter0 = Counter0 {
    counter: 0xc1,
    select: 0x186,
    status: 0x38e,
    cycles: 0x53_003c,
};
const AMD: Counter0 = Counter0 {
    counter: 0xc001_0201,
    select: 0xc001_0200,
    status: 0xc000_0300,
    cycles: 0x53_0076,
};

/// The counter at 1000 before its overflow: `mov eax, -1000`, `mov edx, 0xffff`, `mov ecx, counter`,
/// `wrmsr`; it counts cycles, and the guest waits for the status bit: `mov ecx, status`, `rdmsr`,
/// `test al, 1`, `jz` to the rdmsr.
fn overflow_once(pmu: &Counter0) -> Vec<u8> {
    [
        &[0xb8][..],
        &1000_u32.wrapping_neg().to_le_bytes(),
        &[0xba, 0xff, 0xff, 0, 0, 0xb9],
        &pmu.counter.to_le_bytes(),
        &[0x0f, 0x30],
        &wrmsr(pmu.select, pmu.cycles),
        &[0xb9],
        &pmu.status.to_le_bytes(),
        &[0x0f, 0x32, 0xa8, 1, 0x74, 0xfa],
        &wrmsr(pmu.select, 0),
        &exit(0),
    ]
    .concat()
}

/// Ends the run with EAX of CPUID leaf `leaf`: `mov eax, leaf`, `cpuid`, `out 0xf4, eax`.
fn exit_with_leaf(leaf: u32) -> Vec<u8> {
    [
        &[0xb8][..],
        &leaf.to_le_bytes(),
        &[0x0f, 0xa2, 0xe7, 0xf4],
        HALT,
    ]
    .concat()
}

/// The exit code of a guest with this code and PMU, and its report.
fn ended(code: &[u8], model: PmuModel) -> (u32, RunReport) {
    let report = start(vm(code).pmu(Some(model))).wait(LIMIT).unwrap();
    (
        report
            .exit
            .code
            .unwrap_or_else(|| panic!("{}", report.exit)),
        report,
    )
}

/// A model of the host's own vendor, and one of the other's.
fn own_and_other() -> (PmuModel, PmuModel) {
    match host_vendor() {
        Vendor::Amd => (PmuModel::AMD_V2, PmuModel::INTEL_V2),
        Vendor::Intel => (PmuModel::INTEL_V2, PmuModel::AMD_V2),
    }
}

#[test]
#[ignore = "needs KVM"]
fn the_report_tells_what_the_pmu_did() {
    for (model, pmu) in [(PmuModel::INTEL_V2, INTEL), (PmuModel::AMD_V2, AMD)] {
        let (code, report) = ended(&overflow_once(&pmu), model);
        assert_eq!(code, 0, "{model}");
        assert_eq!(report.pmu.unwrap().model, model.to_string());
        let vcpu = &report.vcpus[0];
        // The LVTPC is masked after reset: the guest sees the overflow and gets no PMI.
        assert_eq!(
            (vcpu.overflows, vcpu.masked, vcpu.pmis),
            (1, 1, 0),
            "{model}"
        );
        let there = model.gp_counters() + model.fixed_counters().count();
        assert_eq!(vcpu.counters.len(), there);
        assert_eq!(
            (vcpu.counters[0].name.as_str(), vcpu.counters[0].overflows),
            ("PMC0", 1)
        );
        assert!(vcpu.counters[0].counted >= 1000);
        assert_eq!(vcpu.skid.count, 1);
        assert_eq!(vcpu.exits["pmu-msr-write"], 3);
        assert!(vcpu.exits["pmu-msr-read"] >= 1);
    }
}

/// Lets counter 0 count cycles for a while and ends the run with 1 if it has moved, else with 0:
/// the select, `mov ecx, 10000`, `loop`, `mov ecx, counter`, `rdmsr`, `test eax, eax`, `setnz al`,
/// `movzx eax, al`, `out 0xf4, eax`.
fn exit_with_whether_it_counts(pmu: &Counter0) -> Vec<u8> {
    [
        &wrmsr(pmu.select, pmu.cycles)[..],
        &[0xb9],
        &10_000_u32.to_le_bytes(),
        &[0xe2, 0xfe, 0xb9],
        &pmu.counter.to_le_bytes(),
        &[
            0x0f, 0x32, 0x85, 0xc0, 0x0f, 0x95, 0xc0, 0x0f, 0xb6, 0xc0, 0xe7, 0xf4,
        ],
        HALT,
    ]
    .concat()
}

#[test]
#[ignore = "needs KVM"]
fn what_the_event_filter_refuses_stands_still_and_is_reported() {
    for (model, pmu) in [(PmuModel::INTEL_V2, INTEL), (PmuModel::AMD_V2, AMD)] {
        let event = pmu.cycles & 0xff;
        for (text, counts) in [
            (format!("deny\nevent {event} umask 0"), false),
            (format!("allow\nevent {event} umask 0"), true),
            ("allow\nfixed 0 1 2".to_owned(), false),
        ] {
            let filter: EventFilter = text.parse().unwrap();
            let guest = vm(&exit_with_whether_it_counts(&pmu));
            let guest = guest.pmu(Some(model)).pmu_filter(filter);
            let report = start(guest).wait(LIMIT).unwrap();
            assert_eq!(report.exit.code, Some(counts.into()), "{model}: {text}");
            let filtered = &report.vcpus[0].filtered.selects;
            assert_eq!(filtered.is_empty(), counts, "{model}: {filtered:?}");
        }
    }
}

#[test]
#[ignore = "needs KVM"]
fn without_a_choice_the_pmu_is_the_host_vendors_and_the_cpu_stays_what_it_is() {
    let builder = VmBuilder::new()
        .memory(4 << 20)
        .kernel_bytes(elf(EXIT_WITH_VENDOR));
    let vm = builder.build().unwrap();
    assert_eq!(vm.pmu_warning(), None);
    let report = vm.start().unwrap().wait(LIMIT).unwrap();
    let (own, _) = own_and_other();
    assert_eq!(report.pmu.unwrap().model, own.name());
    let host = std::arch::x86_64::__cpuid(0);
    assert_eq!(report.exit.code, Some(host.ebx));
}

#[test]
#[ignore = "needs KVM"]
fn another_vendors_pmu_brings_its_cpu_and_a_warning() {
    let (own, other) = own_and_other();
    let name = match other.vendor() {
        Vendor::Intel => b"Genu",
        Vendor::Amd => b"Auth",
    };
    let (code, report) = ended(EXIT_WITH_VENDOR, other);
    assert_eq!(code, u32::from_le_bytes(*name));
    let warning = report.pmu.unwrap().warning.unwrap();
    assert!(
        warning.contains("mitigations of speculation flaws"),
        "{warning}"
    );

    // The family and the hypercalls, which on the host's own CPU stay.
    let family = |signature: u32| (signature >> 8 & 0xf) + (signature >> 20 & 0xff);
    let (code, _) = ended(&exit_with_leaf(1), other);
    assert_eq!(family(code) == 6, other.vendor() == Vendor::Intel);
    let hypercalls = 1 << 7 | 1 << 11 | 1 << 13 | 1 << 16;
    let (code, _) = ended(&exit_with_leaf(0x4000_0001), other);
    assert_eq!(code & hypercalls, 0, "{code:#x}");
    let (code, report) = ended(&exit_with_leaf(0x4000_0001), own);
    assert_ne!(code & hypercalls, 0, "{code:#x}");
    assert_eq!(report.pmu.unwrap().warning, None);
}

#[test]
#[ignore = "needs KVM"]
fn cpuid_has_the_model_that_was_asked_for() {
    for model in PmuModel::ALL {
        let cpuid = model.cpuid();
        let (code, _) = ended(&exit_with_leaf(0xa), *model);
        assert_eq!(code, cpuid.leaf_a.eax, "{model}");
        let (code, _) = ended(&exit_with_leaf(0x8000_0022), *model);
        // Beyond its range Intel's CPUID answers as its highest leaf does.
        if model.vendor() == Vendor::Amd {
            assert_eq!(code, cpuid.leaf_8000_0022.eax, "{model}");
        }
    }
}

#[test]
#[ignore = "needs KVM"]
fn misc_enable_says_that_there_is_a_pmu_and_no_pebs() {
    // mov ecx, 0x1a0; rdmsr; out 0xf4, eax.
    let code = [&[0xb9, 0xa0, 1, 0, 0, 0x0f, 0x32, 0xe7, 0xf4], HALT].concat();
    for model in [PmuModel::INTEL_V1, PmuModel::INTEL_V4] {
        let (code, _) = ended(&code, model);
        let (mask, value) = model.misc_enable();
        assert_eq!(u64::from(code) & mask, value, "{model}: {code:#x}");
    }
}

#[test]
#[ignore = "needs KVM"]
fn what_the_guest_enabled_in_vain_is_told_by_its_vendors_names() {
    let code = |select| [wrmsr(select, 0x43_00c0), exit(0)].concat();
    for (model, select, event) in [
        (
            PmuModel::INTEL_V2,
            0x186,
            "Instruction Retired (C0H, umask 00H)",
        ),
        (
            PmuModel::AMD_K7,
            0xc001_0000,
            "Retired Instructions (PMCx0C0, umask 00H)",
        ),
    ] {
        let (_, report) = ended(&code(select), model);
        let not_counted = &report.vcpus[0].not_counted;
        let events = not_counted
            .selects
            .iter()
            .map(|select| select.event.as_str());
        assert_eq!(events.collect::<Vec<_>>(), [event]);
        assert!(report.vcpus[0].filtered.selects.is_empty());
    }
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
