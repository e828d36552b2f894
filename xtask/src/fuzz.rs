// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The fuzz targets: a workspace of their own, built with the coverage that libFuzzer is led by.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::build;
use crate::checks::{self, Outcome};
use crate::say;
use crate::tools;
use crate::workspace::{self, Workspace};

/// What they are built for. Named, so that build scripts and macros do without coverage.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Where the branches are that an input takes. Comparisons are left out: to be told of them costs half
/// of the speed, and inputs hold no numbers that are hard to find.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table";

/// The longest input, in bytes: some hundred operations.
const LONGEST: &str = "-max_len=1024";

/// How much more is done at night.
const NIGHTLY: u64 = 100;

/// What can be fuzzed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Target {
    /// A guest that does anything to the registers of any model.
    MsrTraffic,
    /// Snapshots: taken in the middle of anything, made up, and read from a file.
    SnapshotRestore,
    /// Any event filter, asked and obeyed.
    EventFilter,
    /// Clients that send anything to a control socket.
    Control,
    /// A guest that says anything to its perf port.
    Port,
}

impl Target {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [
        Self::MsrTraffic,
        Self::SnapshotRestore,
        Self::EventFilter,
        Self::Control,
        Self::Port,
    ];

    /// The name of its program and of its inputs' folder.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::MsrTraffic => "msr_traffic",
            Self::SnapshotRestore => "snapshot_restore",
            Self::EventFilter => "event_filter",
            Self::Control => "control",
            Self::Port => "port",
        }
    }

    /// How many inputs a part of the tests tries: all five take some 30 s together.
    const fn runs(self) -> u64 {
        match self {
            Self::MsrTraffic | Self::SnapshotRestore => 60_000,
            Self::EventFilter => 50_000,
            Self::Control => 15_000,
            Self::Port => 10_000,
        }
    }
}

/// What to run of a target.
#[derive(Debug)]
pub(crate) enum Inputs {
    /// So many, the same ones each time.
    Same(u64),
    /// So many, or until interrupted; what is learnt is kept for the next time.
    New(Option<u64>),
    /// These files alone.
    Files(Vec<PathBuf>),
}

/// A cargo command for the fuzz targets' workspace in the tree at `root`, which builds into a folder
/// of its own below `target`.
pub(crate) fn cargo(root: &Path, target: &Path, subcommand: &str) -> Command {
    let mut command = workspace::cargo();
    command
        .current_dir(root.join("fuzz"))
        .arg(subcommand)
        .env("CARGO_TARGET_DIR", target.join("fuzz"));
    command
}

/// Fuzzes all targets for a while.
pub(crate) fn all(nightly: bool) -> Result<Outcome> {
    for target in Target::ALL {
        let inputs = if nightly {
            Inputs::New(Some(target.runs() * NIGHTLY))
        } else {
            Inputs::Same(target.runs())
        };
        run(target, &inputs)?;
    }
    Ok(Outcome::Passed)
}

/// Builds a target and runs it.
pub(crate) fn run(target: Target, inputs: &Inputs) -> Result<Outcome> {
    let root = workspace::root();
    let scratch = Workspace::load(&root)?.target_directory;
    let program = build_target(&root, &scratch, target)?;
    say::step(format_args!("fuzzing {}", target.name()));

    let scratch = scratch.join("fuzz");
    let findings = scratch.join("artifacts").join(target.name());
    fs::create_dir_all(&findings)?;
    let mut command = Command::new(program);
    command
        .args(arguments(target, inputs, &root, &scratch)?)
        .arg(prefix(&findings));
    checks::run(&mut command).with_context(|| {
        format!(
            "{} breaks a law; the input is the newest file in {}: give it to `cargo xtask fuzz {}`",
            target.name(),
            findings.display(),
            target.name()
        )
    })
}

/// Where libFuzzer puts an input that breaks a law.
fn prefix(findings: &Path) -> OsString {
    let mut prefix = OsString::from("-artifact_prefix=");
    prefix.push(findings);
    prefix.push("/");
    prefix
}

/// The arguments that make libFuzzer run `inputs`; the folders that it needs are there then.
fn arguments(
    target: Target,
    inputs: &Inputs,
    root: &Path,
    scratch: &Path,
) -> Result<Vec<OsString>> {
    let seeds = root.join("fuzz/corpus").join(target.name());
    let mut arguments: Vec<OsString> = vec![LONGEST.into(), "-len_control=0".into()];
    let folder = match inputs {
        Inputs::Files(files) => {
            return Ok(files.iter().map(OsString::from).collect());
        }
        Inputs::Same(runs) => {
            arguments.extend(["-verbosity=0".into(), "-seed=1".into()]);
            arguments.push(format!("-runs={runs}").into());
            let folder = scratch.join("same").join(target.name());
            // What an earlier run learnt would make this one another.
            if folder.exists() {
                fs::remove_dir_all(&folder)?;
            }
            folder
        }
        Inputs::New(runs) => {
            arguments.extend(runs.map(|runs| format!("-runs={runs}").into()));
            scratch.join("corpus").join(target.name())
        }
    };
    fs::create_dir_all(&folder)?;
    arguments.extend([folder.into(), seeds.into()]);
    Ok(arguments)
}

fn build_target(root: &Path, scratch: &Path, target: Target) -> Result<PathBuf> {
    let compiler = env::var_os("CXX").unwrap_or_else(|| "c++".into());
    ensure!(
        tools::works(Command::new(compiler).arg("--version")),
        "libFuzzer is built from C++: install a compiler, such as the package g++"
    );
    let mut cargo = cargo(root, scratch, "build");
    cargo
        .args(["--quiet", "--locked", "--release", "--target", TRIPLE])
        .args(["--bin", target.name()])
        .env("RUSTFLAGS", COVERAGE)
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    let built = build::executables(cargo).context("building the fuzz targets")?;
    let [program] = &built[..] else {
        anyhow::bail!("cargo built {} programs instead of one", built.len());
    };
    Ok(program.path.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_go_by_their_programs_names() {
        for target in Target::ALL {
            let value = target.to_possible_value().expect("none is hidden");
            assert_eq!(value.get_name(), target.name());
        }
    }

    #[test]
    fn the_same_inputs_are_tried_from_the_same_start() {
        let scratch = env::temp_dir().join(format!("xtask-fuzz-{}", std::process::id()));
        let learnt = scratch.join("same/event_filter/learnt");
        fs::create_dir_all(learnt.parent().unwrap()).unwrap();
        fs::write(&learnt, "x").unwrap();
        let same = Inputs::Same(7);
        let told = arguments(Target::EventFilter, &same, Path::new("/tree"), &scratch).unwrap();
        assert!(!learnt.exists());
        assert!(learnt.parent().unwrap().is_dir());
        for argument in ["-seed=1", "-runs=7", "/tree/fuzz/corpus/event_filter"] {
            assert!(told.contains(&argument.into()), "{argument}: {told:?}");
        }
        fs::remove_dir_all(scratch).unwrap();
    }

    #[test]
    fn what_new_inputs_teach_is_kept() {
        let scratch = env::temp_dir().join(format!("xtask-fuzz-new-{}", std::process::id()));
        let learnt = scratch.join("corpus/msr_traffic/learnt");
        fs::create_dir_all(learnt.parent().unwrap()).unwrap();
        fs::write(&learnt, "x").unwrap();
        let new = Inputs::New(None);
        let told = arguments(Target::MsrTraffic, &new, Path::new("/tree"), &scratch).unwrap();
        assert!(learnt.exists());
        let stops = |argument: &OsString| argument.to_string_lossy().starts_with("-runs");
        assert!(!told.iter().any(stops), "{told:?}");
        fs::remove_dir_all(scratch).unwrap();
    }
}
