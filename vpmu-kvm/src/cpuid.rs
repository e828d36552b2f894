// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What CPUID says of the PMU, of the CPU that it belongs to, and of what the RDPMC trap cannot
//! handle yet; and IA32_MISC_ENABLE, which says the rest.

use kvm_bindings::{CpuId, Msrs, kvm_cpuid_entry2, kvm_msr_entry};
use kvm_ioctls::VcpuFd;
use perf_port::cpuid::{self as port, Discovery};
use vpmu::{CpuidLeaf, PmuCpuid, PmuModel, msr};

use crate::error::{Error, REPORT, kvm};

mod vendor;

pub(crate) use vendor::host_name;
pub use vendor::{default_model, host_vendor, vendor_named, vendor_of};

/// Architectural performance monitoring (Intel SDM vol. 2A, CPUID; vol. 3B, 20.2).
const LEAF_PERFMON: u32 = 0xa;
/// Structured extended features.
const LEAF_FEATURES: u32 = 7;
/// Intel's architectural last branch records, and the extension of leaf 0xA.
const LEAF_LBR: u32 = 0x1c;
const LEAF_PERFMON_MORE: u32 = 0x23;
/// Leaf 7.0 ECX: CET shadow stacks.
const SHSTK: u32 = 1 << 7;
/// Leaf 7.0 EDX: CET indirect branch tracking, architectural last branch records.
const IBT: u32 = 1 << 20;
const ARCH_LBR: u32 = 1 << 19;
/// Leaf 7.1 EAX: leaf 0x23 is there.
const PERFMON_MORE: u32 = 1 << 8;
/// Leaf 7.1 EAX: FRED.
const FRED: u32 = 1 << 17;
/// Leaf 7.1 EAX: LKGS, which comes with FRED.
const LKGS: u32 = 1 << 18;
/// Leaf 1 ECX: PDCM, IA32_PERF_CAPABILITIES exists.
const PDCM: u32 = 1 << 15;
/// Leaf 1 ECX: VMX. Leaf 0x80000001 ECX: SVM.
const VMX: u32 = 1 << 5;
const SVM: u32 = 1 << 2;
/// Leaf 1 EDX: debug store, part of the PMU; leaf 1 ECX: its 64-bit layout and its filter by CPL.
const DS: u32 = 1 << 21;
const DS_EXTENSIONS: u32 = 1 << 2 | 1 << 4;
/// Leaf 0x80000001 ECX, bit 23: AMD's core counter extension; bits 24, 28: the northbridge's and
/// the L2 cache's; bit 10: instruction based sampling, described by a leaf of its own.
const PERFCTR_CORE: u32 = 1 << 23;
const PERFCTR_OTHERS: u32 = 1 << 24 | 1 << 28;
const IBS: u32 = 1 << 10;
const LEAF_IBS: u32 = 0x8000_001b;
/// AMD PerfMonV2.
const LEAF_AMD_PERFMON: u32 = 0x8000_0022;

/// Makes a vCPU's CPUID advertise exactly `model`, or no PMU.
///
/// Give it what `KVM_GET_SUPPORTED_CPUID` returned, and the model as [`PmuModel::advertising`] fits
/// it to what the source counts.
///
/// With a PMU, CET and FRED are taken out: shadow stacks and FRED change what the delivery of a
/// #GP leaves behind, and the trap does not unwind that. So is nested virtualisation: the trap
/// would have to tell a guest's guest apart.
///
/// # A model of the other vendor
///
/// Drivers choose their PMU by the CPU's vendor. So a model that is not of the vendor in `cpuid`
/// ([`vendor_of`]) makes the CPU one of the model's vendor: name, family and model, the leaves that
/// only the other vendor has, and KVM's hypercalls, which a guest would make by an instruction that
/// the CPU below does not have. Such a guest also chooses its mitigations of the CPU's flaws by the
/// wrong vendor: let users ask for it, and tell them.
pub fn apply(cpuid: &mut CpuId, model: Option<PmuModel>) {
    if let Some(vendor) = model.map(|model| model.vendor())
        && vendor != vendor_of(cpuid)
    {
        vendor::impersonate(cpuid, vendor);
    }
    let pmu = model.map(|model| model.cpuid()).unwrap_or_default();
    for entry in cpuid.as_mut_slice() {
        hide(entry);
        if model.is_some() {
            hide_untrapped(entry);
        }
        show(entry, &pmu);
    }
    set_leaf(cpuid, LEAF_PERFMON, pmu.leaf_a);
    set_leaf(cpuid, LEAF_AMD_PERFMON, pmu.leaf_8000_0022);
}

/// Tells the guest of the perf port ([`PerfCore::with_port`](crate::PerfCore::with_port)), by leaves
/// of its own behind those of KVM.
pub fn add_port(cpuid: &mut CpuId) {
    let leaves = [
        (port::SIGNATURE_LEAF, port::signature()),
        (port::PORT_LEAF, Discovery::V1.encode()),
    ];
    for (function, leaf) in leaves {
        let leaf = CpuidLeaf {
            eax: leaf.eax,
            ebx: leaf.ebx,
            ecx: leaf.ecx,
            edx: leaf.edx,
        };
        set_leaf(cpuid, function, leaf);
    }
}

/// Takes out all that the host says of its PMU.
fn hide(entry: &mut kvm_cpuid_entry2) {
    match (entry.function, entry.index) {
        (1, _) => {
            entry.ecx &= !(PDCM | DS_EXTENSIONS);
            entry.edx &= !DS;
        }
        (LEAF_FEATURES, 0) => entry.edx &= !ARCH_LBR,
        (LEAF_FEATURES, 1) => entry.eax &= !PERFMON_MORE,
        (vendor::LEAF_EXTENDED_FEATURES, _) => {
            entry.ecx &= !(PERFCTR_CORE | PERFCTR_OTHERS | IBS);
        }
        (LEAF_PERFMON | LEAF_LBR | LEAF_PERFMON_MORE | LEAF_IBS | LEAF_AMD_PERFMON, _) => {
            set(entry, CpuidLeaf::default());
        }
        _ => {}
    }
}

/// Takes out what the RDPMC trap cannot handle.
fn hide_untrapped(entry: &mut kvm_cpuid_entry2) {
    match (entry.function, entry.index) {
        (1, _) => entry.ecx &= !VMX,
        (LEAF_FEATURES, 0) => {
            entry.ecx &= !SHSTK;
            entry.edx &= !IBT;
        }
        (LEAF_FEATURES, 1) => entry.eax &= !(FRED | LKGS),
        (vendor::LEAF_EXTENDED_FEATURES, _) => entry.ecx &= !SVM,
        _ => {}
    }
}

/// Sets the bits that say there is `pmu`, and makes room for its leaves in their ranges.
fn show(entry: &mut kvm_cpuid_entry2, pmu: &PmuCpuid) {
    let none = CpuidLeaf::default();
    match entry.function {
        0 if pmu.leaf_a != none => entry.eax = entry.eax.max(LEAF_PERFMON),
        1 if pmu.pdcm => entry.ecx |= PDCM,
        vendor::LEAF_EXTENDED if pmu.leaf_8000_0022 != none => {
            entry.eax = entry.eax.max(LEAF_AMD_PERFMON);
        }
        vendor::LEAF_EXTENDED_FEATURES if pmu.perfctr_core => entry.ecx |= PERFCTR_CORE,
        _ => {}
    }
}

fn set(entry: &mut kvm_cpuid_entry2, leaf: CpuidLeaf) {
    (entry.eax, entry.ebx) = (leaf.eax, leaf.ebx);
    (entry.ecx, entry.edx) = (leaf.ecx, leaf.edx);
}

/// Sets a leaf, which need not be there before.
fn set_leaf(cpuid: &mut CpuId, function: u32, leaf: CpuidLeaf) {
    let all = cpuid.as_mut_slice();
    if let Some(entry) = all.iter_mut().find(|entry| entry.function == function) {
        set(entry, leaf);
    } else if leaf != CpuidLeaf::default() {
        let mut entry = kvm_cpuid_entry2 {
            function,
            ..Default::default()
        };
        set(&mut entry, leaf);
        // It fails only beyond KVM's 256 entries, of which no host fills half.
        let _ = cpuid.push(entry);
    }
}

/// Sets the bits of a vCPU's IA32_MISC_ENABLE that speak of its PMU; call it once, after the vCPU's
/// CPUID is set. AMD's models have none.
///
/// # Errors
/// KVM refuses to read or to write the register.
pub fn set_misc_enable(vcpu: &VcpuFd, model: PmuModel) -> Result<(), Error> {
    let (mask, value) = model.misc_enable();
    if mask == 0 {
        return Ok(());
    }
    let entry = kvm_msr_entry {
        index: msr::IA32_MISC_ENABLE.0,
        ..Default::default()
    };
    let refused = Error::Refused {
        msr: msr::IA32_MISC_ENABLE.0,
    };
    let Ok(mut msrs) = Msrs::from_entries(&[entry]) else {
        return Err(refused);
    };
    let read = vcpu
        .get_msrs(&mut msrs)
        .map_err(kvm("KVM_GET_MSRS", REPORT))?;
    for entry in msrs.as_mut_slice() {
        entry.data = entry.data & !mask | value;
    }
    let written = vcpu.set_msrs(&msrs).map_err(kvm("KVM_SET_MSRS", REPORT))?;
    if (read, written) == (1, 1) {
        Ok(())
    } else {
        Err(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvm_bindings::KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
    use vpmu::Vendor;

    fn entry(function: u32, index: u32) -> kvm_cpuid_entry2 {
        let all = u32::MAX;
        kvm_cpuid_entry2 {
            function,
            index,
            flags: if function == 7 {
                KVM_CPUID_FLAG_SIGNIFCANT_INDEX
            } else {
                0
            },
            eax: all,
            ebx: all,
            ecx: all,
            edx: all,
            ..Default::default()
        }
    }

    /// Leaf 0 or 0x80000000 of an AMD CPU.
    fn amd(function: u32, max: u32) -> kvm_cpuid_entry2 {
        kvm_cpuid_entry2 {
            eax: max,
            ebx: u32::from_le_bytes(*b"Auth"),
            edx: u32::from_le_bytes(*b"enti"),
            ecx: u32::from_le_bytes(*b"cAMD"),
            ..entry(function, 0)
        }
    }

    /// Leaf 0 of an Intel CPU.
    fn intel() -> kvm_cpuid_entry2 {
        kvm_cpuid_entry2 {
            ebx: u32::from_le_bytes(*b"Genu"),
            edx: u32::from_le_bytes(*b"ineI"),
            ecx: u32::from_le_bytes(*b"ntel"),
            ..amd(0, 7)
        }
    }

    fn of(entries: &[kvm_cpuid_entry2], model: Option<PmuModel>) -> Vec<kvm_cpuid_entry2> {
        let mut cpuid = CpuId::from_entries(entries).unwrap();
        apply(&mut cpuid, model);
        cpuid.as_slice().to_vec()
    }

    fn leaf(all: &[kvm_cpuid_entry2], function: u32) -> CpuidLeaf {
        let leaf = all.iter().find(|entry| entry.function == function);
        leaf.map_or(CpuidLeaf::default(), |entry| CpuidLeaf {
            eax: entry.eax,
            ebx: entry.ebx,
            ecx: entry.ecx,
            edx: entry.edx,
        })
    }

    /// What [`apply`] has to hide or to change on any host.
    fn pmu_leaves() -> Vec<kvm_cpuid_entry2> {
        [1, 0xa, 0x1c, 0x23, 0x8000_0001, 0x8000_001b, 0x8000_0022]
            .map(|function| entry(function, 0))
            .into_iter()
            .chain([entry(7, 0), entry(7, 1)])
            .collect()
    }

    #[test]
    fn every_model_is_advertised_in_full_whether_the_host_has_its_leaves_or_not() {
        let bare = [entry(1, 0), entry(0x8000_0001, 0)];
        for model in PmuModel::ALL {
            for leaves in [&bare[..], &pmu_leaves()] {
                let hosts = [
                    vec![amd(0, 7), amd(0x8000_0000, 0x8000_001f)],
                    vec![intel(), amd(0x8000_0000, 0x8000_0008)],
                ];
                for host in hosts {
                    let all = of(&[&host[..], leaves].concat(), Some(*model));
                    let pmu = model.cpuid();
                    assert_eq!(leaf(&all, 0xa), pmu.leaf_a, "{model}");
                    assert_eq!(leaf(&all, 0x8000_0022), pmu.leaf_8000_0022, "{model}");
                    assert_eq!(leaf(&all, 1).ecx & PDCM != 0, pmu.pdcm, "{model}");
                    let extended = leaf(&all, 0x8000_0001).ecx;
                    assert_eq!(extended & PERFCTR_CORE != 0, pmu.perfctr_core, "{model}");
                    assert!(leaf(&all, 0).eax >= 0xa || pmu.leaf_a == CpuidLeaf::default());
                    let v2 = pmu.leaf_8000_0022.eax != 0;
                    assert_eq!(leaf(&all, 0x8000_0000).eax >= 0x8000_0022, v2, "{model}");
                    assert_eq!(
                        vendor_of(&CpuId::from_entries(&all).unwrap()),
                        model.vendor()
                    );
                }
            }
        }
    }

    #[test]
    fn what_else_the_host_has_of_a_pmu_is_hidden_from_every_guest() {
        for model in PmuModel::ALL.iter().copied().map(Some).chain([None]) {
            let all = of(&[&[amd(0, 0x23)], &pmu_leaves()[..]].concat(), model);
            assert_eq!(leaf(&all, 1).edx & DS, 0);
            assert_eq!(leaf(&all, 1).ecx & DS_EXTENSIONS, 0);
            assert_eq!(leaf(&all, 0x8000_0001).ecx & (PERFCTR_OTHERS | IBS), 0);
            for gone in [0x1c, 0x23, 0x8000_001b] {
                assert_eq!(leaf(&all, gone), CpuidLeaf::default(), "{gone:#x}");
            }
            let sevens = all.iter().filter(|entry| entry.function == 7);
            for seven in sevens {
                let gone = match seven.index {
                    0 => seven.edx & ARCH_LBR,
                    _ => seven.eax & PERFMON_MORE,
                };
                assert_eq!(gone, 0, "leaf 7.{}", seven.index);
            }
        }
    }

    #[test]
    fn no_model_is_no_pmu() {
        let all = of(
            &[
                &[amd(0, 7), amd(0x8000_0000, 0x8000_001f)],
                &pmu_leaves()[..],
            ]
            .concat(),
            None,
        );
        assert_eq!(
            (leaf(&all, 0).eax, leaf(&all, 0x8000_0000).eax),
            (7, 0x8000_001f)
        );
        for gone in [0xa, 0x8000_0022] {
            assert_eq!(leaf(&all, gone), CpuidLeaf::default(), "{gone:#x}");
        }
        assert_eq!(leaf(&all, 1).ecx & PDCM, 0);
        assert_eq!(leaf(&all, 0x8000_0001).ecx & PERFCTR_CORE, 0);
    }

    #[test]
    fn on_its_own_vendors_cpu_a_model_changes_nothing_else() {
        let host = [
            amd(0, 0x10),
            entry(1, 0),
            entry(0x4000_0001, 0),
            entry(0x8000_001d, 0),
        ];
        let all = of(&host, Some(PmuModel::AMD_K7));
        assert_eq!(leaf(&all, 0).ebx, u32::from_le_bytes(*b"Auth"));
        assert_eq!(leaf(&all, 1).eax, u32::MAX, "family and model");
        assert_eq!(leaf(&all, 0x4000_0001).eax, u32::MAX, "hypercalls");
        assert_eq!(leaf(&all, 0x8000_001d).eax, u32::MAX, "caches");
        let hygon = kvm_cpuid_entry2 {
            ebx: u32::from_le_bytes(*b"Hygo"),
            edx: u32::from_le_bytes(*b"nGen"),
            ecx: u32::from_le_bytes(*b"uine"),
            ..host[0]
        };
        let all = of(&[hygon, host[1]], Some(PmuModel::AMD_V2));
        assert_eq!(
            leaf(&all, 0).ebx,
            u32::from_le_bytes(*b"Hygo"),
            "AMD's PMU is its own"
        );
    }

    #[test]
    fn a_model_of_the_other_vendor_brings_its_cpu() {
        let amds = [
            amd(0, 0x10),
            entry(1, 0),
            entry(0x4000_0001, 0),
            entry(0x8000_001d, 0),
        ];
        let all = of(&amds, Some(PmuModel::INTEL_V2));
        assert_eq!(leaf(&all, 0).ebx, u32::from_le_bytes(*b"Genu"));
        assert_eq!(leaf(&all, 1).eax >> 8 & 0xf, 6, "family");
        assert_eq!(leaf(&all, 0x4000_0001).eax & 1 << 7, 0, "a hypercall");
        assert_eq!(leaf(&all, 0x8000_001d), CpuidLeaf::default());
        let intels = [intel(), entry(1, 0), entry(4, 0), entry(0x4000_0001, 0)];
        let all = of(&intels, Some(PmuModel::AMD_V2));
        assert_eq!(leaf(&all, 0).ebx, u32::from_le_bytes(*b"Auth"));
        assert_eq!(leaf(&all, 1).eax >> 8 & 0xf, 0xf, "family");
        assert_eq!(leaf(&all, 0x4000_0001).eax & 1 << 7, 0, "a hypercall");
        assert_eq!(leaf(&all, 4), CpuidLeaf::default());
    }

    #[test]
    fn the_default_is_of_the_hosts_vendor() {
        for vendor in [Vendor::Intel, Vendor::Amd] {
            assert_eq!(default_model(vendor).vendor(), vendor);
        }
    }

    #[test]
    fn what_the_trap_cannot_unwind_is_masked_with_a_model_only() {
        let leaves = [
            amd(0, 7),
            entry(7, 0),
            entry(7, 1),
            entry(1, 0),
            entry(0x8000_0001, 0),
        ];
        for model in [PmuModel::INTEL_V2, PmuModel::AMD_V2] {
            let with = of(&leaves, Some(model));
            assert_eq!(with[1].ecx & SHSTK, 0);
            assert_eq!(with[1].edx & IBT, 0);
            assert_eq!(with[2].eax & (FRED | LKGS), 0);
            assert_eq!((with[3].ecx & VMX, with[4].ecx & SVM), (0, 0));
        }
        let without = of(&leaves, None);
        assert_eq!((without[3].ecx & VMX, without[4].ecx & SVM), (VMX, SVM));
        let kept = (without[1].ecx, without[1].edx, without[2].eax);
        assert_eq!(kept, (!0, !ARCH_LBR, !PERFMON_MORE));
    }
}
