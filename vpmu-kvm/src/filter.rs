// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which MSR accesses leave KVM for us.

use kvm_ioctls::{MsrFilterDefaultAction, MsrFilterRange, MsrFilterRangeFlags, VmFd};
use vpmu::PmuModel;
use vpmu::msr::MsrRange;

use crate::error::{Error, kvm};

/// KVM_MSR_FILTER_MAX_BITMAP_SIZE (0x600 bytes) in bits.
const MAX_SPAN: u32 = 0x600 * 8;

/// One range of KVM's filter: a clear bit is an MSR of the PMU, a set one is none of ours.
#[derive(Debug, PartialEq, Eq)]
struct Window {
    base: u32,
    bitmap: Vec<u8>,
}

impl Window {
    fn end(&self) -> u32 {
        self.base + u32::try_from(self.bitmap.len()).unwrap_or(u32::MAX) * 8
    }

    fn deny(&mut self, msr: u32) {
        let bit = msr - self.base;
        let byte = usize::try_from(bit / 8).unwrap_or(usize::MAX);
        if self.bitmap.len() <= byte {
            self.bitmap.resize(byte + 1, 0xff);
        }
        self.bitmap[byte] &= !(1 << (bit % 8));
    }
}

/// Packs sorted ranges into as few windows as they fit: KVM takes 16 at most and searches them
/// one by one.
fn windows(ranges: impl Iterator<Item = MsrRange>) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    for msr in ranges.flat_map(|range| range.first.0..range.first.0 + range.count) {
        match windows.last_mut() {
            Some(window) if msr - window.base < MAX_SPAN => window.deny(msr),
            _ => {
                let mut window = Window {
                    base: msr,
                    bitmap: Vec::new(),
                };
                window.deny(msr);
                windows.push(window);
            }
        }
    }
    debug_assert!(windows.windows(2).all(|pair| pair[0].end() <= pair[1].base));
    windows
}

/// Makes every access to an MSR of `model`'s ranges exit to user space; all others stay with KVM.
pub(crate) fn install(vm: &VmFd, model: PmuModel) -> Result<(), Error> {
    let windows = windows(model.msr_ranges());
    let ranges: Vec<_> = windows
        .iter()
        .map(|window| MsrFilterRange {
            flags: MsrFilterRangeFlags::READ | MsrFilterRangeFlags::WRITE,
            base: window.base,
            msr_count: window.end() - window.base,
            bitmap: &window.bitmap,
        })
        .collect();
    vm.set_msr_filter(MsrFilterDefaultAction::ALLOW, &ranges)
        .map_err(kvm(
            "KVM_X86_SET_MSR_FILTER",
            "It needs Linux 5.10 or newer on the host",
        ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vpmu::msr::{IA32_DEBUGCTL, MsrId};

    fn denied(windows: &[Window], msr: u32) -> bool {
        windows.iter().any(|window| {
            (window.base..window.end()).contains(&msr) && {
                let bit = msr - window.base;
                window.bitmap[bit as usize / 8] & (1 << (bit % 8)) == 0
            }
        })
    }

    #[test]
    fn exactly_the_pmu_msrs_are_filtered() {
        for model in PmuModel::ALL {
            let windows = windows(model.msr_ranges());
            assert!(windows.len() <= 16, "KVM_MSR_FILTER_MAX_RANGES");
            assert!(windows.iter().all(|window| window.bitmap.len() <= 0x600));
            let ours = |msr: u32| model.msr_ranges().any(|range| range.contains(MsrId(msr)));
            for msr in (0..0x4000)
                .chain(0xc000_0000..0xc000_4000)
                .chain(0xc001_0000..0xc001_4000)
            {
                assert_eq!(denied(&windows, msr), ours(msr), "{model}: {msr:#x}");
            }
        }
    }

    #[test]
    fn debugctl_is_ours_where_the_pmu_can_freeze() {
        let filtered = |model: PmuModel| denied(&windows(model.msr_ranges()), IA32_DEBUGCTL.0);
        assert!(filtered(PmuModel::INTEL_V2) && filtered(PmuModel::INTEL_V4));
        assert!(!filtered(PmuModel::INTEL_V1) && !filtered(PmuModel::AMD_V2));
    }

    #[test]
    fn far_ranges_get_windows_of_their_own() {
        let ranges = [
            MsrRange {
                first: MsrId(0xc1),
                count: 2,
            },
            MsrRange {
                first: MsrId(0xc1 + MAX_SPAN),
                count: 1,
            },
        ];
        let windows = windows(ranges.into_iter());
        assert_eq!(windows.len(), 2);
        assert_eq!(
            windows[0],
            Window {
                base: 0xc1,
                bitmap: vec![0xfc]
            }
        );
    }
}
