// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! On which machines a kernel is booted.

use std::time::Duration;

use vpmu::{PmuKind, PmuModel};

/// The kernel that finds out which PMU it has: one run for each model.
const EVERY_MODEL: &str = "registers";

/// The kernel that reads counters while its threads are moved about, 20,000 times in each way.
const MOVED: &str = "monotonic";

/// One boot of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// What the run is called: the kernel's name, and the model where there are several.
    pub label: String,
    /// The PMU that the guest finds. The kernel is told of it on its command line, as `model=`.
    pub model: PmuModel,
    /// Whether the process's threads are moved between the host's CPUs meanwhile.
    pub moved: bool,
    /// How many times the usual time the run may take.
    pub patience: u32,
}

impl Boot {
    /// How long the run may take where a usual one may take `usual`.
    #[must_use]
    pub fn limit(&self, usual: Duration) -> Duration {
        usual.saturating_mul(self.patience)
    }
}

/// The boots of the kernel called `kernel`: of `registers` one for each of `models`. The other
/// kernels are written for one model, whatever `models` are.
///
/// ```
/// use guest_tests::plan;
/// use vpmu::PmuModel;
///
/// let labels: Vec<String> = plan::boots("registers", &[PmuModel::AMD_V2, PmuModel::INTEL_V5])
///     .into_iter()
///     .map(|boot| boot.label)
///     .collect();
/// assert_eq!(labels, ["registers[amd-v2]", "registers[intel-v5]"]);
/// assert_eq!(plan::boots("overflow", &[PmuModel::AMD_V2])[0].label, "overflow");
/// ```
#[must_use]
pub fn boots(kernel: &str, models: &[PmuModel]) -> Vec<Boot> {
    if kernel == EVERY_MODEL {
        return models
            .iter()
            .map(|&model| Boot {
                label: format!("{kernel}[{model}]"),
                model,
                moved: false,
                patience: 2,
            })
            .collect();
    }
    let moved = kernel == MOVED;
    vec![Boot {
        label: kernel.to_owned(),
        model: first_slice(),
        moved,
        patience: if moved { 4 } else { 1 },
    }]
}

/// What all other kernels are written for: version 2 with four general-purpose counters and no
/// fixed-function ones.
fn first_slice() -> PmuModel {
    PmuModel::builder(PmuKind::IntelV2)
        .fixed(0)
        .build()
        .expect("version 2 need not have fixed-function counters")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_is_booted_with_every_model_that_is_asked_for() {
        let boots = boots("registers", PmuModel::ALL);
        assert_eq!(boots.len(), PmuModel::ALL.len());
        for (boot, model) in boots.iter().zip(PmuModel::ALL) {
            assert_eq!(boot.model, *model);
            assert_eq!(boot.label, format!("registers[{}]", model.name()));
        }
    }

    #[test]
    fn the_other_kernels_get_the_model_they_are_written_for() {
        for kernel in ["counting", "rdpmc", "overflow", "monotonic"] {
            let boots = boots(kernel, PmuModel::ALL);
            assert_eq!(boots.len(), 1);
            assert_eq!(boots[0].model.to_string(), "intel-v2,fixed=0");
            assert_eq!(boots[0].label, kernel);
            assert_eq!(boots[0].moved, kernel == "monotonic");
        }
    }

    #[test]
    fn a_patient_run_may_take_longer() {
        let usual = Duration::from_secs(10);
        let limit = |kernel: &str| boots(kernel, PmuModel::ALL)[0].limit(usual);
        assert_eq!(limit("counting"), usual);
        assert_eq!(limit("monotonic"), 4 * usual);
    }
}
