// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which PMU a guest finds: what was asked for, and what that implies on this host.

use vpmu::{PmuModel, Vendor};

/// What was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum PmuChoice {
    /// The usual one of the host CPU's vendor.
    #[default]
    HostVendors,
    /// This one, whatever the host is.
    Model(PmuModel),
    /// None.
    Nothing,
}

impl PmuChoice {
    /// The model on a host of vendor `host`, with `usual` for each vendor's usual one.
    pub(crate) fn on(self, host: Vendor, usual: impl Fn(Vendor) -> PmuModel) -> Option<PmuModel> {
        match self {
            Self::HostVendors => Some(usual(host)),
            Self::Model(model) => Some(model),
            Self::Nothing => None,
        }
    }
}

/// What the user has to know of `model` on a host of vendor `host`, in one line; None if it is the
/// host's own vendor's.
pub(crate) fn implies(model: PmuModel, host: Vendor) -> Option<String> {
    let guest = model.vendor();
    (guest != host).then(|| {
        format!(
            "The PMU {model} is {guest}'s and this host {host}'s: the guest finds an {guest} CPU and \
             chooses its mitigations of speculation flaws for that one, not for this one; KVM's \
             hypercalls are not offered to it"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Vendor; 2] = [Vendor::Intel, Vendor::Amd];

    fn usual(vendor: Vendor) -> PmuModel {
        match vendor {
            Vendor::Intel => PmuModel::INTEL_V2,
            Vendor::Amd => PmuModel::AMD_V2,
        }
    }

    #[test]
    fn without_a_choice_the_model_is_of_the_hosts_vendor() {
        for host in BOTH {
            assert_eq!(PmuChoice::default().on(host, usual), Some(usual(host)));
            assert_eq!(PmuChoice::Nothing.on(host, usual), None);
            for model in PmuModel::ALL {
                assert_eq!(PmuChoice::Model(*model).on(host, usual), Some(*model));
            }
        }
    }

    #[test]
    fn another_vendors_pmu_is_told_with_what_it_implies() {
        for host in BOTH {
            for model in PmuModel::ALL {
                let Some(line) = implies(*model, host) else {
                    assert_eq!(model.vendor(), host);
                    continue;
                };
                assert_ne!(model.vendor(), host);
                for part in [model.name(), "mitigations", "hypercalls", "Intel", "AMD"] {
                    assert!(line.contains(part), "{part} is not in {line}");
                }
                assert!(!line.contains('\n'));
            }
        }
    }

    #[test]
    fn the_line_names_the_model_in_full() {
        let model: PmuModel = "intel-v2,fixed=0".parse().unwrap();
        let line = implies(model, Vendor::Amd).unwrap();
        assert!(
            line.contains("intel-v2,fixed=0 is Intel's and this host AMD's"),
            "{line}"
        );
    }
}
