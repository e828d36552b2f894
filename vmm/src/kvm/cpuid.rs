// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A vCPU's CPUID: the host's, with the topology of this VM.
//!
//! One package, a core for each vCPU, a thread for each core; the APIC id is the vCPU's index.
//! Leaves as in the Intel SDM vol. 2A, CPUID, and the AMD APM vol. 3, appendix E.

use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

const LEAF_BASIC: u32 = 0;
const LEAF_FEATURES: u32 = 1;
const LEAF_CACHES: u32 = 4;
const LEAF_TOPOLOGY: u32 = 0xb;
const LEAF_TOPOLOGY_V2: u32 = 0x1f;
const LEAF_AMD_FEATURES: u32 = 0x8000_0001;
const LEAF_AMD_SIZES: u32 = 0x8000_0008;
const LEAF_AMD_CACHES: u32 = 0x8000_001d;
const LEAF_AMD_TOPOLOGY: u32 = 0x8000_001e;

/// Leaf 1 ECX: x2APIC, TSC deadline, and "this is a virtual machine".
const X2APIC: u32 = 1 << 21;
const TSC_DEADLINE: u32 = 1 << 24;
const HYPERVISOR: u32 = 1 << 31;
/// Leaf 1 EDX: EBX[23:16] is valid.
const HTT: u32 = 1 << 28;
/// Leaf 0x80000001 ECX: several cores, not threads.
const CMP_LEGACY: u32 = 1 << 1;
/// Leaf 0xB ECX[15:8]: the kind of level.
const LEVEL_THREAD: u32 = 1 << 8;
const LEVEL_CORE: u32 = 2 << 8;

/// The VM's part of CPUID.
#[derive(Clone, Copy, Debug)]
pub(super) struct Topology {
    /// How many vCPUs there are, at most 255.
    pub(super) vcpus: u32,
    /// Whether the in-kernel APIC's timer has the TSC-deadline mode.
    pub(super) tsc_deadline: bool,
}

impl Topology {
    /// The CPUID of vCPU `id`, made from what KVM supports; None if it has too many leaves.
    pub(super) fn cpuid_of(self, supported: &CpuId, id: u32) -> Option<CpuId> {
        let supported = supported.as_slice();
        let intel = supported
            .iter()
            .any(|leaf| leaf.function == LEAF_BASIC && leaf.ebx.to_le_bytes() == *b"Genu");
        let mut leaves: Vec<_> = supported
            .iter()
            .filter(|leaf| !matches!(leaf.function, LEAF_TOPOLOGY | LEAF_TOPOLOGY_V2))
            .copied()
            .collect();
        for leaf in &mut leaves {
            self.adjust(leaf, id, intel);
        }
        leaves.extend(self.topology_leaf(id));
        CpuId::from_entries(&leaves).ok()
    }

    fn adjust(self, leaf: &mut kvm_cpuid_entry2, id: u32, intel: bool) {
        let several = self.vcpus > 1;
        match leaf.function {
            LEAF_BASIC => leaf.eax = leaf.eax.max(LEAF_TOPOLOGY),
            LEAF_FEATURES => {
                leaf.ebx = leaf.ebx & 0xffff | self.vcpus << 16 | id << 24;
                leaf.ecx |= X2APIC | HYPERVISOR;
                set(&mut leaf.ecx, TSC_DEADLINE, self.tsc_deadline);
                set(&mut leaf.edx, HTT, several);
            }
            // EAX[31:26]: cores of the package; [25:14]: threads that share the cache, both
            // less one. An EAX of 0 ends the list.
            LEAF_CACHES if leaf.eax & 0x1f != 0 => {
                let cores = (self.vcpus - 1).min(0x3f);
                leaf.eax = leaf.eax & 0x3fff | cores << 26 | self.sharers(leaf.eax) << 14;
            }
            LEAF_AMD_CACHES if leaf.eax & 0x1f != 0 => {
                leaf.eax = leaf.eax & !(0xfff << 14) | self.sharers(leaf.eax) << 14;
            }
            LEAF_AMD_FEATURES if !intel => set(&mut leaf.ecx, CMP_LEGACY, several),
            // ECX[7:0]: cores less one; [15:12]: the width of the APIC id.
            LEAF_AMD_SIZES if !intel => {
                leaf.ecx = (self.vcpus - 1) | self.id_width() << 12;
            }
            // EAX: the APIC id; EBX: the core, of one thread; ECX: node 0 of one.
            LEAF_AMD_TOPOLOGY => (leaf.eax, leaf.ebx, leaf.ecx) = (id, id, 0),
            _ => {}
        }
    }

    /// How many other threads share the cache described by `eax`: the third level is the
    /// package's, the others are a core's.
    fn sharers(self, eax: u32) -> u32 {
        if eax >> 5 & 7 >= 3 { self.vcpus - 1 } else { 0 }
    }

    /// How many bits of the APIC id tell the vCPUs apart.
    fn id_width(self) -> u32 {
        u32::BITS - (self.vcpus - 1).leading_zeros()
    }

    fn topology_leaf(self, id: u32) -> [kvm_cpuid_entry2; 3] {
        let level = |index, eax, ebx, kind| kvm_cpuid_entry2 {
            function: LEAF_TOPOLOGY,
            index,
            flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
            eax,
            ebx,
            ecx: kind | index,
            edx: id,
            ..Default::default()
        };
        [
            level(0, 0, 1, LEVEL_THREAD),
            level(1, self.id_width(), self.vcpus, LEVEL_CORE),
            level(2, 0, 0, 0),
        ]
    }
}

fn set(register: &mut u32, bits: u32, on: bool) {
    if on {
        *register |= bits;
    } else {
        *register &= !bits;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(function: u32, index: u32, registers: [u32; 4]) -> kvm_cpuid_entry2 {
        let [eax, ebx, ecx, edx] = registers;
        kvm_cpuid_entry2 {
            function,
            index,
            eax,
            ebx,
            ecx,
            edx,
            ..Default::default()
        }
    }

    fn host(vendor: &[u8; 4]) -> CpuId {
        let all = [u32::MAX; 4];
        let vendor = u32::from_le_bytes(*vendor);
        CpuId::from_entries(&[
            leaf(0, 0, [7, vendor, 0, 0]),
            leaf(1, 0, [1, 0xffff_0800, 0, 0]),
            leaf(4, 0, [0xffff_c121, 0, 0, 0]),
            leaf(4, 3, [0xffff_c163, 0, 0, 0]),
            leaf(4, 4, [0; 4]),
            leaf(0xb, 0, all),
            leaf(0x1f, 0, all),
            leaf(0x8000_0001, 0, [0; 4]),
            leaf(0x8000_0008, 0, [0x3030, 0, 0, 0]),
            leaf(0x8000_001e, 0, all),
        ])
        .unwrap()
    }

    fn of(vendor: &[u8; 4], vcpus: u32, id: u32) -> impl Fn(u32, u32) -> kvm_cpuid_entry2 {
        let topology = Topology {
            vcpus,
            tsc_deadline: true,
        };
        let cpuid = topology.cpuid_of(&host(vendor), id).unwrap();
        move |function, index| {
            let mut leaves = cpuid
                .as_slice()
                .iter()
                .filter(|leaf| leaf.function == function && leaf.index == index);
            let leaf = *leaves.next().unwrap();
            assert!(leaves.next().is_none(), "leaf {function:#x} twice");
            leaf
        }
    }

    #[test]
    fn each_vcpu_finds_its_id_and_their_number() {
        for (vcpus, id) in [(1, 0), (2, 1), (5, 4), (255, 254)] {
            let leaf = of(b"Auth", vcpus, id);
            assert_eq!(leaf(1, 0).ebx, id << 24 | vcpus << 16 | 0x0800);
            assert_eq!(leaf(1, 0).edx & HTT != 0, vcpus > 1);
            assert_eq!(leaf(0xb, 1).ebx, vcpus);
            for level in 0..3 {
                assert_eq!(leaf(0xb, level).edx, id);
            }
            assert_eq!(leaf(0x8000_001e, 0).eax, id);
        }
    }

    #[test]
    fn the_topology_leaf_is_in_range_and_ends() {
        let leaf = of(b"Genu", 2, 0);
        assert_eq!(leaf(0, 0).eax, 0xb);
        assert_eq!((leaf(0xb, 0).eax, leaf(0xb, 0).ecx), (0, 0x100));
        assert_eq!((leaf(0xb, 1).eax, leaf(0xb, 1).ecx), (1, 0x201));
        assert_eq!((leaf(0xb, 2).ebx, leaf(0xb, 2).ecx), (0, 2));
    }

    #[test]
    fn the_id_width_holds_every_id() {
        for (vcpus, width) in [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (255, 8)] {
            assert_eq!(
                Topology {
                    vcpus,
                    tsc_deadline: false
                }
                .id_width(),
                width
            );
        }
    }

    #[test]
    fn the_third_cache_level_is_shared_and_the_list_still_ends() {
        let leaf = of(b"Genu", 4, 1);
        assert_eq!(leaf(4, 0).eax, 0x0121 | 3 << 26);
        assert_eq!(leaf(4, 3).eax, 0x0163 | 3 << 26 | 3 << 14);
        assert_eq!(leaf(4, 4).eax, 0);
    }

    #[test]
    fn sizes_and_legacy_cores_are_amds() {
        let amd = of(b"Auth", 2, 0);
        assert_eq!(amd(0x8000_0008, 0).ecx, 1 | 1 << 12);
        assert_eq!(amd(0x8000_0001, 0).ecx, CMP_LEGACY);
        let intel = of(b"Genu", 2, 0);
        assert_eq!(
            (intel(0x8000_0008, 0).ecx, intel(0x8000_0001, 0).ecx),
            (0, 0)
        );
    }

    #[test]
    fn the_apic_timer_says_what_it_has() {
        for tsc_deadline in [true, false] {
            let topology = Topology {
                vcpus: 1,
                tsc_deadline,
            };
            let cpuid = topology.cpuid_of(&host(b"Auth"), 0).unwrap();
            let features = cpuid
                .as_slice()
                .iter()
                .find(|leaf| leaf.function == 1)
                .unwrap();
            assert_eq!(features.ecx & TSC_DEADLINE != 0, tsc_deadline);
            assert_ne!(features.ecx & X2APIC, 0);
        }
    }
}
