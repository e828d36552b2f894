// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! On which machines a kernel is booted.

use std::time::Duration;

use vpmu::{PmuKind, PmuModel};

/// The kernel that finds out which PMU it has: one run for each model.
const EVERY_MODEL: &str = "registers";

/// The kernel that reads counters while its threads are moved about, 20,000 times in each way.
const MOVED: &str = "monotonic";

/// How many vCPUs most kernels find.
const VCPUS: u32 = 2;

/// The kernels that ask things of the host at the desk, with the vCPUs that they are booted with and
/// may have at most.
const AT_THE_DESK: [(&str, u32, u32); 9] = [
    ("hotplug", 2, 4),
    ("hotplug-race", 2, 4),
    ("hotplug-stubborn", 2, 4),
    ("pause", 4, 4),
    ("storm-tasks", 4, 4),
    ("install-offline", 4, 4),
    ("install-migrate", 4, 4),
    ("announce", 4, 4),
    ("hostile", 4, 4),
];

/// The kernels with tasks in user mode that ask nothing of the host, with their vCPUs.
const WITH_TASKS: [(&str, u32); 5] = [
    ("sched", 4),
    ("tasks", 4),
    ("inherit", 4),
    ("multiplex", 4),
    ("sigtrap", 4),
];

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
    /// vCPUs at the start.
    pub vcpus: u32,
    /// vCPUs at most.
    pub max_vcpus: u32,
    /// Whether there is a [`desk`](crate::desk).
    pub desk: bool,
}

impl Boot {
    fn usual(label: String, model: PmuModel) -> Self {
        Self {
            label,
            model,
            moved: false,
            patience: 1,
            vcpus: VCPUS,
            max_vcpus: VCPUS,
            desk: false,
        }
    }

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
                patience: 2,
                ..Boot::usual(format!("{kernel}[{model}]"), model)
            })
            .collect();
    }
    let usual = Boot::usual(kernel.to_owned(), first_slice());
    if kernel == MOVED {
        return vec![Boot {
            moved: true,
            patience: 4,
            ..usual
        }];
    }
    if let Some(&(_, vcpus)) = WITH_TASKS.iter().find(|(name, _)| *name == kernel) {
        return vec![Boot {
            vcpus,
            max_vcpus: vcpus,
            patience: 4,
            ..usual
        }];
    }
    let at_the_desk = AT_THE_DESK.iter().find(|(name, ..)| *name == kernel);
    vec![match at_the_desk {
        None => usual,
        Some(&(_, vcpus, max_vcpus)) => Boot {
            vcpus,
            max_vcpus,
            desk: true,
            // Each step is a conversation between threads, which a busy host draws out.
            patience: 4,
            ..usual
        },
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
    fn the_kernels_at_the_desk_have_more_vcpus() {
        let sizes = |kernel: &str| {
            let boot = &boots(kernel, PmuModel::ALL)[0];
            (boot.vcpus, boot.max_vcpus, boot.desk)
        };
        assert_eq!(sizes("counting"), (2, 2, false));
        assert_eq!(sizes("hotplug"), (2, 4, true));
        assert_eq!(sizes("pause"), (4, 4, true));
    }

    #[test]
    fn the_kernels_with_tasks_have_more_vcpus() {
        for kernel in ["sched", "tasks", "inherit", "sigtrap"] {
            let boot = &boots(kernel, PmuModel::ALL)[0];
            assert_eq!((boot.vcpus, boot.max_vcpus, boot.desk), (4, 4, false));
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
