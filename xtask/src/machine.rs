// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A machine with a usable KVM to run commands on: the lab.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use lab_agent::wire::Run;

use crate::lab::{self, Around, Ended, Lab, LabFile};

/// One argument of a command, as it is on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Arg {
    /// Passed as it is, but for `$OUT`.
    Text(OsString),
    /// A file, after some text such as `--kernel=`.
    File {
        /// The text before the path.
        prefix: OsString,
        /// The file's path on the host.
        path: PathBuf,
    },
}

impl Arg {
    /// A file alone.
    pub(crate) fn file(path: impl Into<PathBuf>) -> Self {
        Self::File {
            prefix: OsString::new(),
            path: path.into(),
        }
    }

    /// An argument from the command line: names a file if there is one of that name.
    pub(crate) fn from_command_line(text: &OsStr) -> Self {
        if Path::new(text).is_file() {
            return Self::file(text);
        }
        let bytes = text.as_bytes();
        if let Some(equals) = bytes.iter().position(|&byte| byte == b'=') {
            let (prefix, path) = bytes.split_at(equals + 1);
            let path = Path::new(OsStr::from_bytes(path));
            if path.is_file() {
                let prefix = OsStr::from_bytes(prefix).to_owned();
                return Self::File {
                    prefix,
                    path: path.to_owned(),
                };
            }
        }
        Self::Text(text.to_owned())
    }
}

/// Replaces every `$OUT` in an argument.
fn expand_out(text: &OsStr, out: &OsStr) -> OsString {
    const NAME: &[u8] = b"$OUT";
    let mut rest = text.as_bytes();
    let mut expanded = Vec::new();
    while let Some(at) = rest.windows(NAME.len()).position(|window| window == NAME) {
        expanded.extend_from_slice(&rest[..at]);
        expanded.extend_from_slice(out.as_bytes());
        rest = &rest[at + NAME.len()..];
    }
    expanded.extend_from_slice(rest);
    OsString::from_vec(expanded)
}

/// Where each host file is in the lab: in a folder of its own, so that equal names do not clash.
fn lab_files<'a>(args: impl IntoIterator<Item = &'a Arg>) -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    for arg in args {
        if let Arg::File { path, .. } = arg {
            let number = files.len();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            files
                .entry(path.clone())
                .or_insert_with(|| format!("/files/{number}/{name}"));
        }
    }
    files
}

/// A lab and the files it was given.
pub(crate) struct Machine {
    lab: Lab,
    files: BTreeMap<PathBuf, String>,
}

impl Machine {
    /// Boots a lab with all files that `args` name; commands run in it may name only these.
    pub(crate) fn start<'a>(
        args: impl IntoIterator<Item = &'a Arg>,
        verbose: bool,
    ) -> Result<Self> {
        let files = lab_files(args);
        let carried: Vec<LabFile> = files
            .iter()
            .map(|(host, lab)| LabFile {
                host: host.clone(),
                lab: lab.clone(),
            })
            .collect();
        Ok(Self {
            lab: Lab::boot(&carried, verbose)?,
            files,
        })
    }

    /// Runs one command to its end.
    pub(crate) fn run(
        &mut self,
        argv: &[Arg],
        terminal: Option<(u16, u16)>,
        around: Around<'_>,
    ) -> Result<Ended> {
        if let Some(Arg::File { path, .. }) = argv.first() {
            ensure!(
                !is_dynamic(path)?,
                "{} needs shared libraries, which the lab has not: build it with \
                 RUSTFLAGS='-C target-feature=+crt-static' --target x86_64-unknown-linux-gnu",
                path.display()
            );
        }
        let argv = argv
            .iter()
            .map(|arg| self.in_lab(arg))
            .collect::<Result<_>>()?;
        let run = Run {
            argv,
            env: passed_environment(),
            cwd: b"/".to_vec(),
            terminal,
        };
        self.lab.run(run, around)
    }

    /// The console's last lines, for messages about what went wrong.
    pub(crate) fn console_tail(&self) -> String {
        self.lab.console_tail()
    }

    fn in_lab(&self, arg: &Arg) -> Result<Vec<u8>> {
        Ok(match arg {
            Arg::Text(text) => expand_out(text, OsStr::new(lab::OUT)).into_vec(),
            Arg::File { prefix, path } => {
                let file = self.files.get(path);
                let file = file.with_context(|| format!("{} is not in the lab", path.display()))?;
                let mut arg = prefix.clone().into_vec();
                arg.extend_from_slice(file.as_bytes());
                arg
            }
        })
    }
}

/// What of our environment a command in the lab may want to see.
fn passed_environment() -> Vec<(Vec<u8>, Vec<u8>)> {
    env::vars_os()
        .filter(|(name, _)| {
            let name = name.as_bytes();
            name == b"TERM"
                || (name.starts_with(b"RUST_") && name != b"RUST_RECURSION_COUNT")
                || name.starts_with(b"PERFVISOR_")
        })
        .map(|(name, value)| (name.into_vec(), value.into_vec()))
        .collect()
}

/// Whether the file is an ELF program that asks for a dynamic loader: it has a program header of
/// type PT_INTERP.
fn is_dynamic(path: &Path) -> Result<bool> {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(1 << 16).read_to_end(&mut start));
    read.with_context(|| format!("reading {}", path.display()))?;
    Ok(has_interpreter(&start).unwrap_or(false))
}

/// `None` for anything but a 64-bit little-endian ELF file with its program headers near the
/// start, where linkers put them.
fn has_interpreter(file: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    if file.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let u16_at = |at: usize| {
        Some(usize::from(u16::from_le_bytes(
            *file.get(at..)?.first_chunk()?,
        )))
    };
    let offset = usize::try_from(u64::from_le_bytes(*file.get(32..)?.first_chunk()?)).ok()?;
    let (size, count) = (u16_at(54)?, u16_at(56)?);
    for index in 0..count {
        let header = file.get(offset.checked_add(index * size)?..)?;
        if u32::from_le_bytes(*header.first_chunk()?) == PT_INTERP {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn out_is_expanded_wherever_it_stands() {
        let expand = |text: &str| expand_out(OsStr::new(text), OsStr::new("/out"));
        assert_eq!(expand("$OUT"), "/out");
        assert_eq!(expand("--log=$OUT/a:$OUT/b"), "--log=/out/a:/out/b");
        assert_eq!(expand("$OU T$"), "$OU T$");
    }

    #[test]
    fn arguments_that_name_files_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kernel.elf");
        let missing = folder.path().join("none");
        fs::write(&path, "").unwrap();
        let arg = |text: &OsStr| Arg::from_command_line(text);
        assert_eq!(arg(path.as_os_str()), Arg::file(&path));
        let mut option = OsString::from("--kernel=");
        option.push(&path);
        assert_eq!(
            arg(&option),
            Arg::File {
                prefix: "--kernel=".into(),
                path: path.clone()
            }
        );
        assert_eq!(arg(missing.as_os_str()), Arg::Text(missing.into()));
        // A folder is no file.
        let folder = folder.path().as_os_str();
        assert_eq!(arg(folder), Arg::Text(folder.to_owned()));
    }

    #[test]
    fn files_of_equal_names_do_not_clash() {
        let args = [Arg::file("/a/x"), Arg::file("/b/x"), Arg::file("/a/x")];
        let files = lab_files(&args);
        assert_eq!(files.len(), 2);
        assert_ne!(files[Path::new("/a/x")], files[Path::new("/b/x")]);
        assert!(files.values().all(|path| path.ends_with("/x")));
    }

    #[test]
    fn programs_that_need_libraries_are_told_from_others() {
        // This test runs from an ordinary, dynamic build.
        let ourselves = fs::read("/proc/self/exe").unwrap();
        assert_eq!(
            has_interpreter(&ourselves),
            Some(!cfg!(target_feature = "crt-static"))
        );
        assert_eq!(has_interpreter(b"#!/bin/sh\n"), None);
        assert_eq!(has_interpreter(b"\x7fELF\x02\x01"), None);
    }
}
