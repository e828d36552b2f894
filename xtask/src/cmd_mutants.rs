// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `cargo xtask mutants`: proves that the tests notice when a rule is broken.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::host_kvm::{OnArgs, Place};
use crate::job::Arg;
use crate::mutants::cover;
use crate::mutants::guests::{Builder, Judge};
use crate::mutants::ledger::Ledger;
use crate::mutants::native::Workshop;
use crate::mutants::patch::{self, Killer, Patch};
use crate::mutants::queue;
use crate::mutants::score::{self, Score};
use crate::mutants::tree::Tree;
use crate::say;
use crate::workspace::{self, Workspace};

/// Where the patches are.
pub(crate) const PATCHES: &str = "xtask/mutants";

/// Where the tests of the numbered rules are: once they are, each number needs a mutant.
const NUMBERED: &str = "vpmu/tests/races";

/// What is said of rules that have none.
const WITHOUT: &str = "rules without a mutant";

/// More workshops than this are not worth the space they take.
const MAX_WORKSHOPS: usize = 4;

/// Apply each of the committed patches to a copy of the tree: the test it names must fail.
///
/// The patches and what their headers mean are in xtask/mutants. Ends with a line
/// `N killed, N survived`; the exit code is 0 if none survived, each could be tried and, when all
/// are tried, no numbered rule is without one.
#[derive(Debug, Args)]
pub(crate) struct MutantsArgs {
    #[command(flatten)]
    on: OnArgs,

    /// The mutants that need guests on a KVM, instead of those that do not.
    #[arg(long)]
    lab: bool,

    /// Prints name, rule and killer of the mutants of either kind, and tries none.
    #[arg(long, conflicts_with = "lab")]
    list: bool,

    /// The mutants to try, by the names of their patches; all without a name.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// Which mutants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Those that ordinary tests notice.
    Native,
    /// Those that need guests.
    Lab,
}

/// Tries the mutants; 1 if not all were killed.
pub(crate) fn run(args: &MutantsArgs) -> Result<u8> {
    if args.list {
        let root = workspace::root();
        let all = patch::load(&root.join(PATCHES))?;
        let missing = missing(&root, &all);
        print!("{}", table(&named(all, &args.names)?));
        if !missing.is_empty() {
            say::step(format_args!("{WITHOUT}: {}", missing.join(", ")));
        }
        return Ok(0);
    }
    let kind = if args.lab { Kind::Lab } else { Kind::Native };
    Ok(u8::from(!hunt(kind, &args.names, || args.on.decide())?))
}

/// Tries the mutants of that kind and of those names, all of the kind without a name; whether
/// all were killed and all numbered rules have one.
pub(crate) fn hunt(kind: Kind, names: &[String], place: impl Fn() -> Place) -> Result<bool> {
    let started = Instant::now();
    let root = workspace::root();
    let all = patch::load(&root.join(PATCHES))?;
    let missing = if kind == Kind::Native && names.is_empty() {
        missing(&root, &all)
    } else {
        Vec::new()
    };
    let patches = of_kind(named(all, names)?, kind)?;
    let scratch = Workspace::load(&root)?.target_directory.join("mutants");
    let score = match kind {
        Kind::Native => hunt_native(&patches, &root, &scratch)?,
        Kind::Lab => {
            let tree = Tree::copy(&root, &scratch.join("tree"))?;
            let builder = Builder::new(scratch.join("static"), scratch.join("bin"))?;
            hunt_in_lab(&patches, &tree, &builder, place())?
        }
    };
    if !missing.is_empty() {
        println!("{WITHOUT}: {}", missing.join(", "));
    }
    println!("{} in all", score::seconds(started.elapsed()));
    println!("{} killed, {} survived", score.killed, score.survived);
    if score.failed > 0 {
        say::step(format_args!("{} could not be tried", score.failed));
    }
    Ok(score.is_clean() && missing.is_empty())
}

/// The numbered rules that none of the patches breaks.
fn missing(root: &Path, all: &[Patch]) -> Vec<String> {
    if root.join(NUMBERED).is_dir() {
        cover::missing(all)
    } else {
        Vec::new()
    }
}

/// The patches of those names, all without a name.
fn named(mut patches: Vec<Patch>, names: &[String]) -> Result<Vec<Patch>> {
    if let Some(name) = names
        .iter()
        .find(|name| patches.iter().all(|patch| patch.name != **name))
    {
        let names: Vec<&str> = patches.iter().map(|patch| patch.name.as_str()).collect();
        bail!(
            "there is no mutant `{name}`; there are: {}",
            names.join(", ")
        );
    }
    patches.retain(|patch| names.is_empty() || names.contains(&patch.name));
    Ok(patches)
}

/// The patches of that kind, of which there must be one.
fn of_kind(mut patches: Vec<Patch>, kind: Kind) -> Result<Vec<Patch>> {
    patches.retain(|patch| matches!(patch.killer, Killer::Native(_)) == (kind == Kind::Native));
    ensure!(
        !patches.is_empty(),
        "there are no such mutants {} --lab in {PATCHES}",
        if kind == Kind::Lab { "with" } else { "without" }
    );
    Ok(patches)
}

/// Name, rule and killer of each.
fn table(patches: &[Patch]) -> String {
    let width = |of: fn(&Patch) -> &str| {
        let widths = patches.iter().map(|patch| of(patch).chars().count());
        widths.max().unwrap_or_default()
    };
    let (name, rule) = (width(|patch| &patch.name), width(|patch| &patch.rule));
    let line = |patch: &Patch| {
        format!(
            "{:<name$}  {:<rule$}  {}\n",
            patch.name, patch.rule, patch.killer
        )
    };
    patches.iter().map(line).collect()
}

fn hunt_native(patches: &[Patch], root: &Path, scratch: &Path) -> Result<Score> {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let mut workshops = (0..cpus.min(MAX_WORKSHOPS))
        .map(|number| Workshop::open(root, &scratch.join(format!("workshop-{number}"))))
        .collect::<Result<Vec<_>>>()?;
    let mut ledger = Ledger::default();
    queue::work(queue::jobs(patches), &mut workshops, |job, tried| {
        ledger.enter(job, tried)
    });
    Ok(ledger.close())
}

fn hunt_in_lab(patches: &[Patch], tree: &Tree, builder: &Builder, place: Place) -> Result<Score> {
    // First what the killers say of the tree as it is, then of each mutant.
    let mut commands: Vec<(&Killer, Vec<Arg>)> = Vec::new();
    let mut unmutated = BTreeMap::new();
    for patch in patches {
        if !unmutated.contains_key(&patch.killer) {
            let label = format!("unmutated-{}", unmutated.len());
            let command = builder.command(tree, &patch.killer, &label);
            unmutated.insert(&patch.killer, commands.len());
            commands.push((&patch.killer, command.context("without a mutant")?));
        }
    }
    let mut mutated = Vec::new();
    for patch in patches {
        say::step(format_args!("building {}", patch.name));
        let built = tree
            .apply(patch)
            .and_then(|_applied| builder.command(tree, &patch.killer, &patch.name));
        mutated.push(built.map(|command| {
            commands.push((&patch.killer, command));
            commands.len() - 1
        }));
    }

    let mut score = Score::default();
    let mut judge = Judge::new(place, &commands);
    let mut sound = BTreeMap::new();
    for (patch, built) in patches.iter().zip(mutated) {
        let started = Instant::now();
        if !sound.contains_key(&patch.killer) {
            sound.insert(&patch.killer, judge.judge(unmutated[&patch.killer])?);
        }
        let tried = score::check_unmutated(&sound[&patch.killer])
            .and(built)
            .and_then(|index| judge.judge(index));
        score.add(patch, tried, &score::seconds(started.elapsed()));
    }
    Ok(score)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::patch::{Binary, Test};

    fn patches() -> Vec<Patch> {
        let binary = Binary {
            model: None,
            package: "vpmu".to_owned(),
            file: None,
        };
        let native = Patch {
            rule: "R01 I03".to_owned(),
            killer: Killer::Native(Test {
                binary,
                name: "t".to_owned(),
            }),
            ..Patch::sample("native")
        };
        vec![native, Patch::sample("guest")]
    }

    #[test]
    fn mutants_are_chosen_by_kind_and_name() {
        let names = |kind, names: &[&str]| -> Result<Vec<String>> {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            let chosen = of_kind(named(patches(), &names)?, kind)?;
            Ok(chosen.into_iter().map(|patch| patch.name).collect())
        };
        assert_eq!(names(Kind::Native, &[]).unwrap(), ["native"]);
        assert_eq!(names(Kind::Lab, &["guest"]).unwrap(), ["guest"]);
        assert!(names(Kind::Lab, &["native"]).is_err());
        let error = names(Kind::Native, &["c"]).unwrap_err().to_string();
        assert_eq!(error, "there is no mutant `c`; there are: native, guest");
    }

    #[test]
    fn the_list_has_columns() {
        let lines = "native  R01 I03  native vpmu t\nguest   r        lab k\n";
        assert_eq!(table(&patches()), lines);
    }
}
