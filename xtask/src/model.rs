// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Model checkers: builds in which locks, atomics and threads are theirs, so that they decide who
//! runs when, and the tests that are written for them.

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::checks::{self, Outcome};
use crate::workspace::{self, Workspace};

/// Set for tests that may search until they are told to stop.
const NIGHTLY: &str = "PERFVISOR_NIGHTLY";

/// How many seconds each of them may then search.
const SEARCH_SECONDS: &str = "PERFVISOR_SEARCH_SECONDS";

/// What that is unless the environment says otherwise.
const DEFAULT_SEARCH_SECONDS: &str = "300";

/// Who schedules the threads of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Model {
    /// Every order and every value a load may see, of small protocols.
    Loom,
    /// Random orders, of whole scenarios.
    Shuttle,
}

impl Model {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Loom, Self::Shuttle];

    /// The name of its `cfg`, of the tests for it (`tests/NAME`) and of its builds' folder.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Loom => "loom",
            Self::Shuttle => "shuttle",
        }
    }

    /// The one of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|model| model.name() == name)
    }

    /// Makes `cargo` build for it, with the compiler's `flags` besides. The build goes into a
    /// folder of its own below `target`: other flags would make the builds undo each other's work.
    pub(crate) fn choose(self, cargo: &mut Command, target: &Path, flags: &str) {
        let name = self.name();
        cargo
            .env("RUSTFLAGS", format!("{flags} --cfg {name}"))
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env("CARGO_TARGET_DIR", target.join(name))
            // Searches are long enough to need an optimised build, which must check as much as
            // any other.
            .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
            .env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true");
    }
}

/// Runs the tests for `model` of all packages that have any; at night for as long as each may.
pub(crate) fn tests(model: Model, nightly: bool) -> Result<Outcome> {
    let workspace = Workspace::load(&workspace::root())?;
    let packages = workspace.packages_with_test(model.name());
    if packages.is_empty() {
        return Ok(Outcome::Skipped(format!(
            "no package has tests/{}",
            model.name()
        )));
    }
    let mut cargo = checks::cargo("test");
    cargo.args([
        "--locked",
        "--release",
        "--no-fail-fast",
        "--test",
        model.name(),
    ]);
    for package in packages {
        cargo.args(["--package", package]);
    }
    // What passing tests print is worth reading too: sets of final states, how far they searched.
    cargo.args(["--", "--show-output"]);
    let flags = env::var("RUSTFLAGS").unwrap_or_default();
    model.choose(&mut cargo, &workspace.target_directory, &flags);
    if nightly {
        cargo.env(NIGHTLY, "1");
        if env::var_os(SEARCH_SECONDS).is_none() {
            cargo.env(SEARCH_SECONDS, DEFAULT_SEARCH_SECONDS);
        }
    }
    checks::run(&mut cargo)
}

/// Makes tests that `command` runs search no longer than by day.
pub(crate) fn by_day(command: &mut Command) {
    command.env_remove(NIGHTLY).env_remove(SEARCH_SECONDS);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_go_by_their_names() {
        for model in Model::ALL {
            assert_eq!(Model::named(model.name()), Some(model));
        }
        assert_eq!(Model::named("native"), None);
    }

    #[test]
    fn builds_for_a_model_are_marked_checked_and_kept_apart() {
        let mut cargo = Command::new("cargo");
        Model::Loom.choose(&mut cargo, Path::new("/t"), "-Awarnings");
        let set: Vec<(String, Option<String>)> = cargo
            .get_envs()
            .map(|(key, value)| {
                let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
                (text(key), value.map(text))
            })
            .collect();
        for (key, value) in [
            ("RUSTFLAGS", Some("-Awarnings --cfg loom")),
            ("CARGO_ENCODED_RUSTFLAGS", None),
            ("CARGO_TARGET_DIR", Some("/t/loom")),
            ("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", Some("true")),
        ] {
            let wanted = (key.to_owned(), value.map(str::to_owned));
            assert!(set.contains(&wanted), "{wanted:?} is not in {set:?}");
        }
    }
}
