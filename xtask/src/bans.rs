// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! That what `vpmu/clippy.toml` forbids is noticed.
//!
//! The library asks nothing of an operating system, but for its feature `host`. Clippy holds it to
//! that by a list of names; a name that is misspelt there, or forgotten, forbids nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// Uses of what is forbidden, as they come: by path, by module, renamed. One a line.
const VIOLATIONS: [&str; 21] = [
    "pub fn a() { let _ = std::fs::read(\"x\"); }",
    "pub fn b() { let _ = std::fs::write(\"x\", \"\"); }",
    "pub fn c() { use std::fs; let _ = fs::remove_file(\"x\"); }",
    "pub fn d() { use std::fs::File as F; let _ = F::open(\"x\"); }",
    "pub fn e() { let _ = std::fs::OpenOptions::new(); }",
    "pub fn f(_: &std::fs::Metadata) {}",
    "pub fn g() { let _ = std::fs::read_dir(\"x\"); }",
    "pub fn h() { let _ = std::net::TcpStream::connect(\"x\"); }",
    "pub fn i(_: &std::net::UdpSocket) {}",
    "pub fn j(_: std::net::TcpListener) {}",
    "pub fn u(_: impl std::net::ToSocketAddrs) {}",
    "pub fn k() { let _ = std::os::unix::net::UnixStream::pair(); }",
    "pub fn l() { let _ = std::process::Command::new(\"x\"); }",
    "pub fn m() { std::process::exit(1); }",
    "pub fn n() { use std::process::abort as stop; stop(); }",
    "pub fn o() { let _ = std::process::id(); }",
    "pub fn p() { let _ = std::thread::spawn(|| ()); }",
    "pub fn q() { use std::thread::*; sleep(std::time::Duration::ZERO); }",
    "pub fn r(_: std::thread::JoinHandle<()>) {}",
    "pub fn s() { let _ = std::thread::available_parallelism(); }",
    "pub fn t() { let _ = std::sync::Mutex::new(()); }",
];

/// The files of the library in which a ban is lifted, and why.
const LIFTED: [&str; 2] = [
    // The door to locks, atomics and threads.
    "sync.rs",
    // The host's setting for perf events.
    "source/host/error.rs",
];

/// Fails if a ban is lifted elsewhere in `sources`.
pub(crate) fn lifted_nowhere_else(sources: &Path) -> Result<()> {
    let mut lifted = BTreeSet::new();
    lifting(sources, sources, &mut lifted)?;
    let known = LIFTED.map(str::to_owned).into();
    ensure!(
        lifted == known,
        "the bans of clippy.toml are lifted in {lifted:?}, and should be in {known:?}"
    );
    Ok(())
}

/// Collects the files below `folder` that lift a ban, as they are called in `root`.
fn lifting(folder: &Path, root: &Path, lifted: &mut BTreeSet<String>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            lifting(&path, root, lifted)?;
        } else if fs::read_to_string(&path)?.contains("clippy::disallowed") {
            let name = path.strip_prefix(root).unwrap_or(&path);
            lifted.insert(name.display().to_string());
        }
    }
    Ok(())
}

/// Fails if Clippy, with the configuration in the folder `configuration`, misses a violation.
pub(crate) fn are_noticed(configuration: &Path) -> Result<()> {
    let noticed = noticed(configuration, &VIOLATIONS)?;
    let missed: Vec<_> = (1..)
        .zip(VIOLATIONS)
        .filter(|(line, _)| !noticed.contains(line))
        .map(|(_, violation)| violation)
        .collect();
    ensure!(
        missed.is_empty(),
        "{} forbids too little: Clippy does not mind\n{}",
        configuration.join("clippy.toml").display(),
        missed.join("\n")
    );
    Ok(())
}

/// The lines of a library of these `lines` in which Clippy finds something forbidden.
fn noticed(configuration: &Path, lines: &[&str]) -> Result<BTreeSet<usize>> {
    let folder = tempfile::tempdir().context("making a folder for a library")?;
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text);
    write(
        "Cargo.toml",
        "[package]\nname = \"violations\"\nedition = \"2024\"\n[lib]\npath = \"lib.rs\"\n",
    )
    .and_then(|()| write("lib.rs", &lines.join("\n")))
    .context("writing a library")?;
    let output = workspace::cargo()
        .args([
            "clippy",
            "--quiet",
            "--offline",
            "--message-format=short",
            "--",
        ])
        .args([
            "-Aclippy::all",
            "-Wclippy::disallowed_types",
            "-Wclippy::disallowed_methods",
        ])
        .current_dir(folder.path())
        .env("CLIPPY_CONF_DIR", configuration)
        .env("CARGO_TARGET_DIR", folder.path().join("target"))
        .env_remove("RUSTFLAGS")
        .stdin(Stdio::null())
        .output()
        .context("starting cargo")?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "Clippy fails:\n{text}");
    let forbidden = |line: &str| {
        let number = line.strip_prefix("lib.rs:")?.split(':').next()?;
        line.contains("disallowed").then(|| number.parse().ok())?
    };
    Ok(text.lines().filter_map(forbidden).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools;

    #[test]
    fn the_list_of_the_library_forbids_them_all_and_no_more() {
        if !tools::works(workspace::cargo().args(["clippy", "--version"])) {
            eprintln!("SKIPPED: there is no Clippy here");
            return;
        }
        are_noticed(&workspace::root().join("vpmu")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let toml = "disallowed-methods = [\"std::process::exit\"]\n";
        fs::write(folder.path().join("clippy.toml"), toml).unwrap();
        let error = are_noticed(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("std::fs::read") && error.contains("Mutex"),
            "{error}"
        );
        assert!(!error.contains("exit"), "{error}");
    }

    #[test]
    fn a_ban_that_is_lifted_elsewhere_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("source/host")).unwrap();
        let lift = "#![allow(clippy::disallowed_methods)]\n";
        for name in LIFTED {
            fs::write(folder.path().join(name), lift).unwrap();
        }
        fs::write(folder.path().join("other.rs"), "").unwrap();
        lifted_nowhere_else(folder.path()).unwrap();
        fs::write(folder.path().join("other.rs"), lift).unwrap();
        let error = lifted_nowhere_else(folder.path()).unwrap_err().to_string();
        assert!(error.contains("other.rs"), "{error}");
    }
}
