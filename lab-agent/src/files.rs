// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The output directory of a command: emptied before it, sent to the host after it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lab_agent::wire::{self, Reply};

use crate::port::{Error, Port};

/// Where commands leave files for the host.
pub(crate) const OUT: &str = "/out";

/// Makes the output directory empty.
pub(crate) fn clear() -> io::Result<()> {
    match fs::remove_dir_all(OUT) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    fs::create_dir(OUT)
}

/// Sends every regular file below the output directory.
pub(crate) fn send(port: &mut Port) -> Result<(), Error> {
    let mut folders = vec![PathBuf::from(OUT)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                send_file(port, &entry.path())?;
            }
        }
    }
    Ok(())
}

fn send_file(port: &mut Port, path: &Path) -> Result<(), Error> {
    let mut file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode() & 0o7777;
    let name = path
        .strip_prefix(OUT)
        .unwrap_or(path)
        .as_os_str()
        .as_bytes()
        .to_vec();
    let data = read_chunk(&mut file)?;
    port.send(&Reply::File {
        path: name,
        mode,
        data,
    })?;
    loop {
        let data = read_chunk(&mut file)?;
        if data.is_empty() {
            return Ok(());
        }
        port.send(&Reply::FileMore(data))?;
    }
}

/// The next bytes of the file, none at its end.
fn read_chunk(file: &mut File) -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    file.take(wire::CHUNK as u64).read_to_end(&mut data)?;
    Ok(data)
}
