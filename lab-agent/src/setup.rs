// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! From a bare kernel to a system with file systems, the host's port and `/dev/kvm`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use thiserror::Error;

use crate::port::Port;

/// The name the host gives its port.
const PORT_NAME: &str = "lab";

/// Where the initramfs keeps the modules, to be loaded in the order of their names.
const MODULES: &str = "/modules";

/// `MODULE_INIT_COMPRESSED_FILE` of linux/module.h: the kernel unpacks the .xz itself.
const COMPRESSED_FILE: u32 = 4;

/// What can go wrong on the way.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// A file system could not be mounted.
    #[error("Cannot mount {0}: {1}")]
    Mount(&'static str, #[source] nix::Error),
    /// A file or folder could not be used.
    #[error("Cannot use {0}: {1}")]
    File(PathBuf, #[source] io::Error),
    /// The host gave the machine no port of the expected name.
    #[error("No virtio-serial port named {PORT_NAME}")]
    NoPort,
    /// A module of KVM did not load.
    #[error("Cannot load {0}: {1}")]
    Module(PathBuf, #[source] nix::Error),
    /// The modules loaded but offer no KVM.
    #[error("KVM's modules are loaded, but there is no /dev/kvm")]
    NoKvm,
    /// Busybox did not link its commands.
    #[error("Busybox cannot install its commands")]
    Busybox,
}

/// Mounts the file systems, links the commands and opens the host's port.
pub(crate) fn prepare() -> Result<Port, Error> {
    for (kind, target) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("devpts", "/dev/pts"),
        ("tmpfs", "/tmp"),
        ("debugfs", "/sys/kernel/debug"),
    ] {
        fs::create_dir_all(target).map_err(|e| Error::File(target.into(), e))?;
        mount(
            Some(kind),
            target,
            Some(kind),
            MsFlags::empty(),
            None::<&str>,
        )
        .map_err(|e| Error::Mount(target, e))?;
    }
    let linked = Command::new("/bin/busybox")
        .args(["--install", "-s", "/bin"])
        .status();
    if !linked.is_ok_and(|status| status.success()) {
        return Err(Error::Busybox);
    }
    open_port()
}

/// Loads KVM's modules.
pub(crate) fn load_kvm() -> Result<(), Error> {
    let mut modules = fs::read_dir(MODULES)
        .and_then(|entries| {
            entries
                .map(|e| Ok(e?.path()))
                .collect::<io::Result<Vec<_>>>()
        })
        .map_err(|e| Error::File(MODULES.into(), e))?;
    modules.sort();
    for module in modules {
        let file = File::open(&module).map_err(|e| Error::File(module.clone(), e))?;
        let flags = ModuleInitFlags::from_bits_retain(COMPRESSED_FILE);
        finit_module(file, c"", flags).map_err(|e| Error::Module(module, e))?;
    }
    if Path::new("/dev/kvm").exists() {
        Ok(())
    } else {
        Err(Error::NoKvm)
    }
}

/// Finds the port by its name. The kernel adds ports when the host's device announces them, a
/// moment after process 1 has started, and nothing tells of it before udev: look again for a
/// while.
fn open_port() -> Result<Port, Error> {
    const LOOKS: u32 = 500;
    const BETWEEN: Duration = Duration::from_millis(20);
    for _ in 0..LOOKS {
        if let Some(device) = find_port() {
            let file = File::options().read(true).write(true).open(&device);
            return file.and_then(Port::new).map_err(|e| Error::File(device, e));
        }
        thread::sleep(BETWEEN);
    }
    Err(Error::NoPort)
}

fn find_port() -> Option<PathBuf> {
    fs::read_dir("/sys/class/virtio-ports")
        .ok()?
        .flatten()
        .find_map(|entry| {
            let name = fs::read_to_string(entry.path().join("name")).ok()?;
            let device = Path::new("/dev").join(entry.file_name());
            (name.trim_end() == PORT_NAME && device.exists()).then_some(device)
        })
}
