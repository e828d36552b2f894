// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The checks that need no KVM.

use std::env;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use crate::bans;
use crate::child;
use crate::fuzz;
use crate::kernels;
use crate::model::Model;
use crate::say;
use crate::tools;
use crate::workspace::{self, Workspace};

/// The packages whose locks, atomics and threads can be a model checker's.
const fn modelled(model: Model) -> &'static [&'static str] {
    match model {
        Model::Loom => &["perf-port-guest", "vcpu-call", "vcpu-life", "vpmu"],
        Model::Shuttle => &["vcpu-call", "vpmu"],
    }
}

/// What becomes of a part of the tests that does not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All is well.
    Passed,
    /// It cannot be done here, and why.
    Skipped(String),
}

/// Formatting of all workspaces.
pub(crate) fn format() -> Result<Outcome> {
    tools::component("fmt", "rustfmt")?;
    run(cargo("fmt").args(["--all", "--check"]))?;
    run(fuzz_cargo("fmt")?.arg("--check"))?;
    run(kernels::cargo(&workspace::root(), "fmt").arg("--check"))
}

/// Clippy on all workspaces, on what model checkers build, and on what needs no operating system.
pub(crate) fn clippy() -> Result<Outcome> {
    tools::component("clippy", "clippy")?;
    kernels::install_target()?;
    let options = ["--quiet", "--locked"];
    run(cargo("clippy")
        .args(options)
        .args(["--workspace", "--all-targets", "--", "-Dwarnings"]))?;
    let target = Workspace::load(&workspace::root())?.target_directory;
    let flags = env::var("RUSTFLAGS").unwrap_or_default();
    for model in Model::ALL {
        let mut cargo = cargo("clippy");
        cargo.args(options);
        for package in modelled(model) {
            cargo.args(["--package", package]);
        }
        model.choose(&mut cargo, &target, &flags);
        run(cargo.args(["--all-targets", "--", "-Dwarnings"]))?;
    }
    let root = workspace::root();
    bans::lifted_nowhere_else(&root.join("vpmu/src"))?;
    bans::are_noticed(&root.join("vpmu"))?;
    // Built for a machine that has no std, it cannot use any.
    run(cargo("clippy")
        .args(options)
        .args(["--package", "vpmu", "--no-default-features"])
        .args(["--features", "serde"])
        .args(["--target", kernels::TARGET, "--", "-Dwarnings"]))?;
    run(fuzz_cargo("clippy")?
        .args(options)
        .args(["--all-targets", "--", "-Dwarnings"]))?;
    // The kernels have no test harness to be built with.
    run(kernels::cargo(&workspace::root(), "clippy")
        .args(options)
        .args(["--release", "--lib", "--bins", "--", "-Dwarnings"]))
}

/// The documentation of all workspaces.
pub(crate) fn docs() -> Result<Outcome> {
    let options = ["--quiet", "--locked", "--no-deps"];
    run(cargo("doc")
        .args(options)
        .args(["--workspace", "--all-features"])
        .env("RUSTDOCFLAGS", "-Dwarnings"))?;
    run(fuzz_cargo("doc")?
        .args(options)
        .arg("--lib")
        .env("RUSTDOCFLAGS", "-Dwarnings"))?;
    run(kernels::cargo(&workspace::root(), "doc")
        .args(options)
        .args(["--release", "--lib"])
        .env("RUSTDOCFLAGS", "-Dwarnings"))
}

/// Licences, bans and sources of the dependencies.
pub(crate) fn deny() -> Result<Outcome> {
    let mut command = Command::new(tools::cargo_deny()?);
    run(command.args([
        "--all-features",
        "--locked",
        "check",
        "licenses",
        "bans",
        "sources",
    ]))
}

/// Known faults of the dependencies; their list comes from the network.
pub(crate) fn advisories() -> Result<Outcome> {
    let output = Command::new(tools::cargo_deny()?)
        .args(["--locked", "check", "advisories"])
        .current_dir(workspace::root())
        .stdin(Stdio::null())
        .output()
        .context("starting cargo-deny")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("failed to fetch advisory database") {
        return Ok(Outcome::Skipped(
            "the list of advisories cannot be fetched here".to_owned(),
        ));
    }
    eprint!("{errors}");
    ensure!(output.status.success(), "cargo deny finds advisories");
    Ok(Outcome::Passed)
}

/// The workspace builds with the oldest Rust it promises.
pub(crate) fn oldest_rust() -> Result<Outcome> {
    let workspace = Workspace::load(&workspace::root())?;
    let oldest = workspace
        .rust_version()
        .context("the workspace states no rust-version")?;
    let rustc = Command::new("rustc")
        .arg("--version")
        .output()
        .context("starting rustc")?;
    let options = [
        "check",
        "--quiet",
        "--locked",
        "--workspace",
        "--all-targets",
    ];
    if is_version(&String::from_utf8_lossy(&rustc.stdout), oldest) {
        say::step(format_args!("this is Rust {oldest}"));
        return run(cargo(options[0]).args(&options[1..]));
    }
    let toolchain = if oldest.split('.').count() == 2 {
        format!("{oldest}.0")
    } else {
        oldest.into()
    };
    let profile = ["--profile", "minimal", "--no-self-update"];
    let there =
        tools::works(Command::new("rustup").args(["run", &toolchain, "cargo", "--version"]))
            || tools::works(
                Command::new("rustup")
                    .args(["toolchain", "install", &toolchain])
                    .args(profile),
            );
    if !there {
        return Ok(Outcome::Skipped(format!(
            "Rust {toolchain} cannot be installed here"
        )));
    }
    let target = workspace.target_directory.join("oldest-rust");
    run(Command::new("rustup")
        .args(["run", &toolchain, "cargo"])
        .args(options)
        // Cargo would rather run the tools of the toolchain that runs us.
        .env_remove("CARGO")
        .env_remove("RUSTC")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env("CARGO_TARGET_DIR", target))
}

/// `vpmu` builds for a machine that has no operating system, and so no std.
pub(crate) fn no_std() -> Result<Outcome> {
    kernels::install_target()?;
    for features in ["", "serde"] {
        run(cargo("build")
            .args(["--quiet", "--locked", "--package", "vpmu"])
            .args(["--no-default-features", "--features", features])
            .args(["--target", kernels::TARGET]))?;
    }
    Ok(Outcome::Passed)
}

/// Unit, integration and documentation tests that need no KVM.
pub(crate) fn native_tests() -> Result<Outcome> {
    let options = ["--locked", "--workspace", "--no-fail-fast"];
    let tests = if tools::has_nextest() {
        let quiet = [
            "--status-level=fail",
            "--final-status-level=fail",
            "--cargo-quiet",
        ];
        run(cargo("nextest").arg("run").args(options).args(quiet))
    } else {
        run(cargo("test")
            .args(options)
            .args(["--quiet", "--lib", "--bins", "--tests"]))
    };
    // A failure of the first must not hide one of the second.
    let docs = run(cargo("test").args(options).args(["--quiet", "--doc"]));
    tests.and(docs)
}

/// A cargo command for the workspace.
pub(crate) fn cargo(subcommand: &str) -> Command {
    let mut command = workspace::cargo();
    command.arg(subcommand);
    command
}

/// A cargo command for the workspace of the fuzz targets.
fn fuzz_cargo(subcommand: &str) -> Result<Command> {
    let root = workspace::root();
    let target = Workspace::load(&root)?.target_directory;
    Ok(fuzz::cargo(&root, &target, subcommand))
}

/// Runs a command with our own output; in the workspace's folder unless it names another.
pub(crate) fn run(command: &mut Command) -> Result<Outcome> {
    if command.get_current_dir().is_none() {
        command.current_dir(workspace::root());
    }
    child::ends_with_us(command.stdin(Stdio::null()), Signal::SIGTERM);
    let status = command.status();
    let program = command.get_program().display().to_string();
    let status = status.with_context(|| format!("starting {program}"))?;
    if !status.success() {
        let args: Vec<_> = command
            .get_args()
            .map(|arg| arg.to_string_lossy())
            .collect();
        let name = program.rsplit('/').next().unwrap_or(&program);
        bail!("`{name} {}` failed", args.join(" "));
    }
    Ok(Outcome::Passed)
}

/// Whether the output of `rustc --version` is of the version `wanted`, whatever its patch level
/// if that names none.
fn is_version(rustc: &str, wanted: &str) -> bool {
    let version = rustc.split_whitespace().nth(1).unwrap_or_default();
    version
        .strip_prefix(wanted)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_match_up_to_what_is_named() {
        let rustc = "rustc 1.95.0 (59807616e 2026-04-14)\n";
        assert!(is_version(rustc, "1.95"));
        assert!(is_version(rustc, "1.95.0"));
        for other in ["1.9", "1.95.1", "1.96", "1.950"] {
            assert!(!is_version(rustc, other), "{other}");
        }
        assert!(!is_version("", "1.95"));
    }
}
