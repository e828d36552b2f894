// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The guest kernels: a workspace of their own, freestanding, built on demand.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::build::{self, Executable};
use crate::say;
use crate::workspace;

/// What the kernels are built for.
pub(crate) const TARGET: &str = "x86_64-unknown-none";

/// The kernels' workspace in the tree at `root`.
pub(crate) fn folder(root: &Path) -> PathBuf {
    root.join("guest-tests/kernels")
}

/// A cargo command for the kernels of the tree at `root`, whose own configuration names target
/// and flags.
pub(crate) fn cargo(root: &Path, subcommand: &str) -> Command {
    let mut command = workspace::cargo();
    command
        .current_dir(folder(root))
        .arg(subcommand)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    command
}

/// Builds all kernels of the tree at `root`, in the order of their names.
pub(crate) fn build(root: &Path) -> Result<Vec<Executable>> {
    install_target()?;
    let mut command = cargo(root, "build");
    command.args(["--quiet", "--release", "--bins"]);
    let mut kernels = build::executables(command).context("building the guest kernels")?;
    kernels.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(kernels)
}

/// The kernel called `name` among `kernels`.
pub(crate) fn find<'a>(kernels: &'a [Executable], name: &str) -> Result<&'a Executable> {
    let Some(kernel) = kernels.iter().find(|kernel| kernel.name == name) else {
        let names: Vec<&str> = kernels.iter().map(|kernel| kernel.name.as_str()).collect();
        bail!(
            "there is no guest kernel `{name}`; there are: {}",
            names.join(", ")
        );
    };
    Ok(kernel)
}

/// Makes sure that the compiler can build for bare machines.
pub(crate) fn install_target() -> Result<()> {
    let rustc = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .stdin(Stdio::null())
        .output()
        .context("starting rustc")?;
    let folder = String::from_utf8_lossy(&rustc.stdout).trim().to_owned();
    if rustc.status.success() && Path::new(&folder).is_dir() {
        return Ok(());
    }
    say::step(format_args!("adding the target {TARGET}"));
    let added = Command::new("rustup")
        .args(["target", "add", TARGET])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    ensure!(
        added.is_ok_and(|status| status.success()),
        "the guest kernels need Rust's target {TARGET}: install it with \
         `rustup target add {TARGET}` or your distribution's package of it"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_kernel_is_answered_with_the_names() {
        let kernel = |name: &str| Executable {
            name: name.to_owned(),
            path: name.into(),
            fresh: false,
        };
        let kernels = [kernel("cpuid"), kernel("rdpmc")];
        assert_eq!(find(&kernels, "rdpmc").unwrap(), &kernels[1]);
        let error = find(&kernels, "rdpcm").unwrap_err().to_string();
        assert_eq!(
            error,
            "there is no guest kernel `rdpcm`; there are: cpuid, rdpmc"
        );
    }
}
