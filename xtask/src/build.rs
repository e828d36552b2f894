// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Static builds: what runs in the lab finds no libraries there.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde::Deserialize;

use crate::child;
use crate::workspace::{self, IntegrationTest, Workspace};

/// The target of static builds. It is the machine's own, but named, so that the flags do not
/// reach build scripts and procedural macros.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What makes the compiler link statically.
pub(crate) const STATIC: &str = "-Ctarget-feature=+crt-static";

/// One line of cargo's messages.
#[derive(Debug, Deserialize)]
struct CargoMessage {
    executable: Option<PathBuf>,
    target: Option<MessageTarget>,
    fresh: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct MessageTarget {
    name: String,
}

/// Something cargo built that can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Executable {
    /// The cargo target's name.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Whether it was there already and up to date.
    pub(crate) fresh: bool,
}

/// The static release build of the workspace's binary or example `name`, built if need be.
pub(crate) fn static_binary(name: &str) -> Result<PathBuf> {
    let workspace = Workspace::load(&workspace::root())?;
    let program = workspace
        .program(name)
        .with_context(|| format!("the workspace has no program `{name}`"))?;
    let mut command = static_cargo(&workspace::root(), &workspace.static_directory(), "build");
    command.args(["--package", program.package]);
    command.args([&format!("--{}", program.kind), name]);
    let built = executables(command)?;
    let path = built
        .into_iter()
        .find(|built| built.name == name)
        .map(|built| built.path);
    path.with_context(|| format!("cargo built no `{name}`"))
}

/// The workspace's binary `name` as it is measured on this host, built if need be.
pub(crate) fn measured_binary(name: &str) -> Result<PathBuf> {
    let mut command = workspace::cargo();
    command
        .current_dir(workspace::root())
        .args(["build", "--quiet", "--profile", "measured"])
        .args(["--package", name, "--bin", name]);
    let built = executables(command)?.into_iter();
    let mut paths = built.filter_map(|built| (built.name == name).then_some(built.path));
    paths
        .next()
        .with_context(|| format!("cargo built no `{name}`"))
}

/// The static release builds of integration tests.
pub(crate) fn static_tests(tests: &[IntegrationTest]) -> Result<Vec<Executable>> {
    let workspace = Workspace::load(&workspace::root())?;
    let mut command = static_cargo(&workspace::root(), &workspace.static_directory(), "test");
    command.arg("--no-run");
    for test in tests {
        command.args(["--package", &test.package, "--test", &test.name]);
    }
    let mut built = executables(command)?;
    // Cargo also builds the packages' binaries, for tests that want to start them.
    built.retain(|built| tests.iter().any(|test| test.name == built.name));
    Ok(built)
}

/// A cargo command that builds the tree at `root` statically into `target`. That must not be
/// the ordinary target folder: other flags would make the builds undo each other's work.
pub(crate) fn static_cargo(root: &Path, target: &Path, subcommand: &str) -> Command {
    let mut command = workspace::cargo();
    let flags = env::var("RUSTFLAGS").unwrap_or_default();
    command
        .current_dir(root)
        .arg(subcommand)
        .args(["--quiet", "--release", "--target", TARGET])
        .env("RUSTFLAGS", format!("{flags} {STATIC}"))
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("CARGO_TARGET_DIR", target);
    command
}

/// Runs a building cargo command; what it built that can be run.
pub(crate) fn executables(mut command: Command) -> Result<Vec<Executable>> {
    command
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    child::ends_with_us(&mut command, Signal::SIGTERM);
    let mut cargo = command.spawn().context("starting cargo")?;
    let messages = cargo.stdout.take().context("cargo has no output")?;
    let mut built = Vec::new();
    for line in BufReader::new(messages).lines() {
        built.extend(executable(&line?));
    }
    let status = cargo.wait()?;
    ensure!(status.success(), "the build failed");
    Ok(built)
}

/// The executable that one of cargo's messages tells of.
fn executable(line: &str) -> Option<Executable> {
    let message: CargoMessage = serde_json::from_str(line).ok()?;
    Some(Executable {
        name: message.target?.name,
        path: message.executable?,
        fresh: message.fresh?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_found_among_cargos_messages() {
        let line = r#"{"reason":"compiler-artifact","package_id":"p","target":{"kind":["bin"],
            "name":"perfvisor"},"executable":"/t/perfvisor","fresh":true}"#;
        let found = Executable {
            name: "perfvisor".to_owned(),
            path: "/t/perfvisor".into(),
            fresh: true,
        };
        assert_eq!(executable(line), Some(found));
        let library = r#"{"target":{"name":"vpmu"},"executable":null}"#;
        assert_eq!(executable(library), None);
        assert_eq!(
            executable(r#"{"reason":"build-finished","success":true}"#),
            None
        );
        assert_eq!(executable("warning: not a message"), None);
    }
}
