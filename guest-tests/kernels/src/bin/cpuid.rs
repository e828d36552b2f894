// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What CPUID says of the PMU and of the machine around it.

#![no_std]
#![no_main]

use rt::cpu::{cpuid, current};
use rt::tap::Outcome;
use rt::{check, check_eq, cpu, diag, smp};

rt::kernel!(main);

fn main() {
    rt::tap::run(&[
        ("the highest leaf covers the PMU's", highest_leaf),
        (
            "leaf 0xA: version 2, 4 counters of 48 bits",
            leaf_a_counters,
        ),
        ("leaf 0xA: core and reference cycles only", leaf_a_events),
        ("leaf 0xA: no fixed counters", leaf_a_fixed),
        ("no PMU feature is advertised that is not there", no_extras),
        ("x2APIC", x2apic),
        ("the hypervisor is KVM", hypervisor),
        ("the CPU count is consistent and all CPUs start", cpu_count),
        ("the leaves name each CPU's own APIC id", apic_ids),
        ("leaf 0xA is the same on every CPU", same_everywhere),
        ("no CET, no FRED", no_cet_no_fred),
    ]);
}

const LEAF_A_EAX: u32 = 7 << 24 | 48 << 16 | 4 << 8 | 2;

fn highest_leaf() -> Outcome {
    let leaf = cpuid(0, 0);
    let mut vendor = [0; 12];
    for (bytes, part) in vendor.chunks_mut(4).zip([leaf.ebx, leaf.edx, leaf.ecx]) {
        bytes.copy_from_slice(&part.to_le_bytes());
    }
    diag!("vendor {}", core::str::from_utf8(&vendor).unwrap_or("?"));
    check!(leaf.eax >= 0xb, "the highest leaf is {:#x}", leaf.eax);
    Ok(())
}

fn leaf_a_counters() -> Outcome {
    check_eq!(cpuid(0xa, 0).eax, LEAF_A_EAX, "EAX");
    Ok(())
}

fn leaf_a_events() -> Outcome {
    // A set bit: this event is not available. Bit 0 core cycles, bit 2 reference cycles.
    check_eq!(cpuid(0xa, 0).ebx & 0x7f, 0b111_1010, "EBX");
    Ok(())
}

fn leaf_a_fixed() -> Outcome {
    let leaf = cpuid(0xa, 0);
    check_eq!(
        leaf.edx & 0x1fff,
        0,
        "number and width of fixed counters, EDX"
    );
    check_eq!(leaf.ecx, 0, "bitmap of fixed counters, ECX");
    Ok(())
}

fn no_extras() -> Outcome {
    let leaf = cpuid(1, 0);
    check_eq!(
        leaf.ecx & 1 << 15,
        0,
        "PDCM (IA32_PERF_CAPABILITIES), leaf 1 ECX"
    );
    check_eq!(leaf.edx & 1 << 21, 0, "DS (debug store), leaf 1 EDX");
    let max = cpuid(0x8000_0000, 0).eax;
    if max >= 0x8000_0001 {
        let amd = cpuid(0x8000_0001, 0).ecx & (1 << 23 | 1 << 24 | 1 << 28);
        check_eq!(
            amd,
            0,
            "AMD's performance counter extensions, leaf 0x80000001 ECX"
        );
    }
    if max >= 0x8000_0022 {
        check_eq!(
            cpuid(0x8000_0022, 0).eax & 7,
            0,
            "AMD's PerfMonV2, leaf 0x80000022 EAX"
        );
    }
    if cpuid(0, 0).eax >= 0x23 {
        check_eq!(cpuid(0x23, 0).eax, 0, "leaf 0x23, EAX");
    }
    Ok(())
}

fn x2apic() -> Outcome {
    let leaf = cpuid(1, 0);
    check!(leaf.ecx & 1 << 21 != 0, "leaf 1 ECX has no x2APIC bit");
    check!(leaf.edx & 1 << 9 != 0, "leaf 1 EDX has no APIC bit");
    Ok(())
}

fn hypervisor() -> Outcome {
    check!(
        cpuid(1, 0).ecx & 1 << 31 != 0,
        "leaf 1 ECX has no hypervisor bit"
    );
    let leaf = cpuid(0x4000_0000, 0);
    check!(
        leaf.eax == 0 || leaf.eax >= 0x4000_0001,
        "the highest leaf is {:#x}",
        leaf.eax
    );
    let name = [leaf.ebx, leaf.ecx, leaf.edx].map(u32::to_le_bytes);
    check_eq!(name.as_flattened(), b"KVMKVMKVM\0\0\0", "signature");
    Ok(())
}

fn cpu_count() -> Outcome {
    let count = smp::start_all()?;
    diag!("{count} CPUs");
    let logical = cpuid(0xb, 1).ebx & 0xffff;
    check_eq!(
        u64::from(logical),
        count as u64,
        "leaf 0xB's count against what started"
    );
    if count > 1 {
        check!(cpuid(1, 0).edx & 1 << 28 != 0, "leaf 1 EDX has no HTT bit");
        check_eq!(
            cpuid(1, 0).ebx >> 16 & 0xff,
            logical,
            "leaf 1's count against leaf 0xB's"
        );
    }
    Ok(())
}

fn apic_ids() -> Outcome {
    smp::on_each(|| {
        let id = current() as u64;
        check_eq!(u64::from(cpuid(0xb, 0).edx), id, "x2APIC id of leaf 0xB");
        check_eq!(u64::from(cpuid(1, 0).ebx >> 24), id, "APIC id of leaf 1");
        check_eq!(rt::msr::read(0x802), id, "APIC id of the APIC");
        Ok(())
    })
}

fn same_everywhere() -> Outcome {
    smp::on_each(|| {
        check_eq!(cpuid(0xa, 0).eax, LEAF_A_EAX, "EAX");
        check_eq!(cpuid(0xa, 0).ebx & 0x7f, 0b111_1010, "EBX");
        Ok(())
    })
}

fn no_cet_no_fred() -> Outcome {
    let leaf = cpuid(7, 0);
    check_eq!(leaf.ecx & 1 << 7, 0, "CET shadow stacks, leaf 7 ECX");
    check_eq!(
        leaf.edx & 1 << 20,
        0,
        "CET indirect branch tracking, leaf 7 EDX"
    );
    if leaf.eax >= 1 {
        check_eq!(cpu::cpuid(7, 1).eax & 1 << 17, 0, "FRED, leaf 7.1 EAX");
    }
    Ok(())
}
