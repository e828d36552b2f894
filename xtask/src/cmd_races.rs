// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `cargo xtask races`: the pictures of docs/races.md, out of traces of the guest kernels.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::cmd_mutants;
use crate::exit;
use crate::host_kvm::{OnArgs, Place};
use crate::job::{Arg, Around, Input};
use crate::machine::Machine;
use crate::mutants::guests::Builder;
use crate::mutants::patch::{self, Killer};
use crate::mutants::tree::Tree;
use crate::races;
use crate::races::catalogue::{RACES, Race};
use crate::say;
use crate::workspace::{self, Workspace};

/// What a usual run of a kernel may take in the harness, in seconds. A mutant may hang it.
const PATIENCE: &str = "--deadline=20";

/// The harness gives up on its kernel well before.
const DEADLINE: Duration = Duration::from_secs(180);

/// Where the traces of the code as it is are, and where those with a mutant.
const FIXED: &str = "fixed";
const BROKEN: &str = "broken";

/// Draw the races of docs/races.md as they happen in guest kernels on a real KVM: with the code as it
/// is, and with a mutant in a copy of the tree.
///
/// Each kernel runs twice and leaves a trace; of each, the shortest stretch is drawn in which the
/// race happened.
#[derive(Debug, Args)]
pub(crate) struct RacesArgs {
    #[command(flatten)]
    on: OnArgs,

    /// Where the pictures go.
    #[arg(long, short, value_name = "FOLDER", default_value = "docs")]
    output: PathBuf,

    /// Draws the traces of an earlier run again, and runs nothing.
    #[arg(long)]
    redraw: bool,

    /// Shows the lab's console on stderr.
    #[arg(long, short)]
    verbose: bool,

    /// The races, by the kernels that provoke them; all without a name.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// Draws them; 1 if one did not happen.
pub(crate) fn run(args: &RacesArgs) -> Result<u8> {
    let races = chosen(&args.names)?;
    let target = Workspace::load(&workspace::root())?.target_directory;
    let traces = target.join("races");
    if !args.redraw {
        record(&races, args.on.decide(), &target, &traces, args.verbose)?;
    }
    let mut missing = 0;
    for race in races {
        for (telling, how) in [(&race.fixed, FIXED), (&race.broken, BROKEN)] {
            let trace = traces.join(how).join(format!("{}.json", race.kernel));
            let name = format!("race-{}-{how}.svg", race.kernel);
            let drawn = read(&trace).and_then(|trace| races::picture(&trace, telling));
            match drawn.and_then(|svg| write(&args.output.join(&name), &svg)) {
                Ok(()) => say::step(format_args!("{name} is drawn")),
                Err(error) => {
                    missing += 1;
                    say::step(format_args!("{name}: {error:#}"));
                }
            }
        }
    }
    Ok(u8::from(missing > 0))
}

/// The races of those names, all without a name.
fn chosen(names: &[String]) -> Result<Vec<&'static Race>> {
    let unknown = names
        .iter()
        .find(|name| RACES.iter().all(|race| race.kernel != **name));
    if let Some(name) = unknown {
        let kernels: Vec<&str> = RACES.iter().map(|race| race.kernel).collect();
        let there_are = kernels.join(", ");
        bail!("there is no race `{name}`; there are: {there_are}");
    }
    let chosen = |race: &&Race| names.is_empty() || names.iter().any(|name| name == race.kernel);
    Ok(RACES.iter().filter(chosen).collect())
}

fn read(trace: &Path) -> Result<String> {
    fs::read_to_string(trace).with_context(|| format!("reading the trace {}", trace.display()))
}

fn write(picture: &Path, svg: &str) -> Result<()> {
    fs::write(picture, svg).with_context(|| format!("writing {}", picture.display()))
}

/// Runs each race's kernel with and without its mutant; the traces come to `traces`.
fn record(
    races: &[&Race],
    place: Place,
    target: &Path,
    traces: &Path,
    verbose: bool,
) -> Result<()> {
    let root = workspace::root();
    let patches = patch::load(&root.join(cmd_mutants::PATCHES))?;
    // The copy of the tree, and what is built of it, are those of the mutants in the lab.
    let scratch = target.join("mutants");
    let tree = Tree::copy(&root, &scratch.join("tree"))?;
    let builder = Builder::new(scratch.join("static"), scratch.join("bin"))?;
    let mut runs: Vec<(PathBuf, Vec<Arg>)> = Vec::new();
    let traced = |race: &Race, label: &str| {
        let killer = Killer::Kernel {
            name: race.kernel.to_owned(),
            point: None,
        };
        let mut argv = builder.command(&tree, &killer, &format!("race-{label}"))?;
        argv.extend(["--trace=$OUT", PATIENCE].map(|text| Arg::Text(text.into())));
        anyhow::Ok(argv)
    };
    // First all of the code as it is: that is built once.
    for race in races {
        runs.push((traces.join(FIXED), traced(race, FIXED)?));
    }
    for race in races {
        let patch = patches.iter().find(|patch| patch.name == race.mutant);
        let patch = patch.with_context(|| format!("there is no mutant `{}`", race.mutant))?;
        say::step(format_args!("building {}", race.mutant));
        let _applied = tree.apply(patch).context(race.mutant)?;
        runs.push((traces.join(BROKEN), traced(race, race.mutant)?));
    }
    let mut machine = Machine::start(place, runs.iter().flat_map(|(_, argv)| argv), verbose)?;
    for (out, argv) in &runs {
        let around = Around {
            input: Input::Empty,
            output: &mut exit::pass_through,
            out,
            deadline: Some(DEADLINE),
        };
        // A kernel that fails is what a mutant is for; whether the trace is there is seen later.
        machine.run(argv, None, around)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn races_go_by_their_kernels() {
        let names = |names: &[&str]| -> Result<Vec<&str>> {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            Ok(chosen(&names)?.iter().map(|race| race.kernel).collect())
        };
        assert_eq!(names(&[]).unwrap().len(), RACES.len());
        assert_eq!(names(&["sigtrap"]).unwrap(), ["sigtrap"]);
        let error = names(&["none"]).unwrap_err().to_string();
        assert!(error.contains("install-migrate"), "{error}");
    }
}
