// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Decides where a usable KVM is. A `/dev/kvm` that opens proves little: some are paravirtual or
//! nested and lack what the PMU needs. So our own `perfvisor doctor` is asked.

use std::fs::File;
use std::process::Command;
use std::time::Duration;

use clap::{Args, ValueEnum};
use lab_agent::wire::Exit;
use serde_json::Value;

use crate::build;
use crate::host;
use crate::job::{Ended, Input, Stream};
use crate::say;

/// A broken KVM may hang the doctor's mini-guest.
const DOCTOR_DEADLINE: Duration = Duration::from_secs(20);

/// Where to look for a KVM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum On {
    /// The host if `perfvisor doctor` finds its KVM usable, else the lab.
    Auto,
    /// This host, whatever its KVM is like.
    Host,
    /// The lab.
    Lab,
}

/// The choice as commands take it.
#[derive(Debug, Args)]
pub(crate) struct OnArgs {
    /// Where to run: on this host, in the lab, or on the host if its KVM is usable.
    #[arg(long, env = "PERFVISOR_KVM", value_enum, default_value_t = On::Auto)]
    on: On,
}

/// Where commands will run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// This host.
    Host,
    /// The lab.
    Lab,
}

impl OnArgs {
    /// Decides, and says why in a line.
    pub(crate) fn decide(&self) -> Place {
        let (place, why) = match self.on {
            On::Host => (Place::Host, "asked for".to_owned()),
            On::Lab => (Place::Lab, "asked for".to_owned()),
            On::Auto => match host_is_usable() {
                Ok(()) => (
                    Place::Host,
                    "perfvisor doctor finds its KVM usable".to_owned(),
                ),
                Err(why) => (Place::Lab, why),
            },
        };
        let name = match place {
            Place::Host => "this host",
            Place::Lab => "the lab",
        };
        say::step(format_args!("KVM of {name}: {why}"));
        place
    }
}

/// `Err` says in a line what is wrong with this host's KVM.
fn host_is_usable() -> Result<(), String> {
    File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .map_err(|e| format!("this host's /dev/kvm does not open ({e})"))?;
    let perfvisor = build::static_binary("perfvisor")
        .map_err(|e| format!("this host's KVM cannot be probed ({e:#})"))?;
    let mut doctor = Command::new(perfvisor);
    doctor.args(["doctor", "--json"]);
    let mut report = Vec::new();
    let output = &mut |stream, data: &[u8]| {
        if stream == Stream::Out {
            report.extend_from_slice(data);
        }
    };
    let ended = host::run(doctor, Input::Empty, output, Some(DOCTOR_DEADLINE));
    let ended = ended.map_err(|e| format!("probing this host's KVM failed ({e:#})"))?;
    judge(&ended, &report)
}

/// What the doctor's end and report say about the host.
fn judge(ended: &Ended, report: &[u8]) -> Result<(), String> {
    match ended {
        Ended::Exit(Exit::Code(0)) => {}
        Ended::Exit(Exit::Code(code)) => {
            return Err(format!(
                "perfvisor doctor finds this host's KVM wanting (code {code})"
            ));
        }
        Ended::Exit(other) => {
            return Err(format!("perfvisor doctor died on this host ({other:?})"));
        }
        Ended::Deadline => {
            return Err(format!(
                "this host's KVM hung for {} s",
                DOCTOR_DEADLINE.as_secs()
            ));
        }
    }
    let report: Value = serde_json::from_slice(report)
        .map_err(|e| format!("perfvisor doctor gave no report about this host ({e})"))?;
    match report.pointer("/pmu/offered") {
        Some(Value::Bool(true)) => Ok(()),
        _ => Err("this host's KVM does not let a PMU be offered".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_host_that_offers_a_pmu_is_usable() {
        let fine = Ended::Exit(Exit::Code(0));
        assert_eq!(judge(&fine, br#"{"pmu":{"offered":true}}"#), Ok(()));
        for report in [
            &br#"{"pmu":{"offered":false}}"#[..],
            b"{}",
            b"",
            b"fine",
            b"true",
        ] {
            assert!(judge(&fine, report).is_err(), "{report:?}");
        }
        for ended in [
            Ended::Deadline,
            Ended::Exit(Exit::Code(1)),
            Ended::Exit(Exit::Signal(11)),
            Ended::Exit(Exit::NotStarted(String::new())),
        ] {
            assert!(
                judge(&ended, br#"{"pmu":{"offered":true}}"#).is_err(),
                "{ended:?}"
            );
        }
    }
}
