// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `cargo xtask guest`: the guest test kernels on a real KVM, all in one lab boot.

use std::iter;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::build;
use crate::exit;
use crate::host_kvm::{OnArgs, Place};
use crate::job::{Arg, Around, Input, Stream};
use crate::kernels;
use crate::lab;
use crate::machine::Machine;
use crate::workspace;

/// What one usual run of one kernel may take in the lab on a busy machine; the harness has a
/// time-out of its own for each, this one is for a harness that hangs.
const DEADLINE_PER_RUN: Duration = Duration::from_secs(120);

/// The kernels that may take longer, and than how many usual runs: one is booted with every PMU
/// model, one reads a counter tens of thousands of times, others talk to the host all the time, or have
/// more vCPUs than the host has CPUs.
const LONG: [(&str, u32); 16] = [
    ("registers", 16),
    ("monotonic", 4),
    ("hotplug", 4),
    ("hotplug-race", 4),
    ("hotplug-stubborn", 4),
    ("pause", 4),
    ("sched", 4),
    ("tasks", 4),
    ("inherit", 4),
    ("storm-tasks", 4),
    ("install-offline", 4),
    ("install-migrate", 4),
    ("announce", 4),
    ("multiplex", 4),
    ("sigtrap", 4),
    ("hostile", 4),
];

/// The kernels that are shown to people instead of being judged.
const FOR_PEOPLE: [&str; 2] = ["sample", "playground"];

/// What the names of kernels begin with that other tests use; some fail or hang on purpose.
const AUXILIARY: &str = "aux-";

/// How the harness is to run kernels.
#[derive(Debug, Args)]
pub(crate) struct How {
    /// Runs each kernel this many times.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) repeat: NonZero<u32>,

    /// Boots the kernel `registers` with this PMU model alone; may be given several times.
    #[arg(long = "model", value_name = "MODEL")]
    pub(crate) models: Vec<String>,

    /// Seed of what kernels and the host do at random; another for each run without it.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,

    /// How long a kernel goes on that does so for a time of its choice, such as storm-tasks.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) seconds: Option<NonZero<u32>>,
}

impl How {
    /// Each kernel so many times, `registers` with every model.
    pub(crate) fn times(repeat: NonZero<u32>) -> Self {
        Self {
            repeat,
            models: Vec::new(),
            seed: None,
            seconds: None,
        }
    }

    fn options(&self) -> Vec<String> {
        let models = self.models.iter().map(|model| format!("--model={model}"));
        let seed = self.seed.map(|seed| format!("--seed={seed}"));
        let seconds = self.seconds.map(|seconds| format!("--seconds={seconds}"));
        iter::once(format!("--repeat={}", self.repeat))
            .chain(models)
            .chain(seed)
            .chain(seconds)
            .collect()
    }
}

/// Run the guest test kernels on a real KVM; each of their points is a test.
#[derive(Debug, Args)]
pub(crate) struct GuestArgs {
    #[command(flatten)]
    pub(crate) on: OnArgs,

    #[command(flatten)]
    pub(crate) how: How,

    /// Shows the lab's console on stderr.
    #[arg(long, short)]
    verbose: bool,

    /// The kernels to run; all without a name.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// What the harness said.
pub(crate) struct Judgement {
    /// Its exit code.
    pub(crate) code: u8,
    /// Its lines about points that failed.
    pub(crate) failed: Vec<String>,
}

/// Runs the kernels; the harness's exit code.
pub(crate) fn run(args: &GuestArgs) -> Result<u8> {
    let kernels = test_kernels(&args.names)?;
    Ok(judge(args.on.decide(), &kernels, &args.how, args.verbose)?.code)
}

/// Builds the kernels and finds those named, or all tests among them.
pub(crate) fn test_kernels(names: &[String]) -> Result<Vec<PathBuf>> {
    let mut kernels = kernels::build(&workspace::root())?;
    kernels.retain(|kernel| {
        !FOR_PEOPLE.contains(&&*kernel.name) && !kernel.name.starts_with(AUXILIARY)
    });
    if names.is_empty() {
        return Ok(kernels.into_iter().map(|kernel| kernel.path).collect());
    }
    names
        .iter()
        .map(|name| Ok(kernels::find(&kernels, name)?.path.clone()))
        .collect()
}

/// Lets the harness judge `kernels`.
pub(crate) fn judge(
    place: Place,
    kernels: &[PathBuf],
    how: &How,
    verbose: bool,
) -> Result<Judgement> {
    let mut argv = vec![Arg::file(build::static_binary("guest-tests")?)];
    argv.extend(how.options().into_iter().map(|text| Arg::Text(text.into())));
    argv.extend(kernels.iter().map(Arg::file));
    let deadline = deadline(kernels, how);

    let mut said = Vec::new();
    let (machine, ended) = lab::despite_a_fault(
        || Machine::start(place, &argv, verbose),
        |machine| {
            machine.run(
                &argv,
                None,
                Around {
                    input: Input::Empty,
                    output: &mut |stream, data| {
                        exit::pass_through(stream, data);
                        if stream == Stream::Out {
                            said.extend_from_slice(data);
                        }
                    },
                    out: "out".as_ref(),
                    deadline: Some(deadline),
                },
            )
        },
    )?;
    let code = exit::code(&machine, ended)?;
    // Also what failed before a reset.
    let failed = failures(&String::from_utf8_lossy(&said));
    Ok(Judgement { code, failed })
}

/// What all runs may take.
fn deadline(kernels: &[PathBuf], how: &How) -> Duration {
    let usual = DEADLINE_PER_RUN.saturating_mul(runs(kernels));
    let chosen = how.seconds.map_or(0, NonZero::get).into();
    let boots = u32::try_from(kernels.len()).unwrap_or(u32::MAX);
    let chosen = Duration::from_secs(chosen).saturating_mul(boots);
    (usual + chosen).saturating_mul(how.repeat.get())
}

/// How many usual runs `kernels` may take, each once.
fn runs(kernels: &[PathBuf]) -> u32 {
    let runs_of = |kernel: &PathBuf| {
        let mut long = LONG.iter();
        long.find(|(name, _)| kernel.file_stem().is_some_and(|stem| stem == *name))
            .map_or(1, |(_, runs)| *runs)
    };
    kernels.iter().map(runs_of).sum()
}

/// The harness's lines about points that failed.
fn failures(said: &str) -> Vec<String> {
    said.lines()
        .filter(|line| line.split_once(": ").is_some_and(is_failure))
        .map(str::to_owned)
        .collect()
}

/// A guest's own words follow `kernel|`.
fn is_failure((kernel, point): (&str, &str)) -> bool {
    !kernel.contains('|') && point.starts_with("FAILED ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_that_take_long_get_more_time() {
        let kernels = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(runs(&kernels(&["a/counting", "b/rdpmc"])), 2);
        assert_eq!(
            runs(&kernels(&["a/counting", "a/registers", "monotonic"])),
            21
        );
    }

    #[test]
    fn the_harness_is_told_how() {
        let mut how = How::times(NonZero::<u32>::MIN);
        assert_eq!(how.options(), ["--repeat=1"]);
        how.models = vec!["amd-v2".to_owned(), "intel-v5,counters=2".to_owned()];
        assert_eq!(
            how.options()[1..],
            ["--model=amd-v2", "--model=intel-v5,counters=2"]
        );
        let kernels = [PathBuf::from("sched")];
        let usual = deadline(&kernels, &how);
        how.models.clear();
        how.seed = Some(7);
        how.seconds = NonZero::new(1_800);
        assert_eq!(how.options()[1..], ["--seed=7", "--seconds=1800"]);
        assert_eq!(deadline(&kernels, &how), usual + Duration::from_secs(1_800));
    }

    #[test]
    fn failures_are_the_harnesss_lines_alone() {
        let said = "a: ok one\na: FAILED two # 1, not 2\na| b: FAILED by a guest\na: exit code 1\n";
        assert_eq!(failures(said), ["a: FAILED two # 1, not 2"]);
        assert!(failures("").is_empty());
    }
}
