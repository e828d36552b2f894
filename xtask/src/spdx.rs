// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Every source file says under which licence it is.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

const HEADER: &str = "SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause";

/// What source files end with.
const SOURCES: [&str; 5] = ["rs", "S", "ld", "sh", "py"];

/// Fails with the names of the source files below `root` that lack the header; the number of
/// those that have it.
pub(crate) fn check(root: &Path) -> Result<usize> {
    let mut files = vec![root.join(".ci/run")];
    source_files(root, &mut files).context("looking for source files")?;
    let mut missing = Vec::new();
    for file in &files {
        if !has_header(file).with_context(|| format!("reading {}", file.display()))? {
            missing.push(
                file.strip_prefix(root)
                    .unwrap_or(file)
                    .display()
                    .to_string(),
            );
        }
    }
    ensure!(
        missing.is_empty(),
        "no line `{HEADER}` at the start of {}",
        missing.join(", ")
    );
    Ok(files.len())
}

/// Collects what is source below `folder`, apart from hidden folders and what cargo builds.
fn source_files(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        let hidden = name.to_string_lossy().starts_with('.');
        if entry.file_type()?.is_dir() {
            if !hidden && name != "target" {
                source_files(&path, files)?;
            }
        } else if path
            .extension()
            .and_then(OsStr::to_str)
            .is_some_and(|e| SOURCES.contains(&e))
        {
            files.push(path);
        }
    }
    Ok(())
}

/// The header is in the first line, or the second below a script's interpreter.
fn has_header(file: &Path) -> io::Result<bool> {
    let mut lines = BufReader::new(fs::File::open(file)?).lines();
    let mut line = lines.next().transpose()?;
    if line.as_ref().is_some_and(|line| line.starts_with("#!")) {
        line = lines.next().transpose()?;
    }
    Ok(line.is_some_and(|line| line.contains(HEADER)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_without_the_header_are_named() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(".ci/run", &format!("#!/bin/bash\n# {HEADER}\n"));
        write("a/good.rs", &format!("// {HEADER}\n"));
        write("target/generated.rs", "no header");
        write("notes.md", "no header");
        assert_eq!(check(root.path()).unwrap(), 2);
        write("a/late.rs", &format!("\n// {HEADER}\n"));
        write("b/empty.rs", "");
        let error = check(root.path()).unwrap_err().to_string();
        assert!(
            error.contains("a/late.rs") && error.contains("b/empty.rs"),
            "{error}"
        );
        assert!(!error.contains("good.rs"), "{error}");
    }
}
