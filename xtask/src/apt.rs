// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A private apt: downloads and unpacks Debian packages with the machine's own apt-get and dpkg,
//! but with sources, state and cache of its own. It needs no root and changes nothing on the
//! machine.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::sources::Mirrors;

/// An apt with a state of its own below `dir`.
pub(crate) struct Apt {
    dir: PathBuf,
    config: PathBuf,
}

impl Apt {
    /// Sets the private apt up in `dir`, which must exist, and fetches the package lists of `release`.
    pub(crate) fn new(dir: &Path, mirrors: &Mirrors, release: &str) -> Result<Self> {
        for tool in ["apt-get", "dpkg"] {
            let found = Command::new(tool)
                .arg("--version")
                .stdout(Stdio::null())
                .status();
            ensure!(
                found.is_ok_and(|status| status.success()),
                "the lab needs `{tool}`, which is not here: run on Debian or Ubuntu, or install \
                 the packages `apt` and `dpkg`"
            );
        }
        let dir = dir.to_path_buf();
        for folder in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(dir.join(folder))?;
        }
        // No package counts as installed, so every dependency is downloaded.
        fs::write(dir.join("status"), "")?;
        fs::write(dir.join("sources.list"), mirrors.source_list(release))?;
        let config = dir.join("apt.conf");
        fs::write(&config, configuration(&dir))?;
        let apt = Self { dir, config };
        apt.run("apt-get", ["update"], "package lists")?;
        Ok(apt)
    }

    /// Downloads `package` of `suite` with all it depends on; the paths of the packages.
    pub(crate) fn download_with_dependencies(
        &self,
        package: &str,
        suite: &str,
    ) -> Result<Vec<PathBuf>> {
        let archives = self.dir.join("cache/archives");
        let args = [
            "install",
            "--yes",
            "--download-only",
            "--target-release",
            suite,
            package,
        ];
        self.run("apt-get", args, package)?;
        packages_in(&archives)
    }

    /// Downloads `package` alone; its path.
    pub(crate) fn download(&self, package: &str) -> Result<PathBuf> {
        let folder = self.dir.join("single").join(package);
        fs::create_dir_all(&folder)?;
        let mut command = self.command("apt-get");
        command.args(["download", package]).current_dir(&folder);
        quiet(&mut command, package)?;
        packages_in(&folder)?
            .pop()
            .with_context(|| format!("apt downloaded no `{package}`"))
    }

    /// The names of all packages that start with `prefix`.
    pub(crate) fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let output = self.run("apt-cache", ["pkgnames", prefix], prefix)?;
        Ok(output.lines().map(str::to_owned).collect())
    }

    fn run<const N: usize>(&self, tool: &str, args: [&str; N], what: &str) -> Result<String> {
        let mut command = self.command(tool);
        command.args(args);
        quiet(&mut command, what)
    }

    fn command(&self, tool: &str) -> Command {
        let mut command = Command::new(tool);
        command
            .arg("-qq")
            .arg("--config-file")
            .arg(&self.config)
            .env("LC_ALL", "C");
        command
    }
}

/// Unpacks a package below `root` without installing it.
pub(crate) fn unpack(package: &Path, root: &Path) -> Result<()> {
    let name = package
        .file_name()
        .unwrap_or_default()
        .display()
        .to_string();
    quiet(Command::new("dpkg").arg("-x").arg(package).arg(root), &name)?;
    Ok(())
}

/// Runs a command; its output is shown only when it fails.
fn quiet(command: &mut Command, what: &str) -> Result<String> {
    let tool = Path::new(command.get_program()).display().to_string();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {tool}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let errors: Vec<&str> = errors
            .lines()
            .filter(|line| !line.starts_with("W:"))
            .collect();
        bail!(
            "{tool} cannot get `{what}` ({}): {}; check the network and the machine's apt mirror",
            output.status,
            errors.join("; ")
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn packages_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut packages = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("deb")) {
            packages.push(path);
        }
    }
    Ok(packages)
}

/// Read after the machine's own configuration, so that its proxies and the like stay in force.
fn configuration(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        r#"Dir::Etc::SourceList "{dir}/sources.list";
Dir::Etc::SourceParts "-";
Dir::Etc::PreferencesParts "-";
Dir::Etc::Preferences "-";
Dir::State "{dir}";
Dir::State::Lists "{dir}/lists";
Dir::State::status "{dir}/status";
Dir::Cache "{dir}/cache";
APT::Architecture "amd64";
#clear APT::Architectures;
APT::Architectures {{ "amd64"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
// A container's hooks clean the machine's own cache: none of our business.
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
// docker's way of saving space would delete what was just downloaded.
APT::Keep-Downloaded-Packages "true";
"#
    )
}
