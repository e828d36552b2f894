// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The integration tests that need a KVM: `tests/kvm_*.rs`, whose tests are ignored by an
//! ordinary `cargo test`.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::build;
use crate::exit;
use crate::host_kvm::Place;
use crate::job::{Arg, Around, Input};
use crate::lab;
use crate::machine::Machine;
use crate::say;
use crate::workspace::{self, Workspace};

/// What the names of these tests' files begin with.
const PREFIX: &str = "kvm_";

/// For one file of tests.
const DEADLINE: Duration = Duration::from_secs(300);

/// Runs all of them, in one lab boot unless one of them breaks the lab.
pub(crate) fn run(place: Place) -> Result<()> {
    let tests = Workspace::load(&workspace::root())?.integration_tests(PREFIX);
    let binaries = build::static_tests(&tests)?;
    ensure!(!binaries.is_empty(), "there are no tests/{PREFIX}*.rs");
    let commands: Vec<Vec<Arg>> = binaries
        .iter()
        .map(|binary| {
            // One at a time: the lab has too few CPUs for tests to share them.
            let options = ["--ignored", "--test-threads=1"].map(|text| Arg::Text(text.into()));
            [vec![Arg::file(&binary.path)], options.to_vec()].concat()
        })
        .collect();

    let mut failed = Vec::new();
    let mut machine = None;
    for (binary, argv) in binaries.iter().zip(&commands) {
        say::step(format_args!("KVM tests {}", binary.name));
        let mut booted = machine.take();
        let run = lab::despite_a_fault(
            || match booted.take() {
                Some(machine) => Ok(machine),
                None => Machine::start(place, commands.iter().flatten(), false),
            },
            |machine| {
                let around = Around {
                    input: Input::Empty,
                    output: &mut exit::pass_through,
                    out: "out".as_ref(),
                    deadline: Some(DEADLINE),
                };
                machine
                    .run(argv, None, around)
                    .and_then(|ended| exit::code(machine, ended))
            },
        );
        match run {
            Ok((here, code)) => {
                if code != 0 {
                    failed.push(binary.name.as_str());
                }
                machine = Some(here);
            }
            Err(error) => {
                say::step(format_args!("{}: {error:#}", binary.name));
                failed.push(binary.name.as_str());
            }
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}
