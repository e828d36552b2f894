// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Tools beside the compiler that checks need: found or installed, without changing more than
//! the user's own Rust.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::cache;
use crate::say;
use crate::workspace;

/// The cargo-deny that is installed where there is none.
const CARGO_DENY: &str = "0.20.2";

/// Makes sure that `cargo fmt` or `cargo clippy` works.
pub(crate) fn component(subcommand: &str, component: &str) -> Result<()> {
    if works(workspace::cargo().args([subcommand, "--version"])) {
        return Ok(());
    }
    say::step(format_args!("adding Rust's component {component}"));
    ensure!(
        works(Command::new("rustup").args(["component", "add", component])),
        "`cargo {subcommand}` is not here: install it with `rustup component add {component}`"
    );
    Ok(())
}

/// Whether `cargo nextest` is here; it is not installed for its own sake.
pub(crate) fn has_nextest() -> bool {
    works(workspace::cargo().args(["nextest", "--version"]))
}

/// The program cargo-deny: the user's, else one built into our cache folder.
pub(crate) fn cargo_deny() -> Result<PathBuf> {
    if works(Command::new("cargo-deny").arg("--version")) {
        return Ok("cargo-deny".into());
    }
    let root = cache::folder()?.join(format!("cargo-deny-{CARGO_DENY}"));
    let program = root.join("bin/cargo-deny");
    if works(Command::new(&program).arg("--version")) {
        return Ok(program);
    }
    say::step("installing cargo-deny into the cache folder (once, a minute or two)");
    fs::create_dir_all(&root)?;
    // Unoptimised it takes a third of the time to build and still checks in a second. Cargo
    // locks the folder, so two clones do not clash.
    let status = Command::new("cargo")
        .args(["install", "cargo-deny", "--version", CARGO_DENY, "--locked", "--quiet"])
        .args(["--profile", "dev", "--no-default-features", "--root"])
        .arg(&root)
        // What is set for this workspace's builds is no business of this one.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR")
        .current_dir(&root)
        .stdin(Stdio::null())
        .status()
        .context("starting cargo")?;
    ensure!(
        status.success(),
        "cargo-deny cannot be installed: check the network, or install it yourself with \
         `cargo install --locked cargo-deny`"
    );
    Ok(program)
}

/// Whether a command can be started and succeeds; its output is nobody's concern.
pub(crate) fn works(command: &mut Command) -> bool {
    let quiet = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}
