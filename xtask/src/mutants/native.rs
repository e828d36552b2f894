// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Mutants that an ordinary or a model-checked test notices.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::patch::{Binary, Patch, Test};
use super::tree::Tree;
use super::verdict::{self, Verdict};
use crate::build::{self, Executable};
use crate::host;
use crate::job::Input;
use crate::model;
use crate::say;
use crate::workspace;

/// A test that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(120);

/// The same where a model checker searches.
const SEARCH_DEADLINE: Duration = Duration::from_secs(240);

/// The model checkers themselves: what searches, and has to be fast. All else is compiled sooner
/// than it is optimised.
const CHECKERS: [&str; 5] = [
    "generator",
    "loom",
    "shuttle-engine",
    "shuttle-schedulers",
    "shuttle-std",
];

/// What is unused in a mutant is no news.
pub(crate) const QUIET: &str = "-Awarnings";

/// A place to build mutants in: a tree of its own and what is built out of it.
pub(crate) struct Workshop {
    tree: Tree,
    target: PathBuf,
    kept: PathBuf,
    unmutated: BTreeMap<Binary, Unmutated>,
    /// How many mutants were built.
    mutants: u32,
}

/// Tests that were built without a mutant.
#[derive(Clone)]
struct Unmutated {
    path: PathBuf,
    digest: u64,
}

/// A test that was built and can be run while its workshop builds others.
pub(crate) struct Built<'a> {
    test: &'a Test,
    program: PathBuf,
    /// Of no use once the test was run.
    once: bool,
    folder: PathBuf,
    build: Duration,
}

/// What became of a test.
#[derive(Debug)]
pub(crate) struct Tried {
    /// What it says.
    pub(crate) verdict: Verdict,
    /// How long it took to build.
    pub(crate) build: Duration,
    /// How long it ran.
    pub(crate) run: Duration,
}

impl Workshop {
    /// One in `folder` for mutants of the tree at `source`.
    pub(crate) fn open(source: &Path, folder: &Path) -> Result<Self> {
        let kept = folder.join("kept");
        fs::create_dir_all(&kept)?;
        Ok(Self {
            tree: Tree::copy(source, &folder.join("tree"))?,
            target: folder.join("target"),
            kept,
            unmutated: BTreeMap::new(),
            mutants: 0,
        })
    }

    /// `test` of the tree as it is; an error if that does not compile.
    pub(crate) fn build_unmutated<'a>(&mut self, test: &'a Test) -> Result<Built<'a>> {
        let started = Instant::now();
        let program = self.unmutated(&test.binary)?.path;
        Ok(Built {
            test,
            program,
            once: false,
            folder: self.folder_of(test),
            build: started.elapsed(),
        })
    }

    /// `test` of the tree with `patch`; an error if that does not compile or makes no difference
    /// to what is run.
    pub(crate) fn build_mutant<'a>(&mut self, patch: &Patch, test: &'a Test) -> Result<Built<'a>> {
        let started = Instant::now();
        let unmutated = self.unmutated(&test.binary).context("without it")?;
        let _applied = self.tree.apply(patch)?;
        let built = self.build(&test.binary)?;
        ensure!(
            !built.fresh,
            "cargo finds nothing in it to build the test from"
        );
        ensure!(
            digest(&built.path)? != unmutated.digest,
            "it is no part of what its test runs"
        );
        self.mutants += 1;
        let program = self.kept.join(format!("mutant-{}", self.mutants));
        keep(&built.path, &program)?;
        Ok(Built {
            test,
            program,
            once: true,
            folder: self.folder_of(test),
            build: started.elapsed(),
        })
    }

    /// Where cargo would run `test`.
    fn folder_of(&self, test: &Test) -> PathBuf {
        self.tree.root().join(&test.binary.package)
    }

    /// The tests without a mutant, built when they are first needed.
    fn unmutated(&mut self, binary: &Binary) -> Result<Unmutated> {
        if let Some(unmutated) = self.unmutated.get(binary) {
            return Ok(unmutated.clone());
        }
        let built = self.build(binary)?;
        let path = self.kept.join(self.unmutated.len().to_string());
        keep(&built.path, &path)?;
        let unmutated = Unmutated {
            digest: digest(&path)?,
            path,
        };
        self.unmutated.insert(binary.clone(), unmutated.clone());
        Ok(unmutated)
    }

    /// Builds the tree as it now is.
    fn build(&self, binary: &Binary) -> Result<Executable> {
        let mut cargo = workspace::cargo();
        cargo
            .current_dir(self.tree.root())
            .args(["test", "--quiet", "--no-run"])
            // Nearly all of it is as it was for the mutant before, and nobody will debug it.
            .env("CARGO_INCREMENTAL", "1")
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0");
        match binary.model {
            None => {
                cargo
                    .env("RUSTFLAGS", QUIET)
                    .env_remove("CARGO_ENCODED_RUSTFLAGS")
                    .env("CARGO_TARGET_DIR", &self.target);
            }
            Some(model) => {
                cargo
                    .arg("--release")
                    .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
                for checker in CHECKERS {
                    let optimised = format!("profile.release.package.{checker}.opt-level=3");
                    cargo.args(["--config", &optimised]);
                }
                model.choose(&mut cargo, &self.target, QUIET);
            }
        }
        build(cargo, binary)
    }
}

impl Built<'_> {
    /// Runs it.
    pub(crate) fn run(self) -> Result<Tried> {
        let mut command = Command::new(&self.program);
        command
            .args([&self.test.name, "--exact"])
            .current_dir(&self.folder);
        model::by_day(&mut command);
        let (judge, deadline): (fn(&_, &_, &_) -> _, _) = match self.test.binary.model {
            None => (verdict::of_rust_test, DEADLINE),
            Some(_) => (verdict::of_model_test, SEARCH_DEADLINE),
        };
        let started = Instant::now();
        let mut text = Vec::new();
        let ended = host::run(
            command,
            Input::Empty,
            &mut |_, data| text.extend_from_slice(data),
            Some(deadline),
        )?;
        Ok(Tried {
            verdict: judge(&ended, &String::from_utf8_lossy(&text), &self.test.name),
            build: self.build,
            run: started.elapsed(),
        })
    }
}

/// There are hundreds, some of them large.
impl Drop for Built<'_> {
    fn drop(&mut self) {
        if !self.once {
            return;
        }
        match fs::remove_file(&self.program) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => say::step(format_args!("{} stays: {e}", self.program.display())),
        }
    }
}

/// Lets `cargo`, a prepared `cargo test --no-run`, build the tests.
pub(crate) fn build(mut cargo: Command, binary: &Binary) -> Result<Executable> {
    cargo.args(["--package", &binary.package]);
    match &binary.file {
        None => cargo.arg("--lib"),
        Some(file) => cargo.args(["--test", file]),
    };
    let built = build::executables(cargo)?;
    // A library's name has underscores where its package has hyphens.
    let name = binary
        .file
        .clone()
        .unwrap_or_else(|| binary.package.replace('-', "_"));
    built
        .into_iter()
        .find(|built| built.name == name)
        .with_context(|| format!("{} has no such tests", binary.package))
}

/// Copies a program that a mutant's build will overwrite. Another process does it: were the copy
/// open for writing here, what another workshop starts in that moment would inherit it, and the
/// kernel starts no program that is open for writing.
fn keep(program: &Path, copy: &Path) -> Result<()> {
    let status = Command::new("cp")
        .args([program, copy])
        .stdin(Stdio::null())
        .status()
        .context("starting cp")?;
    ensure!(status.success(), "cannot keep {}", copy.display());
    Ok(())
}

/// Tells programs apart; equal for equal ones.
fn digest(program: &Path) -> Result<u64> {
    let content = fs::read(program).with_context(|| format!("reading {}", program.display()))?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&content);
    Ok(hasher.finish())
}
