// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Mutants that an ordinary test notices.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::patch::Test;
use super::tree::Tree;
use super::verdict::{self, Verdict};
use crate::build;
use crate::host;
use crate::job::Input;
use crate::workspace;

/// A test that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(120);

/// What is unused in a mutant is no news.
pub(crate) const QUIET: &str = "-Awarnings";

/// What `test` says about the tree as it now is; an error if the tree does not compile.
pub(crate) fn try_test(tree: &Tree, target: &Path, test: &Test) -> Result<Verdict> {
    let mut command = workspace::cargo();
    command
        .current_dir(tree.root())
        .args(["test", "--quiet", "--no-run", "--package", &test.package])
        .env("RUSTFLAGS", QUIET)
        .env("CARGO_TARGET_DIR", target);
    let binary = build_test(command, test)?;
    let mut command = Command::new(binary);
    command
        .args([&test.name, "--exact"])
        .current_dir(tree.root().join(&test.package));
    let mut text = Vec::new();
    let ended = host::run(
        command,
        Input::Empty,
        &mut |_, data| text.extend_from_slice(data),
        Some(DEADLINE),
    )?;
    Ok(verdict::of_rust_test(
        &ended,
        &String::from_utf8_lossy(&text),
        &test.name,
    ))
}

/// Lets `cargo`, a prepared `cargo test --no-run`, build the binary that has the test.
pub(crate) fn build_test(mut cargo: Command, test: &Test) -> Result<PathBuf> {
    match &test.file {
        None => cargo.arg("--lib"),
        Some(file) => cargo.args(["--test", file]),
    };
    let built = build::executables(cargo)?;
    // A library's name has underscores where its package has hyphens.
    let name = test
        .file
        .clone()
        .unwrap_or_else(|| test.package.replace('-', "_"));
    let binary = built.into_iter().find(|built| built.name == name);
    binary
        .map(|built| built.path)
        .with_context(|| format!("{} has no such tests", test.package))
}
