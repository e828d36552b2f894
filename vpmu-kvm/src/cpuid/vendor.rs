// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Whose CPU a guest believes to be on, and what it takes to make it believe in the other vendor's.
//!
//! Leaves as in the Intel SDM vol. 2A, CPUID, and the AMD APM vol. 3, appendix E.

use kvm_bindings::{CpuId, kvm_cpuid_entry2};
use vpmu::{PmuModel, Vendor};

const LEAF_BASIC: u32 = 0;
const LEAF_FEATURES: u32 = 1;
/// KVM's paravirtual features.
const LEAF_KVM_FEATURES: u32 = 0x4000_0001;
pub(super) const LEAF_EXTENDED: u32 = 0x8000_0000;
pub(super) const LEAF_EXTENDED_FEATURES: u32 = 0x8000_0001;
const LEAF_L1: u32 = 0x8000_0005;
const LEAF_L2: u32 = 0x8000_0006;
const LEAF_POWER: u32 = 0x8000_0007;
const LEAF_SIZES: u32 = 0x8000_0008;
/// Where other ranges begin, such as Centaur's.
const EXTENDED_END: u32 = 0x8001_0000;

/// Leaves that AMD has not: cache and TLB descriptors (2, 4, 0x18), serial number (3), SGX (0x12),
/// trace (0x14), clock rates and SoC (0x15 to 0x17), hybrid cores and above (0x1A to 0x24).
const INTELS: [std::ops::RangeInclusive<u32>; 4] = [2..=4, 0x12..=0x12, 0x14..=0x18, 0x1a..=0x24];

/// EAX of leaf 1 on Intel: family 6, model 0xFF, of which no manual knows more than the
/// architecture: a driver then takes the PMU to be what leaf 0xA says, and looks for no errata.
const INTEL_SIGNATURE: u32 = 0x000f_06f0;
/// EAX of leaf 1 on AMD: family 0x19, model 0x11, the first with performance monitoring version 2;
/// it has the older counters as well.
const AMD_SIGNATURE: u32 = 0x00a1_0f11;

/// Bits of leaf 0x80000001 that Intel has. ECX: LAHF, LZCNT, PREFETCHW. EDX: SYSCALL, NX, 1 GiB
/// pages, RDTSCP, long mode.
const INTEL_EXTENDED_ECX: u32 = 1 | 1 << 5 | 1 << 8;
const INTEL_EXTENDED_EDX: u32 = 1 << 11 | 1 << 20 | 1 << 26 | 1 << 27 | 1 << 29;
/// EDX bits of leaf 1 that AMD repeats in leaf 0x80000001.
const AMD_REPEATED_EDX: u32 = 0x0183_f3ff;
/// Leaf 0x80000007 EDX: the TSC runs at one rate.
const INVARIANT_TSC: u32 = 1 << 8;
/// Leaf 0x80000008 EBX: WBNOINVD.
const WBNOINVD: u32 = 1 << 9;

/// What makes hypercalls in leaf 0x40000001 EAX: kicks of spinning vCPUs (7), IPIs (11), yielding
/// (13), page encryption (16).
const HYPERCALLS: u32 = 1 << 7 | 1 << 11 | 1 << 13 | 1 << 16;

/// What a vendor calls itself, in the order of EBX, EDX, ECX.
const fn name(vendor: Vendor) -> [[u8; 4]; 3] {
    match vendor {
        Vendor::Intel => [*b"Genu", *b"ineI", *b"ntel"],
        Vendor::Amd => [*b"Auth", *b"enti", *b"cAMD"],
    }
}

/// Whose PMUs belong to a CPU with this vendor string: AMD's to AMD's own and to Hygon's, which are
/// built alike; to all others Intel's, which those that have a PMU have copied.
///
/// ```
/// use vpmu::Vendor;
/// use vpmu_kvm::cpuid::vendor_named;
///
/// assert_eq!(vendor_named("AuthenticAMD"), Vendor::Amd);
/// assert_eq!(vendor_named("HygonGenuine"), Vendor::Amd);
/// assert_eq!(vendor_named("GenuineIntel"), Vendor::Intel);
/// ```
#[must_use]
pub fn vendor_named(name: &str) -> Vendor {
    match name {
        "AuthenticAMD" | "HygonGenuine" => Vendor::Amd,
        _ => Vendor::Intel,
    }
}

/// Whose PMUs belong to the CPU that this CPUID describes: the host's, if it is what
/// `KVM_GET_SUPPORTED_CPUID` gives.
#[must_use]
pub fn vendor_of(cpuid: &CpuId) -> Vendor {
    let basic = cpuid
        .as_slice()
        .iter()
        .find(|leaf| leaf.function == LEAF_BASIC);
    basic.map_or(Vendor::Intel, |leaf| {
        let name = [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes);
        vendor_named(&String::from_utf8_lossy(name.as_flattened()))
    })
}

/// Whose PMUs belong to the CPU that this runs on. It needs no KVM, which shows its guests the same
/// name.
#[must_use]
pub fn host_vendor() -> Vendor {
    vendor_named(&host_name())
}

/// What the CPU that this runs on calls itself.
pub(crate) fn host_name() -> String {
    let leaf = std::arch::x86_64::__cpuid(LEAF_BASIC);
    let name = [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes);
    String::from_utf8_lossy(name.as_flattened()).into_owned()
}

/// The model that a guest on this vendor's CPU finds if nobody chooses one.
///
/// AMD's is `amd-v2`: a driver that knows version 2 needs one exit, not six, to stop its counters or
/// to learn which of them overflowed, and for one that does not know it the counters are those of
/// `amd-core`, since all of them start enabled in the global control. Intel's is `intel-v2`, which is
/// what Linux KVM's own PMU offers: the version that drivers have met on KVM.
///
/// ```
/// use vpmu::{PmuModel, Vendor};
///
/// assert_eq!(vpmu_kvm::cpuid::default_model(Vendor::Amd), PmuModel::AMD_V2);
/// assert_eq!(vpmu_kvm::cpuid::default_model(Vendor::Intel), PmuModel::INTEL_V2);
/// ```
#[must_use]
pub fn default_model(vendor: Vendor) -> PmuModel {
    match vendor {
        Vendor::Amd => PmuModel::AMD_V2,
        Vendor::Intel => PmuModel::INTEL_V2,
    }
}

/// Makes the CPU one of `vendor`'s: its name, a family and model of it, and none of the leaves and
/// bits that only the other vendor has.
///
/// What KVM offers by hypercall goes too: the guest would make them by its vendor's instruction,
/// which the CPU below does not have.
pub(super) fn impersonate(cpuid: &mut CpuId, vendor: Vendor) {
    let features = cpuid
        .as_slice()
        .iter()
        .find(|leaf| leaf.function == LEAF_FEATURES)
        .map_or(0, |leaf| leaf.edx);
    cpuid.retain(|leaf| match vendor {
        Vendor::Intel => !(LEAF_SIZES + 1..EXTENDED_END).contains(&leaf.function),
        Vendor::Amd => !INTELS.iter().any(|leaves| leaves.contains(&leaf.function)),
    });
    for leaf in cpuid.as_mut_slice() {
        match leaf.function {
            LEAF_BASIC => set_name(leaf, name(vendor)),
            LEAF_KVM_FEATURES => leaf.eax &= !HYPERCALLS,
            _ => match vendor {
                Vendor::Intel => to_intel(leaf),
                Vendor::Amd => to_amd(leaf, features),
            },
        }
    }
}

fn to_intel(leaf: &mut kvm_cpuid_entry2) {
    match leaf.function {
        LEAF_FEATURES => leaf.eax = INTEL_SIGNATURE,
        LEAF_EXTENDED => {
            leaf.eax = leaf.eax.min(LEAF_SIZES);
            set_name(leaf, [[0; 4]; 3]);
        }
        LEAF_EXTENDED_FEATURES => {
            (leaf.eax, leaf.ebx) = (0, 0);
            leaf.ecx &= INTEL_EXTENDED_ECX;
            leaf.edx &= INTEL_EXTENDED_EDX;
        }
        LEAF_L1 => (leaf.eax, leaf.ebx, leaf.ecx, leaf.edx) = (0, 0, 0, 0),
        LEAF_L2 => (leaf.eax, leaf.ebx, leaf.edx) = (0, 0, 0),
        LEAF_POWER => {
            (leaf.eax, leaf.ebx, leaf.ecx) = (0, 0, 0);
            leaf.edx &= INVARIANT_TSC;
        }
        LEAF_SIZES => {
            leaf.ebx &= WBNOINVD;
            (leaf.ecx, leaf.edx) = (0, 0);
        }
        _ => {}
    }
}

fn to_amd(leaf: &mut kvm_cpuid_entry2, features: u32) {
    match leaf.function {
        LEAF_FEATURES => leaf.eax = AMD_SIGNATURE,
        LEAF_EXTENDED => {
            leaf.eax = leaf.eax.max(LEAF_SIZES);
            set_name(leaf, name(Vendor::Amd));
        }
        LEAF_EXTENDED_FEATURES => {
            (leaf.eax, leaf.ebx) = (AMD_SIGNATURE, 0);
            leaf.edx |= features & AMD_REPEATED_EDX;
        }
        _ => {}
    }
}

fn set_name(leaf: &mut kvm_cpuid_entry2, name: [[u8; 4]; 3]) {
    [leaf.ebx, leaf.edx, leaf.ecx] = name.map(u32::from_le_bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(function: u32, registers: [u32; 4]) -> kvm_cpuid_entry2 {
        let [eax, ebx, ecx, edx] = registers;
        kvm_cpuid_entry2 {
            function,
            eax,
            ebx,
            ecx,
            edx,
            ..Default::default()
        }
    }

    /// A CPU of `vendor` that has every bit of every leaf.
    fn host(name: [[u8; 4]; 3]) -> CpuId {
        let all = [u32::MAX; 4];
        let [ebx, edx, ecx] = name.map(u32::from_le_bytes);
        let basic = (1..=0x24).map(|function| leaf(function, all));
        let extended = (0x8000_0001..=0x8000_0022).map(|function| leaf(function, all));
        let leaves: Vec<_> = [
            leaf(0, [0x24, ebx, ecx, edx]),
            leaf(0x4000_0000, all),
            leaf(0x4000_0001, all),
            leaf(0x8000_0000, [0x8000_0022, ebx, ecx, edx]),
            leaf(0xc000_0000, all),
        ]
        .into_iter()
        .chain(basic)
        .chain(extended)
        .collect();
        CpuId::from_entries(&leaves).unwrap()
    }

    /// The leaf as EAX, EBX, ECX, EDX; None if there is none.
    fn of(cpuid: &CpuId, function: u32) -> Option<[u32; 4]> {
        let leaf = cpuid
            .as_slice()
            .iter()
            .find(|leaf| leaf.function == function);
        leaf.map(|leaf| [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx])
    }

    #[test]
    fn a_vendor_is_known_by_its_name() {
        for (text, vendor) in [
            (b"AuthenticAMD", Vendor::Amd),
            (b"HygonGenuine", Vendor::Amd),
            (b"GenuineIntel", Vendor::Intel),
            (b"CentaurHauls", Vendor::Intel),
            (b"  Shanghai  ", Vendor::Intel),
        ] {
            let (name, _) = text.as_chunks::<4>();
            let name: [[u8; 4]; 3] = name.try_into().unwrap();
            assert_eq!(vendor_of(&host(name)), vendor);
        }
        assert_eq!(vendor_of(&CpuId::new(0).unwrap()), Vendor::Intel);
    }

    #[test]
    fn an_amd_cpu_becomes_intels() {
        let mut cpuid = host(name(Vendor::Amd));
        impersonate(&mut cpuid, Vendor::Intel);
        assert_eq!(vendor_of(&cpuid), Vendor::Intel);
        let [max, ebx, ecx, edx] = of(&cpuid, 0).unwrap();
        let text = [ebx, edx, ecx].map(u32::to_le_bytes);
        assert_eq!((max, text.as_flattened()), (0x24, &b"GenuineIntel"[..]));
        let [signature, ..] = of(&cpuid, 1).unwrap();
        assert_eq!((signature >> 8 & 0xf, signature >> 20 & 0xff), (6, 0));
        assert_eq!((signature >> 4 & 0xf) | (signature >> 12 & 0xf0), 0xff);

        let all = u32::MAX;
        let none = [0; 4];
        assert_eq!(of(&cpuid, 0x8000_0000), Some([0x8000_0008, 0, 0, 0]));
        let [eax, ebx, ecx, edx] = of(&cpuid, 0x8000_0001).unwrap();
        assert_eq!((eax, ebx), (0, 0));
        assert_eq!((ecx, edx), (0x121, 0x2c10_0800), "no SVM, no AMD counters");
        assert_eq!(
            of(&cpuid, 0x8000_0004),
            Some([all; 4]),
            "the CPU's own name"
        );
        assert_eq!(of(&cpuid, 0x8000_0005), Some(none));
        assert_eq!(of(&cpuid, 0x8000_0006), Some([0, 0, all, 0]));
        assert_eq!(of(&cpuid, 0x8000_0007), Some([0, 0, 0, 1 << 8]));
        assert_eq!(of(&cpuid, 0x8000_0008), Some([all, 1 << 9, 0, 0]));
        for gone in [
            0x8000_0009,
            0x8000_001d,
            0x8000_001e,
            0x8000_0021,
            0x8000_0022,
        ] {
            assert_eq!(of(&cpuid, gone), None, "{gone:#x}");
        }
        assert_eq!(
            of(&cpuid, 0xc000_0000),
            Some([all; 4]),
            "nobody asked about it"
        );
    }

    #[test]
    fn an_intel_cpu_becomes_amds() {
        let mut cpuid = host(name(Vendor::Intel));
        // As Intel has it.
        for leaf in cpuid.as_mut_slice() {
            match leaf.function {
                0x8000_0000 => (leaf.eax, leaf.ebx, leaf.ecx, leaf.edx) = (0x8000_0004, 0, 0, 0),
                0x8000_0001 => leaf.edx = 1 << 29,
                _ => {}
            }
        }
        impersonate(&mut cpuid, Vendor::Amd);
        assert_eq!(vendor_of(&cpuid), Vendor::Amd);
        let [signature, ..] = of(&cpuid, 1).unwrap();
        assert_eq!((signature >> 8 & 0xf) + (signature >> 20 & 0xff), 0x19);

        let [max, ebx, ecx, edx] = of(&cpuid, 0x8000_0000).unwrap();
        let text = [ebx, edx, ecx].map(u32::to_le_bytes);
        assert_eq!(
            (max, text.as_flattened()),
            (0x8000_0008, &b"AuthenticAMD"[..])
        );
        let [eax, _, _, edx] = of(&cpuid, 0x8000_0001).unwrap();
        assert_eq!((eax, edx), (signature, 0x0183_f3ff | 1 << 29));
        for (function, there) in [
            (1, true),
            (2, false),
            (4, false),
            (5, true),
            (6, true),
            (7, true),
            (0xb, true),
            (0xd, true),
            (0x12, false),
            (0x14, false),
            (0x16, false),
            (0x1a, false),
            (0x1f, false),
            (0x23, false),
        ] {
            assert_eq!(of(&cpuid, function).is_some(), there, "{function:#x}");
        }
    }

    #[test]
    fn no_hypercall_is_offered_to_a_vendor_that_would_make_it_wrong() {
        for (from, to) in [(Vendor::Amd, Vendor::Intel), (Vendor::Intel, Vendor::Amd)] {
            let mut cpuid = host(name(from));
            impersonate(&mut cpuid, to);
            let [features, ..] = of(&cpuid, 0x4000_0001).unwrap();
            assert_eq!(features, !(1 << 7 | 1 << 11 | 1 << 13 | 1 << 16));
            assert_eq!(of(&cpuid, 0x4000_0000), Some([u32::MAX; 4]), "still KVM");
        }
    }
}
