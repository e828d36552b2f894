// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What CPUID says of the PMU, and of what the RDPMC trap cannot handle yet.

use kvm_bindings::{CpuId, kvm_cpuid_entry2};
use vpmu::PmuModel;

/// Architectural performance monitoring (Intel SDM vol. 2A, CPUID; vol. 3B, 20.2).
const LEAF_PERFMON: u32 = 0xa;
/// Structured extended features.
const LEAF_FEATURES: u32 = 7;
/// Leaf 7.0 ECX: CET shadow stacks.
const SHSTK: u32 = 1 << 7;
/// Leaf 7.0 EDX: CET indirect branch tracking.
const IBT: u32 = 1 << 20;
/// Leaf 7.1 EAX: FRED.
const FRED: u32 = 1 << 17;
/// Leaf 7.1 EAX: LKGS, which comes with FRED.
const LKGS: u32 = 1 << 18;
/// Leaf 1 ECX: PDCM, IA32_PERF_CAPABILITIES exists.
const PDCM: u32 = 1 << 15;
/// Leaf 1 ECX: VMX. Leaf 0x80000001 ECX: SVM.
const VMX: u32 = 1 << 5;
const SVM: u32 = 1 << 2;
/// Leaf 1 EDX: debug store, part of the PMU.
const DS: u32 = 1 << 21;
/// AMD's extended features; ECX bits 23, 24, 28: core, northbridge and L2 counter extensions.
const LEAF_AMD_FEATURES: u32 = 0x8000_0001;
const PERFCTR_EXTENSIONS: u32 = 1 << 23 | 1 << 24 | 1 << 28;
/// AMD PerfMonV2.
const LEAF_AMD_PERFMON: u32 = 0x8000_0022;

/// Makes a vCPU's CPUID advertise exactly `model`, or no PMU.
///
/// With a PMU, CET and FRED are taken out: shadow stacks and FRED change what the delivery of a
/// #GP leaves behind, and the trap does not unwind that. So is nested virtualisation: the trap
/// would have to tell a guest's guest apart.
pub fn apply(cpuid: &mut CpuId, model: Option<PmuModel>) {
    let leaf = model.map(|model| model.cpuid().leaf_a).unwrap_or_default();
    let mut found = false;
    for entry in cpuid.as_mut_slice() {
        match (entry.function, entry.index) {
            (1, _) => {
                entry.ecx &= !(PDCM | if model.is_some() { VMX } else { 0 });
                entry.edx &= !DS;
            }
            (LEAF_FEATURES, 0) if model.is_some() => {
                entry.ecx &= !SHSTK;
                entry.edx &= !IBT;
            }
            (LEAF_FEATURES, 1) if model.is_some() => entry.eax &= !(FRED | LKGS),
            (LEAF_PERFMON, _) => {
                (entry.eax, entry.ebx) = (leaf.eax, leaf.ebx);
                (entry.ecx, entry.edx) = (leaf.ecx, leaf.edx);
                found = true;
            }
            (LEAF_AMD_FEATURES, _) => {
                entry.ecx &= !(PERFCTR_EXTENSIONS | if model.is_some() { SVM } else { 0 });
            }
            (LEAF_AMD_PERFMON, _) => {
                (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0);
            }
            // The leaf must be within the basic range to be seen.
            (0, _) if model.is_some() => entry.eax = entry.eax.max(LEAF_PERFMON),
            _ => {}
        }
    }
    if !found && model.is_some() {
        let entry = kvm_cpuid_entry2 {
            function: LEAF_PERFMON,
            eax: leaf.eax,
            ebx: leaf.ebx,
            ecx: leaf.ecx,
            edx: leaf.edx,
            ..Default::default()
        };
        // It fails only beyond KVM's 256 entries, of which no host fills half.
        let _ = cpuid.push(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvm_bindings::KVM_CPUID_FLAG_SIGNIFCANT_INDEX;

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
            eax: if function == 0 { 7 } else { all },
            ebx: all,
            ecx: all,
            edx: all,
            ..Default::default()
        }
    }

    fn of(entries: &[kvm_cpuid_entry2], model: Option<PmuModel>) -> Vec<kvm_cpuid_entry2> {
        let mut cpuid = CpuId::from_entries(entries).unwrap();
        apply(&mut cpuid, model);
        cpuid.as_slice().to_vec()
    }

    #[test]
    fn a_model_is_advertised_even_where_the_host_has_no_such_leaf() {
        let all = of(&[entry(0, 0), entry(1, 0)], Some(PmuModel::INTEL_V2));
        assert_eq!(all[0].eax, 0xa, "the leaf is within the basic range");
        let leaf = all.iter().find(|entry| entry.function == 0xa).unwrap();
        assert_eq!(leaf.eax & 0xff, 2);
        assert_eq!(all[1].ecx & PDCM, 0);
    }

    #[test]
    fn no_model_is_no_pmu() {
        let leaves = [
            entry(0, 0),
            entry(0xa, 0),
            entry(0x8000_0001, 0),
            entry(0x8000_0022, 0),
        ];
        let all = of(&leaves, None);
        assert_eq!(all[0].eax, 7);
        assert_eq!(
            (all[1].eax, all[1].ebx, all[1].ecx, all[1].edx),
            (0, 0, 0, 0)
        );
        assert_eq!(all[2].ecx & PERFCTR_EXTENSIONS, 0);
        assert_eq!(all[3].eax, 0);
    }

    #[test]
    fn what_the_trap_cannot_unwind_is_masked_with_a_model_only() {
        let leaves = [entry(7, 0), entry(7, 1), entry(1, 0), entry(0x8000_0001, 0)];
        let with = of(&leaves, Some(PmuModel::INTEL_V2));
        assert_eq!(with[0].ecx & SHSTK, 0);
        assert_eq!(with[0].edx & IBT, 0);
        assert_eq!(with[1].eax & (FRED | LKGS), 0);
        assert_eq!((with[2].ecx & VMX, with[3].ecx & SVM), (0, 0));
        let without = of(&leaves, None);
        assert_eq!((without[2].ecx & VMX, without[3].ecx & SVM), (VMX, SVM));
        assert_eq!(
            (without[0].ecx, without[0].edx, without[1].eax),
            (!0, !0, !0)
        );
    }
}
