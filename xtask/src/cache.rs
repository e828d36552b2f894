// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The lab's parts in the user's cache folder: fetched once, then shared by every clone.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::apt::{self, Apt};
use crate::say;
use crate::sources::Mirrors;

/// To be raised whenever the layout or the choice of packages changes.
const FORMAT: u32 = 2;

/// QEMU 10 was seen to interrupt the lab's kernel while it had interrupts disabled, after a guest had
/// run: the kernel then waits for ever for a lock of its own. A storm of a minute often froze or reset
/// it. Those before 10 never fire the breakpoint that the RDPMC trap needs.
const OLDEST_QEMU: u32 = 11;

/// The release that QEMU comes from, with libraries of its own.
const QEMU_RELEASE: &str = "trixie";

/// The release that the kernel and the commands come from.
const RELEASE: &str = "bookworm";

const KERNEL_PREFIX: &str = "linux-image-6.12.";
const KERNEL_SUFFIX: &str = "+deb12-cloud-amd64-unsigned";

/// KVM's modules in the order they must be loaded.
const MODULES: [&str; 3] = [
    "virt/lib/irqbypass",
    "arch/x86/kvm/kvm",
    "arch/x86/kvm/kvm-amd",
];

/// What of the unpacked packages QEMU needs to run.
const QEMU_TREES: [&str; 4] = [
    "usr/bin/qemu-system-x86_64",
    "usr/lib/x86_64-linux-gnu",
    "usr/share/qemu",
    "usr/share/seabios",
];

/// The fetched parts.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    dir: PathBuf,
}

impl Parts {
    /// The parts from the cache, fetched into it first if they are not there.
    pub(crate) fn get() -> Result<Self> {
        let cache = folder()?;
        let dir = cache.join(format!("lab-{FORMAT}"));
        if dir.is_dir() {
            return Ok(Self { dir });
        }
        fs::create_dir_all(&cache)
            .with_context(|| format!("creating the cache folder {}", cache.display()))?;
        let lock = File::create(cache.join(format!("lab-{FORMAT}.lock")))?;
        if lock.try_lock().is_err() {
            say::step("another xtask is fetching the lab; waiting for it");
            lock.lock()?;
        }
        // With the lock held, what an interrupted fetch left behind is nobody's.
        let unfinished = cache.join(format!("lab-{FORMAT}.unfinished"));
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        if !dir.is_dir() {
            say::step(format_args!(
                "fetching the lab (about 85 MB, once) into {}",
                dir.display()
            ));
            fs::create_dir(&unfinished)?;
            let fetched = fetch(&unfinished.join("apt"), &unfinished.join("lab"))
                .and_then(|()| Ok(fs::rename(unfinished.join("lab"), &dir)?));
            fs::remove_dir_all(&unfinished)?;
            fetched?;
        }
        Ok(Self { dir })
    }

    /// The lab's kernel.
    pub(crate) fn kernel(&self) -> PathBuf {
        self.dir.join("vmlinuz")
    }

    /// The static busybox.
    pub(crate) fn busybox(&self) -> PathBuf {
        self.dir.join("busybox")
    }

    /// KVM's modules with the names that put them in loading order.
    pub(crate) fn modules(&self) -> impl Iterator<Item = (String, PathBuf)> {
        MODULES.iter().enumerate().map(|(index, _)| {
            let name = module_name(index);
            let path = self.dir.join("modules").join(&name);
            (name, path)
        })
    }

    /// A command line that runs QEMU with its own libraries and firmware.
    pub(crate) fn qemu(&self) -> Command {
        qemu(&self.dir.join("qemu"))
    }
}

/// The folder for all this project keeps outside its clones.
pub(crate) fn folder() -> Result<PathBuf> {
    let xdg = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let base = xdg.or_else(|| env::home_dir().map(|home| home.join(".cache")));
    Ok(base
        .context("neither XDG_CACHE_HOME nor HOME says where to cache")?
        .join("perfvisor"))
}

fn fetch(scratch: &Path, lab: &Path) -> Result<()> {
    let root = scratch.join("root");
    fs::create_dir_all(&root)?;
    fs::create_dir(lab)?;
    let mirrors = Mirrors::of_this_machine()?;
    let apt = Apt::new(scratch, &mirrors, RELEASE)?;

    // This machine may be older than the keys of the newer release.
    apt::unpack(&apt.download("debian-archive-keyring")?, &root)?;
    let keyring = root.join("usr/share/keyrings/debian-archive-keyring.gpg");
    let newer = scratch.join(QEMU_RELEASE);
    fs::create_dir(&newer)?;
    let newer = Apt::new(&newer, &mirrors.signed_by(keyring), QEMU_RELEASE)?;
    let suite = format!("{QEMU_RELEASE}-backports");
    say::step(format_args!("fetching QEMU (qemu-system-x86 from {suite})"));
    let qemu = root.join("qemu");
    fs::create_dir(&qemu)?;
    for package in newer.download_with_dependencies("qemu-system-x86", &suite)? {
        apt::unpack(&package, &qemu)?;
    }
    for tree in QEMU_TREES {
        move_into(&qemu, &lab.join("qemu"), tree)?;
    }
    check_qemu(&lab.join("qemu"))?;

    let names = apt.names(KERNEL_PREFIX)?;
    let kernel = newest_kernel(names.iter().map(String::as_str))
        .with_context(|| format!("the mirror has no {KERNEL_PREFIX}*{KERNEL_SUFFIX}"))?;
    say::step(format_args!("fetching the kernel ({kernel})"));
    apt::unpack(&apt.download(kernel)?, &root)?;
    let release = kernel
        .strip_prefix("linux-image-")
        .and_then(|name| name.strip_suffix("-unsigned"))
        .unwrap_or(kernel);
    fs::rename(
        root.join("boot").join(format!("vmlinuz-{release}")),
        lab.join("vmlinuz"),
    )?;
    fs::create_dir(lab.join("modules"))?;
    for (index, module) in MODULES.iter().enumerate() {
        let from = root.join(format!("lib/modules/{release}/kernel/{module}.ko.xz"));
        fs::rename(&from, lab.join("modules").join(module_name(index)))
            .with_context(|| format!("{kernel} has no {module}.ko.xz"))?;
    }

    say::step("fetching busybox (busybox-static)");
    apt::unpack(&apt.download("busybox-static")?, &root)?;
    let busybox = ["bin/busybox", "usr/bin/busybox"].map(|path| root.join(path));
    let busybox = busybox.iter().find(|path| path.is_file());
    fs::rename(
        busybox.context("busybox-static has no busybox")?,
        lab.join("busybox"),
    )?;
    Ok(())
}

fn move_into(from: &Path, to: &Path, tree: &str) -> Result<()> {
    let target = to.join(tree);
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::rename(from.join(tree), &target).with_context(|| format!("the packages have no {tree}"))
}

fn module_name(index: usize) -> String {
    let name = MODULES[index].rsplit('/').next().unwrap_or_default();
    format!("{index}-{name}.ko.xz")
}

/// The newest of the lab's kernels among the packages' names.
fn newest_kernel<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let version = |name: &str| -> Option<Vec<u32>> {
        let version = name
            .strip_prefix(KERNEL_PREFIX)?
            .strip_suffix(KERNEL_SUFFIX)?;
        version.split('.').map(|part| part.parse().ok()).collect()
    };
    names
        .filter_map(|name| Some((version(name)?, name)))
        .max()
        .map(|(_, name)| name)
}

fn qemu(root: &Path) -> Command {
    let libraries = root.join("usr/lib/x86_64-linux-gnu");
    let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
    command
        .arg("--library-path")
        .arg(&libraries)
        .arg(root.join("usr/bin/qemu-system-x86_64"))
        .env("QEMU_MODULE_DIR", libraries.join("qemu"));
    for firmware in ["usr/share/qemu", "usr/share/seabios"] {
        command.arg("-L").arg(root.join(firmware));
    }
    command
}

/// Proves that the unpacked QEMU runs here and is new enough.
fn check_qemu(root: &Path) -> Result<()> {
    let output = qemu(root).arg("--version").stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let Some(major) = qemu_major(&text) else {
        bail!(
            "the fetched QEMU does not run ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    };
    ensure!(
        major >= OLDEST_QEMU,
        "the mirror has QEMU {major}; {OLDEST_QEMU} or newer is needed"
    );
    Ok(())
}

fn qemu_major(version: &str) -> Option<u32> {
    version
        .split("version ")
        .nth(1)?
        .split('.')
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_is_the_highest_version_not_the_last_name() {
        let names = [
            "linux-image-6.12.9+deb12-cloud-amd64-unsigned",
            "linux-image-6.12.117+deb12-cloud-amd64-unsigned",
            "linux-image-6.12.118+deb12-amd64-unsigned",
            "linux-image-6.12.118+deb12-cloud-amd64",
            "linux-image-6.12.22+bpo-cloud-amd64-unsigned",
        ];
        assert_eq!(newest_kernel(names.into_iter()), Some(names[1]));
        assert_eq!(newest_kernel(names[2..].iter().copied()), None);
    }

    #[test]
    fn qemus_major_version_is_read() {
        let text = "QEMU emulator version 11.1.3 (Debian 1:11.1.3+ds-1~bpo13+1)\nCopy";
        assert_eq!(qemu_major(text), Some(11));
        assert_eq!(qemu_major("error while loading shared libraries"), None);
    }
}
