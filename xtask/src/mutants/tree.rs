// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A copy of the tree that patches are applied to, kept between runs so that builds of it are
//! incremental.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::patch::Patch;

/// What is no part of the sources, wherever it is.
const SKIPPED: [&str; 3] = [".git", "target", "out"];

/// The copy.
pub(crate) struct Tree {
    root: PathBuf,
}

/// A patch in force; dropped, the tree is as it was.
pub(crate) struct Applied<'a> {
    tree: &'a Tree,
    originals: Vec<(PathBuf, Vec<u8>)>,
}

impl Tree {
    /// Brings the copy at `root` up to date with `source`. Files that are the same are left
    /// alone: cargo goes by their times.
    pub(crate) fn copy(source: &Path, root: &Path) -> Result<Self> {
        fs::create_dir_all(root)?;
        sync(source, root).with_context(|| format!("copying the tree to {}", root.display()))?;
        Ok(Self {
            root: root.to_owned(),
        })
    }

    /// Where the copy is.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Applies a patch.
    pub(crate) fn apply(&self, patch: &Patch) -> Result<Applied<'_>> {
        let mut originals = Vec::new();
        for file in &patch.files {
            let original = fs::read(self.root.join(file));
            let original = original.with_context(|| format!("there is no {}", file.display()))?;
            originals.push((file.clone(), original));
        }
        let applied = Applied {
            tree: self,
            originals,
        };
        let output = Command::new("git")
            .arg("apply")
            .arg(fs::canonicalize(&patch.path)?)
            .current_dir(&self.root)
            // The copy lies inside a repository, whose root git would take the paths from.
            .env("GIT_CEILING_DIRECTORIES", self.root.parent().unwrap_or(&self.root))
            .stdin(Stdio::null())
            .output()
            .context("starting git, which applies the patches")?;
        if !output.status.success() {
            bail!(
                "does not apply: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        let changed = applied.originals.iter().any(|(file, original)| {
            fs::read(self.root.join(file)).is_ok_and(|now| now != *original)
        });
        ensure!(changed, "changes nothing");
        Ok(applied)
    }
}

impl Drop for Applied<'_> {
    fn drop(&mut self) {
        for (file, original) in &self.originals {
            if let Err(e) = fs::write(self.tree.root.join(file), original) {
                panic!("cannot restore {}: {e}", file.display());
            }
        }
    }
}

/// Makes `to` like `from`.
fn sync(from: &Path, to: &Path) -> io::Result<()> {
    let mut present = BTreeSet::new();
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if SKIPPED.iter().any(|skipped| name == *skipped) {
            continue;
        }
        let target = to.join(&name);
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(&target)?;
            sync(&entry.path(), &target)?;
        } else {
            let content = fs::read(entry.path())?;
            if fs::read(&target).ok().as_ref() != Some(&content) {
                fs::write(&target, content)?;
            }
        }
        present.insert(name);
    }
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        if !present.contains(&entry.file_name()) {
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixture {
        folder: tempfile::TempDir,
    }

    impl Fixture {
        /// A source tree inside a git repository, as the real one.
        fn new() -> Self {
            let fixture = Self {
                folder: tempfile::tempdir().unwrap(),
            };
            fs::create_dir_all(fixture.source().join("src")).unwrap();
            fs::create_dir_all(fixture.source().join("target/debug")).unwrap();
            fs::write(fixture.source().join("src/a.rs"), "one\ntwo\nthree\n").unwrap();
            let init = Command::new("git")
                .arg("init")
                .arg("-q")
                .arg(fixture.source())
                .status();
            assert!(init.unwrap().success());
            fixture
        }

        fn source(&self) -> PathBuf {
            self.folder.path().join("source")
        }

        fn tree(&self) -> Tree {
            Tree::copy(&self.source(), &self.source().join("target/tree")).unwrap()
        }

        fn patch(&self, from: &str, to: &str) -> Patch {
            let path = self.folder.path().join("m.patch");
            let diff = format!(
                "Mutant: m\n\n--- a/src/a.rs\n+++ b/src/a.rs\n@@ -1,3 +1,3 @@\n one\n-{from}\n+{to}\n three\n"
            );
            fs::write(&path, diff).unwrap();
            Patch {
                path,
                files: vec!["src/a.rs".into()],
                ..Patch::sample("m")
            }
        }
    }

    #[test]
    fn a_patch_is_applied_to_the_copy_and_taken_back() {
        let fixture = Fixture::new();
        let tree = fixture.tree();
        let file = tree.root().join("src/a.rs");
        let applied = tree.apply(&fixture.patch("two", "2")).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "one\n2\nthree\n");
        let source = fs::read_to_string(fixture.source().join("src/a.rs")).unwrap();
        assert_eq!(source, "one\ntwo\nthree\n");
        drop(applied);
        assert_eq!(fs::read_to_string(&file).unwrap(), "one\ntwo\nthree\n");
    }

    #[test]
    fn a_patch_that_does_not_fit_is_an_error() {
        let fixture = Fixture::new();
        let error = fixture
            .tree()
            .apply(&fixture.patch("zwei", "2"))
            .err()
            .unwrap();
        assert!(error.to_string().contains("does not apply"), "{error}");
    }

    #[test]
    fn the_copy_follows_the_source() {
        let fixture = Fixture::new();
        let tree = fixture.tree();
        assert!(!tree.root().join("target").exists());
        fs::write(tree.root().join("src/stale.rs"), "").unwrap();
        fs::write(fixture.source().join("src/new.rs"), "new").unwrap();
        fs::remove_file(fixture.source().join("src/a.rs")).unwrap();
        let tree = fixture.tree();
        let mut names: Vec<_> = fs::read_dir(tree.root().join("src"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["new.rs"]);
    }
}
