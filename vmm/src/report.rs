// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How a run ended and what its vCPUs did: the data behind the table and the JSON document.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::trace::TraceSummary;

mod pmu;

pub use pmu::{CounterReport, PmuSummary, SelectReport, SelectsReport, SkidReport};

/// Everything known about a run that has ended.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct RunReport {
    /// What ran the vCPUs: `kvm`.
    pub accel: &'static str,
    /// The PMU that the guest found.
    pub pmu: Option<PmuSummary>,
    /// From the first entry into the guest to its end.
    pub wall_time_ns: u64,
    /// One entry a vCPU, in the order of their ids.
    pub vcpus: Vec<VcpuReport>,
    /// What became of the trace, if there was to be one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceSummary>,
    /// How the run ended.
    pub exit: Exit,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exit {
    /// The kind of end.
    pub reason: ExitReason,
    /// The guest's exit code, if it gave one.
    pub code: Option<u32>,
    /// The vCPU that ended the run, if one did.
    pub vcpu: Option<u32>,
    /// One line for the user, where the reason alone does not say enough.
    pub message: Option<String>,
}

/// The kinds of end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ExitReason {
    /// The guest gave an exit code.
    GuestExit,
    /// The guest shut its machine down without a code.
    GuestShutdown,
    /// A vCPU of the guest triple-faulted.
    TripleFault,
    /// A vCPU could not go on: the accelerator or its thread failed.
    VcpuFailure,
    /// The run's time was up.
    Timeout,
    /// Input or output of the VMM itself failed.
    HostIo,
    /// Whoever started the run stopped it.
    Stopped,
    /// SIGINT arrived.
    Interrupted,
    /// SIGTERM arrived.
    Terminated,
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GuestExit => "The guest ended the run",
            Self::GuestShutdown => "The guest shut down without a code",
            Self::TripleFault => "The guest triple-faulted",
            Self::VcpuFailure => "A vCPU failed",
            Self::Timeout => "The time was up",
            Self::HostIo => "Input or output failed",
            Self::Stopped => "Stopped",
            Self::Interrupted => "Interrupted (SIGINT)",
            Self::Terminated => "Terminated (SIGTERM)",
        })
    }
}

impl Exit {
    /// An end that needs no more than its kind.
    pub const fn new(reason: ExitReason) -> Self {
        Self {
            reason,
            code: None,
            vcpu: None,
            message: None,
        }
    }

    /// The guest's own end, with its code.
    pub const fn guest(code: u32) -> Self {
        Self {
            reason: ExitReason::GuestExit,
            code: Some(code),
            vcpu: None,
            message: None,
        }
    }

    /// The same end, said to come from this vCPU.
    #[must_use]
    pub fn on_vcpu(self, id: u32) -> Self {
        Self {
            vcpu: Some(id),
            ..self
        }
    }

    /// The same end with a line for the user.
    #[must_use]
    pub fn with_message(self, message: impl Into<String>) -> Self {
        Self {
            message: Some(message.into()),
            ..self
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)?;
        if let Some(code) = self.code {
            write!(f, " with code {code}")?;
        }
        if let Some(vcpu) = self.vcpu {
            write!(f, " (vCPU {vcpu})")?;
        }
        if let Some(message) = &self.message {
            write!(f, ": {message}")?;
        }
        Ok(())
    }
}

/// What one vCPU did.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct VcpuReport {
    /// Its index, which is its APIC id too.
    pub id: u32,
    /// CPU time of its thread in nanoseconds, less what handling exits took: time in the guest and
    /// in the accelerator. Halted time is not in it. None where nobody measured it.
    pub guest_time_ns: Option<u64>,
    /// Exits to the VMM by kind, kinds that did not occur left out.
    pub exits: BTreeMap<&'static str, u64>,
    /// Overflow interrupts delivered to the guest.
    pub pmis: u64,
    /// Overflows that the guest could see.
    pub overflows: u64,
    /// Overflow interrupts not delivered because the guest had masked them.
    pub masked: u64,
    /// Overflow interrupts whose LVT entry names no vector and no NMI.
    pub undeliverable: u64,
    /// Overflow interrupts held back by the minimum re-arm interval.
    pub throttles: u64,
    /// RDPMC instructions served; on KVM each is an exit of kind `debug`.
    pub rdpmcs: u64,
    /// How late overflow interrupts were.
    pub skid: SkidReport,
    /// One entry a counter.
    pub counters: Vec<CounterReport>,
    /// What the guest enabled that cannot be counted here.
    pub not_counted: SelectsReport,
    /// What the guest enabled that the event filter refuses.
    pub filtered: SelectsReport,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn report() -> RunReport {
        let vcpu = VcpuReport {
            id: 1,
            guest_time_ns: Some(5),
            exits: [("io-out", 2)].into(),
            pmis: 3,
            skid: SkidReport {
                count: 3,
                max_cycles: Some(9),
                mean_cycles: Some(4),
            },
            counters: vec![CounterReport {
                name: "PMC0".to_owned(),
                counted: 7,
                overflows: 3,
            }],
            not_counted: SelectsReport {
                selects: vec![SelectReport {
                    select: 0x3_00c0,
                    event: "Instruction Retired".to_owned(),
                }],
                more: false,
            },
            ..VcpuReport::default()
        };
        RunReport {
            trace: None,
            accel: "kvm",
            pmu: Some(PmuSummary {
                model: "intel-v2,fixed=0".to_owned(),
                source: "clock",
                warning: None,
            }),
            wall_time_ns: 11,
            vcpus: vec![VcpuReport::default(), vcpu],
            exit: Exit::guest(300),
        }
    }

    #[test]
    fn the_document_has_the_keys_that_others_rely_on() {
        let value = serde_json::to_value(report()).unwrap();
        assert_eq!(value["accel"], "kvm");
        assert_eq!(
            value["pmu"],
            json!({ "model": "intel-v2,fixed=0", "source": "clock", "warning": null })
        );
        assert_eq!(
            value["exit"],
            json!({ "reason": "guest-exit", "code": 300, "vcpu": null, "message": null })
        );
        let vcpu = &value["vcpus"][1];
        assert_eq!(
            (&vcpu["id"], &vcpu["pmis"], &vcpu["throttles"]),
            (&json!(1), &json!(3), &json!(0))
        );
        assert_eq!(vcpu["exits"], json!({ "io-out": 2 }));
        assert_eq!(
            vcpu["skid"],
            json!({ "count": 3, "max_cycles": 9, "mean_cycles": 4 })
        );
        assert_eq!(
            vcpu["counters"],
            json!([{ "name": "PMC0", "counted": 7, "overflows": 3 }])
        );
        let select = json!({ "select": 0x3_00c0, "event": "Instruction Retired" });
        assert_eq!(
            vcpu["not_counted"],
            json!({ "selects": [select], "more": false })
        );
        assert_eq!(vcpu["filtered"], json!({ "selects": [], "more": false }));
        // What was not measured is no number.
        assert_eq!(value["vcpus"][0]["guest_time_ns"], Value::Null);
        assert_eq!(value["vcpus"][0]["skid"]["mean_cycles"], Value::Null);
    }

    #[test]
    fn an_end_is_one_line() {
        assert_eq!(
            Exit::guest(3).to_string(),
            "The guest ended the run with code 3"
        );
        let failure = Exit::new(ExitReason::VcpuFailure)
            .on_vcpu(1)
            .with_message("KVM_RUN failed");
        assert_eq!(
            failure.to_string(),
            "A vCPU failed (vCPU 1): KVM_RUN failed"
        );
    }
}
