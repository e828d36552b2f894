// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Where commands find a usable KVM: the lab or this very host, with one way to run them.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lab_agent::wire::Run;

use crate::host;
use crate::host_kvm::Place;
use crate::job::{Arg, Around, Ended, expand_out};
use crate::lab::{self, Lab, LabFile};
use crate::say;

/// A place with a KVM that is ready for commands.
pub(crate) enum Machine {
    /// A booted lab and where the host's files are in it.
    Lab {
        /// The lab.
        lab: Lab,
        /// From paths on the host to paths in the lab.
        files: BTreeMap<PathBuf, String>,
    },
    /// This host.
    Host,
}

impl Machine {
    /// Gets the place ready for commands made of `args`; no other files can be named later.
    pub(crate) fn start<'a>(
        place: Place,
        args: impl IntoIterator<Item = &'a Arg>,
        verbose: bool,
    ) -> Result<Self> {
        if place == Place::Host {
            return Ok(Self::Host);
        }
        let files = lab_files(args);
        let carried: Vec<LabFile> = files
            .iter()
            .map(|(host, lab)| LabFile {
                host: host.clone(),
                lab: lab.clone(),
            })
            .collect();
        Ok(Self::Lab {
            lab: Lab::boot(&carried, verbose)?,
            files,
        })
    }

    /// Runs one command to its end, on a terminal of that size if one is given.
    pub(crate) fn run(
        &mut self,
        argv: &[Arg],
        terminal: Option<(u16, u16)>,
        around: Around<'_>,
    ) -> Result<Ended> {
        match self {
            Self::Lab { lab, files } => {
                let argv = argv
                    .iter()
                    .map(|arg| in_lab(files, arg))
                    .collect::<Result<_>>()?;
                let env = passed_environment();
                lab.run(
                    Run {
                        argv,
                        env,
                        cwd: b"/".to_vec(),
                        terminal,
                    },
                    around,
                )
            }
            Self::Host => on_host(argv, around),
        }
    }

    /// Says on stderr what there is to know about a command that went wrong.
    pub(crate) fn explain(&self) {
        if let Self::Lab { lab, .. } = self {
            say::step(lab.console_tail());
        }
    }
}

/// Fails for a program that cannot run in the lab because it needs shared libraries.
pub(crate) fn check_program(place: Place, program: &Arg) -> Result<()> {
    if let (Place::Lab, Arg::File { path, .. }) = (place, program) {
        ensure!(
            !is_dynamic(path)?,
            "{} needs shared libraries, which the lab has not: build it with \
             RUSTFLAGS='-C target-feature=+crt-static' --target x86_64-unknown-linux-gnu",
            path.display()
        );
    }
    Ok(())
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

/// The argument as the lab must see it.
fn in_lab(files: &BTreeMap<PathBuf, String>, arg: &Arg) -> Result<Vec<u8>> {
    Ok(match arg {
        Arg::Text(text) => expand_out(text, OsStr::new(lab::OUT)).into_vec(),
        Arg::File { prefix, path } => {
            let file = files.get(path);
            let file = file.with_context(|| format!("{} is not in the lab", path.display()))?;
            [prefix.as_bytes(), file.as_bytes()].concat()
        }
    })
}

/// Runs a command here, with an output directory like the lab's.
fn on_host(argv: &[Arg], around: Around<'_>) -> Result<Ended> {
    let left = tempfile::tempdir().context("making an output directory")?;
    let argv = argv.iter().map(|arg| match arg {
        Arg::Text(text) => expand_out(text, left.path().as_os_str()),
        Arg::File { prefix, path } => {
            let mut arg = prefix.clone();
            arg.push(path);
            arg
        }
    });
    let argv: Vec<OsString> = argv.collect();
    let (program, args) = argv.split_first().context("no program named")?;
    let mut command = Command::new(program);
    command.args(args).env("OUT", left.path());
    let out = around.out;
    let ended = host::run(command, around.input, around.output, around.deadline)?;
    bring_back(left.path(), out).with_context(|| format!("writing {}", out.display()))?;
    Ok(ended)
}

/// Copies the regular files below `from`, making folders only for them.
fn bring_back(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            bring_back(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::create_dir_all(to)?;
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
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
    use lab_agent::wire::Exit;

    use super::*;
    use crate::job::Input;

    #[test]
    fn files_of_equal_names_do_not_clash() {
        let args = [Arg::file("/a/x"), Arg::file("/b/x"), Arg::file("/a/x")];
        let files = lab_files(&args);
        assert_eq!(files.len(), 2);
        assert_ne!(files[Path::new("/a/x")], files[Path::new("/b/x")]);
        assert!(files.values().all(|path| path.ends_with("/x")));
    }

    #[test]
    fn arguments_get_the_labs_paths() {
        let kernel = Arg::File {
            prefix: "--kernel=".into(),
            path: "/a/k.elf".into(),
        };
        let files = lab_files([&kernel]);
        assert_eq!(in_lab(&files, &kernel).unwrap(), b"--kernel=/files/0/k.elf");
        assert_eq!(
            in_lab(&files, &Arg::Text("$OUT/x".into())).unwrap(),
            b"/out/x"
        );
        assert!(in_lab(&files, &Arg::file("/b/k.elf")).is_err());
    }

    #[test]
    fn commands_on_the_host_have_an_output_directory_too() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let run = |script: &str| {
            let argv = ["sh", "-c", script].map(|arg| Arg::Text(arg.into()));
            let output = &mut |_, _: &[u8]| {};
            on_host(
                &argv,
                Around {
                    input: Input::Empty,
                    output,
                    out: &out,
                    deadline: None,
                },
            )
        };
        assert_eq!(
            run("mkdir $OUT/empty; exit 3").unwrap(),
            Ended::Exit(Exit::Code(3))
        );
        assert!(!out.exists(), "made for nothing");
        run("mkdir $OUT/a && echo 1 > \"$OUT\"/a/b").unwrap();
        assert_eq!(fs::read(out.join("a/b")).unwrap(), b"1\n");
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
