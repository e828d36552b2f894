// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `perfvisor doctor`: what this host can do for a guest's PMU.

use std::fmt::Write as _;

use serde_json::json;
use vpmu::{PmuModel, Vendor};
use vpmu_kvm::cpuid::vendor_named;
use vpmu_kvm::probe::{Access, HostReport};

use super::Failure;
use super::output::{self, Stream};
use super::status::Status;

/// Say what this host can offer, and what to do about what is missing.
///
/// Runs a guest of a few instructions to find out which RDPMCs fault and whether the trap works.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes:\n  0      a PMU can be offered\n  121    wrong arguments\n  \
                        123    no PMU can be offered here, or there is no usable KVM\n  \
                        125    the output could not be written"
)]
pub(super) struct Args {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Prints the report; the status says whether a PMU can be offered.
pub(super) fn run(args: &Args) -> Result<Status, Failure> {
    let (text, offered) = match crate::probe() {
        Ok(host) => {
            let text = if args.json {
                to_json(host)?
            } else {
                render(host)
            };
            (text, host.pmu.offered)
        }
        Err(error) => {
            let reason = Failure::of(Status::Kvm, &error).line;
            let text = if args.json {
                no_kvm_json(&reason, error.remedy())?
            } else {
                no_kvm(&reason)
            };
            (text, false)
        }
    };
    Stream::Stdout.write(&text).map_err(output::to_failure)?;
    Ok(if offered {
        Status::Guest(0)
    } else {
        Status::Kvm
    })
}

fn to_json(value: &impl serde::Serialize) -> Result<String, Failure> {
    let text =
        serde_json::to_string_pretty(value).map_err(|error| Failure::of(Status::HostIo, &error))?;
    Ok(text + "\n")
}

fn no_kvm_json(reason: &str, remedy: Option<&str>) -> Result<String, Failure> {
    to_json(&json!({
        "pmu": { "offered": false, "models": [], "default": null, "reason": reason, "remedies": Vec::from_iter(remedy) }
    }))
}

fn no_kvm(reason: &str) -> String {
    format!("KVM: not usable\n  {reason}\nPMU: not offered\n")
}

/// The report for people. Writing to a string does not fail.
fn render(host: &HostReport) -> String {
    let mut text = String::new();
    let modules = if host.modules.is_empty() {
        "none".to_owned()
    } else {
        host.modules.join(", ")
    };
    let _ = writeln!(
        text,
        "Host: Linux {}, {}, KVM modules: {modules}",
        host.kernel, host.vendor.0
    );
    let _ = writeln!(text, "KVM: API {}", host.api_version);
    for capability in &host.capabilities {
        let _ = if capability.present {
            writeln!(text, "  yes  {}", capability.name)
        } else {
            writeln!(
                text,
                "  NO   {} (needs Linux {})",
                capability.name, capability.since
            )
        };
    }
    let own = if host.own_pmu {
        "yes, and switched off for guests with ours"
    } else {
        "no"
    };
    let _ = writeln!(text, "KVM has a PMU of its own: {own}");
    let _ = writeln!(text, "RDPMC with nothing armed:");
    for cpl in [0, 3] {
        let indices = |wanted| {
            let mut of_cpl = host
                .rdpmc
                .iter()
                .filter(|r| r.cpl == cpl && r.access == wanted);
            let first = of_cpl.next().map(|r| format!("{:#x}", r.index))?;
            Some(of_cpl.fold(first, |list, r| format!("{list}, {:#x}", r.index)))
        };
        for (access, what) in [
            (Access::Faults, "faults"),
            (Access::Answered, "KVM ANSWERS"),
            (Access::Unknown, "not known"),
        ] {
            if let Some(list) = indices(access) {
                let _ = writeln!(text, "  CPL {cpl}: {what} at index {list}");
            }
        }
    }
    let _ = writeln!(text, "Breakpoint on the #GP handler:");
    for breakpoint in &host.breakpoint {
        let fires = if breakpoint.fires {
            "fires"
        } else {
            "DOES NOT FIRE"
        };
        let _ = writeln!(text, "  #GP from CPL {}: {fires}", breakpoint.cpl);
    }
    let _ = writeln!(text, "Tried on a guest of a few instructions:");
    for check in &host.checks {
        let works = if check.works { "yes" } else { "NO " };
        let _ = writeln!(text, "  {works}  {}", check.name);
    }
    let offer = &host.pmu;
    let verdict = if offer.offered {
        "offered"
    } else {
        "not offered"
    };
    let _ = writeln!(text, "PMU: {verdict}\n  {}", offer.reason);
    let host_vendor = vendor_named(&host.vendor.0);
    text.push_str(&models(&offer.models, offer.default, host_vendor));
    for remedy in &offer.remedies {
        let _ = writeln!(text, "  What to do: {remedy}");
    }
    text
}

/// The models on offer, the host's own vendor's first.
fn models(names: &[&str], default: Option<&str>, host: Vendor) -> String {
    let own = |name: &&str| {
        let model: Result<PmuModel, _> = name.parse();
        model.is_ok_and(|model| model.vendor() == host)
    };
    let (own, others): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| own(name));
    let told = own.iter().map(|name| match default {
        Some(default) if default == *name => format!("{name} (the default)"),
        _ => (*name).to_owned(),
    });
    let own = told.collect::<Vec<_>>().join(", ");
    let mut text = String::new();
    for (what, list) in [
        ("Of this CPU's vendor", own),
        (
            "With a CPU of the other vendor, on request",
            others.join(", "),
        ),
    ] {
        if !list.is_empty() {
            let _ = writeln!(text, "  {what}: {list}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_kvm_the_document_has_the_same_keys() {
        let text = no_kvm_json("There is no KVM", Some("Get one")).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["pmu"]["offered"], false);
        assert_eq!(value["pmu"]["reason"], "There is no KVM");
        assert_eq!(value["pmu"]["remedies"], json!(["Get one"]));
    }

    #[test]
    fn models_are_told_by_vendor_with_the_default() {
        let names = PmuModel::ALL.iter().map(PmuModel::name).collect::<Vec<_>>();
        assert_eq!(
            models(&names, Some("amd-v2"), Vendor::Amd),
            "  Of this CPU's vendor: amd-k7, amd-core, amd-v2 (the default)\n  \
             With a CPU of the other vendor, on request: intel-v1, intel-v2, intel-v3, intel-v4, \
             intel-v5\n"
        );
        let intels = models(&names, Some("intel-v2"), Vendor::Intel);
        assert!(intels.starts_with("  Of this CPU's vendor: intel-v1, intel-v2 (the default)"));
        assert_eq!(models(&[], None, Vendor::Intel), "");
    }
}
