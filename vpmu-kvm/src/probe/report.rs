// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the probe found, and what follows from it.

use std::path::Path;
use std::{env, fs};

use vpmu::PmuModel;

use super::guest::Findings;
use crate::cpuid;

/// One host, as far as a PMU is concerned.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct HostReport {
    /// The host kernel's release.
    pub kernel: String,
    /// The host CPU's vendor.
    pub vendor: Vendor,
    /// The KVM modules that are loaded, such as `kvm_amd`.
    pub modules: Vec<String>,
    /// `KVM_GET_API_VERSION`.
    pub api_version: i32,
    /// What a PMU needs of KVM.
    pub capabilities: Vec<Capability>,
    /// KVM has a PMU of its own here; it is disabled for a VM with ours.
    pub own_pmu: bool,
    /// What RDPMC does with nothing armed, by CPL and index.
    pub rdpmc: Vec<RdpmcFault>,
    /// Whether the breakpoint on the #GP handler fires, by the CPL that faulted.
    pub breakpoint: Vec<Breakpoint>,
    /// The RDPMC trap, the MSR exits and LVTPC, tried on the probe guest.
    pub checks: Vec<TrapCheck>,
    /// What follows.
    pub pmu: Offer,
}

/// The host CPU's vendor, by CPUID leaf 0.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(transparent))]
pub struct Vendor(pub String);

/// One capability of KVM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Capability {
    /// Its name in the KVM API document.
    pub name: &'static str,
    /// Whether this KVM has it.
    pub present: bool,
    /// The first Linux that has it.
    pub since: &'static str,
}

/// What one RDPMC does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RdpmcFault {
    /// Privilege level, 0 or 3 (with CR4.PCE set).
    pub cpl: u8,
    /// ECX.
    pub index: u32,
    /// What came of it.
    pub access: Access,
}

/// What an RDPMC in the probe guest led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "lowercase")
)]
pub enum Access {
    /// #GP: a PMU in user space can take it.
    Faults,
    /// KVM answered by itself: a PMU in user space does not see it.
    Answered,
    /// Neither: the probe guest did not get that far.
    Unknown,
}

/// Whether the breakpoint on the #GP handler fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Breakpoint {
    /// The privilege level that the #GP came from.
    pub cpl: u8,
    /// Whether it fired.
    pub fires: bool,
}

/// One thing that the probe tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct TrapCheck {
    /// What was tried.
    pub name: &'static str,
    /// Whether it works.
    pub works: bool,
    /// Whether no PMU can be offered without it.
    pub required: bool,
}

/// What guests of this host are offered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Offer {
    /// Whether a PMU can be offered.
    pub offered: bool,
    /// The models on offer, of both vendors.
    pub models: Vec<&'static str>,
    /// The one that a guest finds if nobody chooses: of the host CPU's vendor.
    pub default: Option<&'static str>,
    /// Why, in one sentence.
    pub reason: String,
    /// What the user can do about what is missing.
    pub remedies: Vec<String>,
}

impl HostReport {
    pub(super) fn new(
        api_version: i32,
        capabilities: Vec<Capability>,
        own_pmu: bool,
        found: Findings,
    ) -> Self {
        let check = |name, works, required| TrapCheck {
            name,
            works,
            required,
        };
        let faults = [0, 3].iter().all(|&cpl| {
            let mut of_cpl = found
                .rdpmc
                .iter()
                .filter(|fault| fault.cpl == cpl)
                .peekable();
            of_cpl.peek().is_some() && of_cpl.all(|fault| fault.access == Access::Faults)
        });
        let checks = vec![
            check("PMU MSRs exit to user space", found.msr_exits, true),
            check("RDPMC faults at every index and CPL", faults, true),
            check(
                "The breakpoint on the #GP handler fires",
                found.breakpoint == [true; 2],
                true,
            ),
            check("RDPMC is emulated at CPL 0", found.emulated[0], true),
            check("RDPMC is emulated at CPL 3", found.emulated[1], true),
            check(
                "Another #GP reaches the guest's handler",
                found.passed_on,
                true,
            ),
            check(
                "RDPMC at CPL 3 without CR4.PCE faults",
                found.pce_respected,
                true,
            ),
            check(
                "LVTPC can be written alone in x2APIC mode",
                found.lvtpc_is_an_msr,
                true,
            ),
            check("The TSC's rate is known", found.tsc_rate, true),
            check("The probe guest ended in time", !found.stuck, true),
        ];
        let breakpoint = [(0, 0), (1, 3)]
            .map(|(slot, cpl)| Breakpoint {
                cpl,
                fires: found.breakpoint[slot],
            })
            .to_vec();
        let pmu = offer(&capabilities, &checks, &breakpoint, &found.rdpmc);
        Self {
            kernel: read_line("/proc/sys/kernel/osrelease"),
            vendor: Vendor(cpuid::host_name()),
            modules: modules(),
            api_version,
            capabilities,
            own_pmu,
            rdpmc: found.rdpmc,
            breakpoint,
            checks,
            pmu,
        }
    }
}

fn offer(
    capabilities: &[Capability],
    checks: &[TrapCheck],
    breakpoint: &[Breakpoint],
    rdpmc: &[RdpmcFault],
) -> Offer {
    let missing: Vec<_> = capabilities
        .iter()
        .filter(|capability| !capability.present)
        .collect();
    let failed: Vec<_> = checks
        .iter()
        .filter(|check| check.required && !check.works)
        .collect();
    let mut remedies = Vec::new();
    let reason = if let Some(first) = missing.first() {
        remedies.extend(missing.iter().map(|capability| {
            format!(
                "{} needs Linux {} or newer on the host",
                capability.name, capability.since
            )
        }));
        format!("No PMU: this KVM lacks {}", first.name)
    } else if rdpmc.iter().any(|fault| fault.access == Access::Answered) {
        remedies.push(
            "Use a host kernel whose KVM faults on RDPMC without a vPMU: Linux 6.12 was seen to, \
             6.1 on AMD was seen not to"
                .to_owned(),
        );
        "No PMU: KVM answers RDPMC itself, so a PMU in user space would not see it".to_owned()
    } else if breakpoint.iter().any(|breakpoint| !breakpoint.fires) {
        remedies.push(
            "Run on a KVM with hardware breakpoints; nested in QEMU's TCG, use QEMU 10 or newer"
                .to_owned(),
        );
        "No PMU: the breakpoint on the guest's #GP handler does not fire".to_owned()
    } else if let Some(first) = failed.first() {
        remedies.push("Report this host, with the output of `perfvisor doctor --json`".to_owned());
        format!("No PMU: this does not work here: {}", first.name)
    } else {
        "MSR exits and the RDPMC trap work on this host".to_owned()
    };
    let offered = missing.is_empty() && failed.is_empty();
    let models = if offered {
        PmuModel::ALL.iter().map(PmuModel::name).collect()
    } else {
        vec![]
    };
    let default = offered.then(|| cpuid::default_model(cpuid::host_vendor()).name());
    Offer {
        offered,
        models,
        default,
        reason,
        remedies,
    }
}

fn modules() -> Vec<String> {
    let mut modules: Vec<_> = fs::read_dir(Path::new("/sys/module"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("kvm_"))
        .collect();
    modules.sort();
    modules
}

fn read_line(path: &str) -> String {
    fs::read_to_string(path).map_or_else(
        |_| env::consts::OS.to_owned(),
        |line| line.trim().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn perfect() -> (Vec<Capability>, Findings) {
        let capability = Capability {
            name: "KVM_CAP_X",
            present: true,
            since: "5.10",
        };
        let rdpmc = [0, 3]
            .map(|cpl| RdpmcFault {
                cpl,
                index: 0,
                access: Access::Faults,
            })
            .to_vec();
        let findings = Findings {
            rdpmc,
            breakpoint: [true; 2],
            msr_exits: true,
            emulated: [true; 2],
            passed_on: true,
            pce_respected: true,
            lvtpc_is_an_msr: true,
            tsc_rate: true,
            stuck: false,
        };
        (vec![capability], findings)
    }

    fn pmu_of(change: impl FnOnce(&mut Vec<Capability>, &mut Findings)) -> Offer {
        let (mut capabilities, mut findings) = perfect();
        change(&mut capabilities, &mut findings);
        HostReport::new(12, capabilities, false, findings).pmu
    }

    #[test]
    fn a_host_where_all_works_is_offered_every_model() {
        let pmu = pmu_of(|_, _| {});
        assert!(pmu.offered);
        let all: Vec<_> = PmuModel::ALL.iter().map(PmuModel::name).collect();
        assert_eq!(pmu.models, all);
        assert!(pmu.default.is_some_and(|name| pmu.models.contains(&name)));
        assert!(pmu.remedies.is_empty());
    }

    #[test]
    fn each_thing_missing_refuses_the_pmu_and_says_why() {
        type Change = fn(&mut Vec<Capability>, &mut Findings);
        let cases: [(Change, &str); 11] = [
            (|caps, _| caps[0].present = false, "lacks KVM_CAP_X"),
            (
                |_, f| f.rdpmc[1].access = Access::Answered,
                "answers RDPMC itself",
            ),
            (|_, f| f.rdpmc.clear(), "RDPMC faults at every index"),
            (|_, f| f.breakpoint[0] = false, "does not fire"),
            (|_, f| f.breakpoint[1] = false, "does not fire"),
            (|_, f| f.msr_exits = false, "MSRs exit"),
            (|_, f| f.emulated[1] = false, "emulated at CPL 3"),
            (|_, f| f.passed_on = false, "Another #GP"),
            (|_, f| f.pce_respected = false, "CR4.PCE"),
            (|_, f| f.lvtpc_is_an_msr = false, "LVTPC"),
            (|_, f| f.tsc_rate = false, "TSC"),
        ];
        for (change, why) in cases {
            let pmu = pmu_of(change);
            assert!(!pmu.offered && pmu.models.is_empty(), "{why}");
            assert_eq!(pmu.default, None, "{why}");
            assert!(pmu.reason.contains(why), "{} names {why}", pmu.reason);
            assert!(!pmu.remedies.is_empty(), "{why}");
        }
    }
}
