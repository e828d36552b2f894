// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Boots guest test kernels one after the other and prints how each of their points went.

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use guest_tests::boot::Given;
use guest_tests::mover::Moves;
use guest_tests::plan::{self, Boot};
use guest_tests::steps::Steps;
use guest_tests::tap::Transcript;
use guest_tests::{Ending, Verdict, boot, judge};
use vpmu::PmuModel;

/// What is kept of a trace. In the lab it is in memory.
const TRACE_BYTES: usize = 64 << 20;

/// Lines of serial output shown of a run that failed.
const TAIL: usize = 30;

/// Boot guest test kernels on KVM and judge their TAP output. Ends with 0 if all points passed.
#[derive(Debug, Parser)]
#[command(name = "guest-tests", version)]
struct Args {
    /// Runs each kernel this many times.
    #[arg(long, value_name = "N", default_value = "1")]
    repeat: NonZero<u32>,

    /// Runs only the kernels of this name; may be given several times.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,

    /// Boots the kernel `registers` with this PMU model alone, such as `intel-v5,counters=2`; may be
    /// given several times. Without it, with the usual one of each kind.
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<PmuModel>,

    /// How long one run of a kernel may take; some kernels get more.
    #[arg(long, value_name = "SECONDS", default_value = "90")]
    deadline: NonZero<u32>,

    /// Seed of what is random on the host's side; it is printed with what was done. Without one,
    /// another for each run.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// How long a kernel goes on that does so for a time of its choice, such as storm-tasks; each may
    /// take so much longer.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<NonZero<u32>>,

    /// Leaves what the perf core did in each run in this folder, as Chrome trace events in a file
    /// named after the run: its first 64 MiB.
    #[arg(long, value_name = "FOLDER")]
    trace: Option<PathBuf>,

    /// Shows all that the kernels print.
    #[arg(long, short)]
    verbose: bool,

    /// The kernels.
    #[arg(value_name = "KERNEL", required = true)]
    kernels: Vec<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the kernels; whether all points passed.
fn run(args: &Args) -> Result<bool> {
    for only in &args.only {
        let known = args.kernels.iter().any(|kernel| name(kernel) == *only);
        ensure!(known, "`{only}` is none of the kernels given");
    }
    let models = match &args.models[..] {
        [] => PmuModel::ALL,
        models => models,
    };
    let (mut passed, mut failed) = (0, 0);
    for round in 1..=args.repeat.get() {
        if args.repeat.get() > 1 {
            println!("round {round} of {}", args.repeat);
        }
        for kernel in &args.kernels {
            if !args.only.is_empty() && !args.only.contains(&name(kernel)) {
                continue;
            }
            for boot in plan::boots(&name(kernel), models) {
                let verdict = run_one(kernel, &boot, args);
                passed += verdict.passed();
                failed += verdict.failed();
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}

fn run_one(kernel: &Path, boot: &Boot, args: &Args) -> Verdict {
    let name = &boot.label;
    let limit = boot.limit(Duration::from_secs(args.deadline.get().into()));
    let more = args.seconds.map_or(0, NonZero::get);
    let limit = limit + Duration::from_secs(more.into());
    let start = Instant::now();
    let seed = args.seed.unwrap_or_else(random_seed);
    let given = Given {
        seed,
        seconds: args.seconds.map(NonZero::get),
    };
    let traced = |folder: &PathBuf| trace_of(&folder.join(format!("{name}.json")));
    let booted = args.trace.as_ref().map(traced).transpose();
    let booted = booted.and_then(|trace| Ok(boot::boot(kernel, boot, limit, given, trace)?));
    let (output, ending, verdict) = match booted {
        Ok(run) => {
            for note in &run.notes {
                println!("{name}: {note}");
            }
            let mut verdict = judge(&Transcript::parse(&run.output), &run.ending);
            match run.moves {
                None => {}
                // Not the guest's fault, and not what it was to show: so it is said.
                Some(Moves::OneCpu) => {
                    println!("{name}: threads were not moved: there is only one host CPU");
                }
                Some(Moves::Times(times)) => {
                    println!("{name}: threads were moved {times} times");
                    verdict = verdict.moved(times);
                }
            }
            (run.output, run.ending, verdict)
        }
        Err(error) => {
            let reason = format!("{error:#}");
            let verdict = Verdict::not_started(reason.clone());
            (String::new(), Ending::Other(reason), verdict)
        }
    };
    for test in &verdict.tests {
        match &test.failure {
            None => println!("{name}: ok {}", test.name),
            Some(why) => println!("{name}: FAILED {} # {why}", test.name),
        }
    }
    let seconds = start.elapsed().as_secs_f32();
    println!("{name}: {ending} after {seconds:.1} s of at most {limit:?}");
    if args.verbose || verdict.failed() > 0 {
        let lines: Vec<&str> = output.lines().collect();
        let shown = if args.verbose { lines.len() } else { TAIL };
        for line in lines.iter().skip(lines.len().saturating_sub(shown)) {
            println!("{name}| {line}");
        }
    }
    verdict
}

/// Where a run's trace goes.
fn trace_of(path: &Path) -> Result<Box<dyn Write + Send>> {
    let file = File::create(path).with_context(|| format!("making {}", path.display()))?;
    Ok(Box::new(Steps::new(file, TRACE_BYTES)))
}

/// Different from run to run.
fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A kernel is called like its file.
fn name(kernel: &Path) -> String {
    let stem = kernel.file_stem().unwrap_or(kernel.as_os_str());
    stem.to_string_lossy().into_owned()
}
