// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `cargo xtask mutants`: proves that the tests notice when a rule is broken.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::host_kvm::{OnArgs, Place};
use crate::job::Arg;
use crate::mutants::guests::{Builder, Judge};
use crate::mutants::native;
use crate::mutants::patch::{self, Killer, Patch};
use crate::mutants::tree::Tree;
use crate::mutants::verdict::Verdict;
use crate::say;
use crate::workspace::{self, Workspace};

/// Apply each of the committed patches to a copy of the tree: the test it names must fail.
///
/// The patches and what their headers mean are in xtask/mutants. Ends with a line
/// `N killed, N survived`; the exit code is 0 if none survived and each could be tried.
#[derive(Debug, Args)]
pub(crate) struct MutantsArgs {
    #[command(flatten)]
    on: OnArgs,

    /// The mutants that need guests on a KVM, instead of those that do not.
    #[arg(long)]
    lab: bool,

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
    let kind = if args.lab { Kind::Lab } else { Kind::Native };
    Ok(u8::from(!hunt(kind, &args.names, || args.on.decide())?))
}

/// Tries the mutants of that kind and of those names, all of the kind without a name; whether
/// all were killed.
pub(crate) fn hunt(kind: Kind, names: &[String], place: impl Fn() -> Place) -> Result<bool> {
    let root = workspace::root();
    let patches = choose(patch::load(&root.join("xtask/mutants"))?, kind, names)?;
    let scratch = Workspace::load(&root)?.target_directory.join("mutants");
    let tree = Tree::copy(&root, &scratch.join("tree"))?;
    let mut score = Score::default();
    match kind {
        Kind::Native => hunt_native(&patches, &tree, &scratch.join("target"), &mut score)?,
        Kind::Lab => {
            let builder = Builder::new(scratch.join("static"), scratch.join("bin"))?;
            hunt_in_lab(&patches, &tree, &builder, place(), &mut score)?;
        }
    }
    println!("{} killed, {} survived", score.killed, score.survived);
    if score.failed > 0 {
        say::step(format_args!("{} could not be tried", score.failed));
    }
    Ok(score.survived == 0 && score.failed == 0)
}

/// The patches to try.
fn choose(mut patches: Vec<Patch>, kind: Kind, names: &[String]) -> Result<Vec<Patch>> {
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
    patches.retain(|patch| {
        let native = matches!(patch.killer, Killer::Native(_));
        native == (kind == Kind::Native) && (names.is_empty() || names.contains(&patch.name))
    });
    ensure!(
        !patches.is_empty(),
        "there are no such mutants {} --lab in xtask/mutants",
        if kind == Kind::Lab { "with" } else { "without" }
    );
    Ok(patches)
}

fn hunt_native(patches: &[Patch], tree: &Tree, target: &Path, score: &mut Score) -> Result<()> {
    let mut sound = BTreeMap::new();
    for patch in patches {
        let Killer::Native(test) = &patch.killer else {
            continue;
        };
        let started = Instant::now();
        if !sound.contains_key(test) {
            let verdict = native::try_test(tree, target, test).context("without a mutant")?;
            sound.insert(test, verdict);
        }
        let tried = check_unmutated(&sound[test]).and_then(|()| {
            let _applied = tree.apply(patch)?;
            native::try_test(tree, target, test)
        });
        score.add(patch, tried, started);
    }
    Ok(())
}

fn hunt_in_lab(
    patches: &[Patch],
    tree: &Tree,
    builder: &Builder,
    place: Place,
    score: &mut Score,
) -> Result<()> {
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

    let mut judge = Judge::new(place, &commands);
    let mut sound = BTreeMap::new();
    for (patch, built) in patches.iter().zip(mutated) {
        let started = Instant::now();
        if !sound.contains_key(&patch.killer) {
            sound.insert(&patch.killer, judge.judge(unmutated[&patch.killer])?);
        }
        let tried = check_unmutated(&sound[&patch.killer])
            .and(built)
            .and_then(|index| judge.judge(index));
        score.add(patch, tried, started);
    }
    Ok(())
}

/// A test that does not pass on the tree as it is proves nothing about mutants.
fn check_unmutated(verdict: &Verdict) -> Result<()> {
    match verdict {
        Verdict::Passes => Ok(()),
        Verdict::Fails => bail!("its test fails without it too"),
        Verdict::Hangs => bail!("its test hangs without it too"),
        Verdict::Unclear(why) => bail!("without it: {why}"),
    }
}

/// What became of the mutants.
#[derive(Debug, Default, PartialEq, Eq)]
struct Score {
    killed: u32,
    survived: u32,
    failed: u32,
}

impl Score {
    /// Counts one and says so.
    fn add(&mut self, patch: &Patch, tried: Result<Verdict>, started: Instant) {
        let (count, what) = match tried {
            Ok(Verdict::Fails) => (&mut self.killed, "killed".to_owned()),
            Ok(Verdict::Hangs) if patch.hang => (&mut self.killed, "killed (hangs)".to_owned()),
            Ok(Verdict::Hangs) => (&mut self.survived, "SURVIVED (its test hangs)".to_owned()),
            Ok(Verdict::Passes) => (&mut self.survived, "SURVIVED".to_owned()),
            Ok(Verdict::Unclear(why)) => (&mut self.survived, format!("SURVIVED ({why})")),
            Err(error) => (&mut self.failed, format!("ERROR ({error:#})")),
        };
        *count += 1;
        let seconds = started.elapsed().as_secs_f64();
        println!("{}: {}: {what}, {seconds:.1} s", patch.name, patch.mutant);
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use anyhow::anyhow;

    use super::*;
    use crate::mutants::patch::Test;

    fn patch(name: &str, hang: bool, killer: Killer) -> Patch {
        Patch {
            name: name.to_owned(),
            path: PathBuf::new(),
            mutant: "m".to_owned(),
            killer,
            hang,
            files: Vec::new(),
        }
    }

    fn native() -> Killer {
        let (package, name) = ("vpmu".to_owned(), "t".to_owned());
        Killer::Native(Test {
            package,
            file: None,
            name,
        })
    }

    fn kernel() -> Killer {
        Killer::Kernel {
            name: "smp".to_owned(),
            point: None,
        }
    }

    #[test]
    fn a_hang_counts_only_where_it_is_foreseen() {
        let mut score = Score::default();
        for (hang, tried) in [
            (false, Ok(Verdict::Fails)),
            (true, Ok(Verdict::Hangs)),
            (false, Ok(Verdict::Hangs)),
            (true, Ok(Verdict::Passes)),
            (false, Ok(Verdict::Unclear("x".to_owned()))),
            (false, Err(anyhow!("does not compile"))),
        ] {
            score.add(&patch("m", hang, native()), tried, Instant::now());
        }
        assert_eq!(
            score,
            Score {
                killed: 2,
                survived: 3,
                failed: 1
            }
        );
    }

    #[test]
    fn mutants_are_chosen_by_kind_and_name() {
        let all = vec![patch("a", false, native()), patch("b", false, kernel())];
        let names = |kind, names: &[&str]| -> Result<Vec<String>> {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            Ok(choose(all.clone(), kind, &names)?
                .into_iter()
                .map(|patch| patch.name)
                .collect())
        };
        assert_eq!(names(Kind::Native, &[]).unwrap(), ["a"]);
        assert_eq!(names(Kind::Lab, &["b"]).unwrap(), ["b"]);
        assert!(names(Kind::Lab, &["a"]).is_err());
        let error = names(Kind::Native, &["c"]).unwrap_err().to_string();
        assert_eq!(error, "there is no mutant `c`; there are: a, b");
    }
}
