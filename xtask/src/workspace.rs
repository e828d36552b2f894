// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What cargo knows about the workspace.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// The part of `cargo metadata` that matters here.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    /// Where cargo puts what it builds.
    pub(crate) target_directory: PathBuf,
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    rust_version: Option<String>,
    targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

impl Workspace {
    /// Asks cargo about the workspace in `folder`.
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let output = cargo()
            .args(["metadata", "--no-deps", "--format-version=1"])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .context("starting cargo")?;
        ensure!(
            output.status.success(),
            "`cargo metadata` fails in {}",
            folder.display()
        );
        serde_json::from_slice(&output.stdout).context("reading `cargo metadata`")
    }

    /// Where static builds go.
    pub(crate) fn static_directory(&self) -> PathBuf {
        self.target_directory.join("static")
    }

    /// The oldest Rust the workspace promises to build with.
    pub(crate) fn rust_version(&self) -> Option<&str> {
        self.packages
            .iter()
            .find_map(|package| package.rust_version.as_deref())
    }

    /// The integration tests whose names start with `prefix`.
    pub(crate) fn integration_tests(&self, prefix: &str) -> Vec<IntegrationTest> {
        let mut tests = Vec::new();
        for package in &self.packages {
            for target in &package.targets {
                if target.kind.iter().any(|kind| kind == "test") && target.name.starts_with(prefix)
                {
                    tests.push(IntegrationTest {
                        package: package.name.clone(),
                        name: target.name.clone(),
                    });
                }
            }
        }
        tests
    }

    /// The packages that have the integration test `name`.
    pub(crate) fn packages_with_test(&self, name: &str) -> Vec<&str> {
        self.packages
            .iter()
            .filter(|package| package.targets.iter().any(|target| target.is(name, "test")))
            .map(|package| package.name.as_str())
            .collect()
    }

    /// The program `name`: a binary, or else an example.
    pub(crate) fn program(&self, name: &str) -> Option<Program<'_>> {
        let of = |kind: &'static str| {
            let has = |target: &Target| target.is(name, kind);
            let mut packages = self.packages.iter();
            let package = packages.find(|package| package.targets.iter().any(has))?;
            Some(Program {
                package: &package.name,
                kind,
            })
        };
        of("bin").or_else(|| of("example"))
    }
}

/// Where a program comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Program<'a> {
    /// The package that has it.
    pub(crate) package: &'a str,
    /// What cargo calls it: `bin` or `example`.
    pub(crate) kind: &'static str,
}

/// An integration test of a package: a file of its folder `tests`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IntegrationTest {
    /// The package.
    pub(crate) package: String,
    /// The test's name, that of its file.
    pub(crate) name: String,
}

impl Target {
    fn is(&self, name: &str, kind: &str) -> bool {
        self.name == name && self.kind.iter().any(|its| its == kind)
    }
}

/// The workspace's folder. Cargo says at run time where the xtask is that it runs; what was true
/// when it was compiled may be another clone's.
pub(crate) fn root() -> PathBuf {
    let manifest = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest
        .parent()
        .map_or_else(|| manifest.clone(), Path::to_path_buf)
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_tells_programs_from_tests() {
        let workspace: Workspace = serde_json::from_str(
            r#"{"target_directory": "/t", "packages": [
                {"name": "vpmu", "rust_version": "1.95", "targets": [
                    {"name": "vpmu", "kind": ["lib"]}, {"name": "rules", "kind": ["test"]},
                    {"name": "registers", "kind": ["example"]}]},
                {"name": "vmm", "rust_version": "1.95", "targets": [
                    {"name": "perfvisor", "kind": ["bin"]}, {"name": "kvm_x", "kind": ["test"]}]}
            ]}"#,
        )
        .unwrap();
        let program = |package, kind| Some(Program { package, kind });
        assert_eq!(workspace.program("perfvisor"), program("vmm", "bin"));
        assert_eq!(workspace.program("registers"), program("vpmu", "example"));
        assert_eq!(workspace.program("vpmu"), None);
        assert_eq!(workspace.packages_with_test("rules"), ["vpmu"]);
        assert!(workspace.packages_with_test("perfvisor").is_empty());
        assert_eq!(workspace.rust_version(), Some("1.95"));
        let tests = workspace.integration_tests("kvm_");
        assert_eq!(
            tests,
            [IntegrationTest {
                package: "vmm".to_owned(),
                name: "kvm_x".to_owned()
            }]
        );
    }
}
