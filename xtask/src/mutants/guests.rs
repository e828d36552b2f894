// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Mutants that only a guest on a real KVM notices: all are built first, then one lab boot runs
//! them in turn.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::native;
use super::patch::Killer;
use super::tree::Tree;
use super::verdict::{self, Verdict};
use crate::build::{self, Executable};
use crate::host_kvm::Place;
use crate::job::{Arg, Around, Input};
use crate::kernels;
use crate::machine::Machine;
use crate::say;
use crate::workspace;

/// The harness that boots the guest kernels.
const HARNESS: &str = "guest-tests";

/// A kernel that takes longer hangs: the harness gives up on it well before.
const KERNEL_DEADLINE: Duration = Duration::from_secs(180);

/// A test that takes longer hangs.
const TEST_DEADLINE: Duration = Duration::from_secs(90);

/// Builds what killers need, out of trees with and without a mutant.
pub(crate) struct Builder {
    kernels: Vec<Executable>,
    target: PathBuf,
    binaries: PathBuf,
}

impl Builder {
    /// Builds the guest kernels; what else is built goes into `target` and is kept in `binaries`.
    pub(crate) fn new(target: PathBuf, binaries: PathBuf) -> Result<Self> {
        fs::create_dir_all(&binaries)?;
        Ok(Self {
            kernels: kernels::build(&workspace::root())?,
            target,
            binaries,
        })
    }

    /// The command that lets `killer` judge the tree as it now is; an error if that does not
    /// compile. `label` tells the binaries of different trees apart.
    pub(crate) fn command(&self, tree: &Tree, killer: &Killer, label: &str) -> Result<Vec<Arg>> {
        match killer {
            Killer::Native(_) => bail!("this mutant needs no guest"),
            Killer::Kvm(test) => {
                let mut cargo = self.cargo(tree, "test");
                cargo.arg("--no-run");
                let binary = self.keep(&native::build(cargo, &test.binary)?.path, label)?;
                let options = [&test.name, "--exact", "--ignored"];
                Ok([
                    vec![binary],
                    options.map(|text| Arg::Text(text.into())).to_vec(),
                ]
                .concat())
            }
            Killer::Kernel { name, .. } => {
                let (kernel, model) = kernel_and_model(name);
                let kernel = &kernels::find(&self.kernels, kernel)?.path;
                let mut cargo = self.cargo(tree, "build");
                cargo.args(["--package", HARNESS, "--bin", HARNESS]);
                let built = build::executables(cargo)?;
                let harness = built.iter().find(|built| built.name == HARNESS);
                let harness = self.keep(&harness.context("cargo built no harness")?.path, label)?;
                let model = model.map(|model| Arg::Text(format!("--model={model}").into()));
                let mut argv = vec![harness];
                argv.extend(model);
                argv.push(Arg::file(kernel));
                Ok(argv)
            }
        }
    }

    fn cargo(&self, tree: &Tree, subcommand: &str) -> Command {
        let mut cargo = build::static_cargo(tree.root(), &self.target, subcommand);
        cargo.env("RUSTFLAGS", format!("{} {}", build::STATIC, native::QUIET));
        // Dozens of binaries have to fit into the lab's memory.
        cargo
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
            .env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
        cargo
    }

    /// The next build would overwrite the binary.
    fn keep(&self, binary: &Path, label: &str) -> Result<Arg> {
        let kept = self.binaries.join(label);
        fs::copy(binary, &kept).with_context(|| format!("keeping {}", kept.display()))?;
        Ok(Arg::file(kept))
    }
}

/// The two parts of a run's name such as `registers[amd-v2]`.
fn kernel_and_model(name: &str) -> (&str, Option<&str>) {
    match name.strip_suffix(']').and_then(|name| name.split_once('[')) {
        Some((kernel, model)) => (kernel, Some(model)),
        None => (name, None),
    }
}

/// Runs `commands` and lets each one's killer judge it. Where a command breaks the lab, the next
/// gets a new one.
pub(crate) struct Judge<'a> {
    place: Place,
    commands: &'a [(&'a Killer, Vec<Arg>)],
    machine: Option<Machine>,
}

impl<'a> Judge<'a> {
    /// All `commands` will have their files in the lab.
    pub(crate) fn new(place: Place, commands: &'a [(&'a Killer, Vec<Arg>)]) -> Self {
        Self {
            place,
            commands,
            machine: None,
        }
    }

    /// The verdict on the command of that index.
    pub(crate) fn judge(&mut self, index: usize) -> Result<Verdict> {
        let (killer, argv) = &self.commands[index];
        let mut machine = match self.machine.take() {
            Some(machine) => machine,
            None => {
                let files = self.commands.iter().flat_map(|(_, argv)| argv);
                Machine::start(self.place, files, false)?
            }
        };
        let mut text = Vec::new();
        let around = Around {
            input: Input::Empty,
            output: &mut |_, data| text.extend_from_slice(data),
            out: Path::new("out"),
            deadline: Some(match killer {
                Killer::Kernel { .. } => KERNEL_DEADLINE,
                Killer::Kvm(_) | Killer::Native(_) => TEST_DEADLINE,
            }),
        };
        let ended = match machine.run(argv, None, around) {
            Ok(ended) => ended,
            Err(error) => {
                say::step(format_args!("{error:#}"));
                return Ok(Verdict::Hangs);
            }
        };
        self.machine = Some(machine);
        let text = String::from_utf8_lossy(&text);
        Ok(match killer {
            Killer::Kernel { name, point } => {
                verdict::of_kernel(&ended, &text, name, point.as_deref())
            }
            Killer::Kvm(test) | Killer::Native(test) => {
                verdict::of_rust_test(&ended, &text, &test.name)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_a_kernel_with_or_without_a_model() {
        assert_eq!(kernel_and_model("overflow"), ("overflow", None));
        assert_eq!(
            kernel_and_model("registers[intel-v2,fixed=0]"),
            ("registers", Some("intel-v2,fixed=0"))
        );
    }
}
