// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A command to run where a KVM is: its arguments, its surroundings, its end.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lab_agent::wire::Exit;

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
pub(crate) fn expand_out(text: &OsStr, out: &OsStr) -> OsString {
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

/// Which of its two streams a command wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Where a command's input comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// None.
    Empty,
    /// Our own standard input.
    Ours,
    /// The same, a terminal in raw mode whose Ctrl-] ends the lab.
    Terminal,
}

/// What becomes of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It ended by itself.
    Exit(Exit),
    /// The deadline ended it.
    Deadline,
}

/// A command's surroundings: input, output, files, time.
pub(crate) struct Around<'a> {
    /// Its standard input.
    pub(crate) input: Input,
    /// Takes its output.
    pub(crate) output: &'a mut dyn FnMut(Stream, &[u8]),
    /// Where the files go that it leaves below its output directory.
    pub(crate) out: &'a Path,
    /// When it is ended.
    pub(crate) deadline: Option<Duration>,
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
}
