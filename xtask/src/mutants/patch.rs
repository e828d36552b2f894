// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Reads the patches in `xtask/mutants`. Each begins with a header:
//!
//! ```text
//! Mutant: what is broken
//! Rule: the rule it breaks
//! Killed-by: native CRATE TEST            a unit test
//! Killed-by: native CRATE/FILE TEST       a test in tests/FILE.rs
//! Killed-by: lab CRATE/FILE TEST          the same, of those that need a KVM
//! Killed-by: lab KERNEL                   a guest kernel
//! Killed-by: lab KERNEL POINT             one of its points, by (part of) its name
//! Hang: yes                               a hang counts as noticed
//! ```
//!
//! with exactly one `Killed-by` and at most one `Hang`, followed by a unified diff of existing
//! files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// The test that must fail.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Killer {
    /// A test that needs no KVM.
    Native(Test),
    /// A test that needs one.
    Kvm(Test),
    /// A guest kernel, or one of its points.
    Kernel {
        /// The kernel's name.
        name: String,
        /// Part of the point's name.
        point: Option<String>,
    },
}

/// A test as cargo knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Test {
    /// The package.
    pub(crate) package: String,
    /// The file of integration tests; none for a unit test of the library.
    pub(crate) file: Option<String>,
    /// The test's full name.
    pub(crate) name: String,
}

/// One mutant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Patch {
    /// The patch file's name without its extension.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What is broken.
    pub(crate) mutant: String,
    /// The test that must fail.
    pub(crate) killer: Killer,
    /// Whether a hang counts as a failure.
    pub(crate) hang: bool,
    /// The files it changes.
    pub(crate) files: Vec<PathBuf>,
}

/// All patches in `folder`, in the order of their names.
pub(crate) fn load(folder: &Path) -> Result<Vec<Patch>> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut patches = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "patch")
        {
            let text = fs::read_to_string(&path)?;
            let patch = parse(&path, &text).with_context(|| format!("in {}", path.display()))?;
            patches.push(patch);
        }
    }
    patches.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(patches)
}

fn parse(path: &Path, text: &str) -> Result<Patch> {
    let (mut mutant, mut rule, mut killer, mut hang) = (None, None, None, None);
    let mut lines = text.lines();
    for line in lines.by_ref() {
        if line.starts_with("diff --git ") || line.starts_with("--- ") {
            break;
        }
        if line.is_empty() {
            continue;
        }
        let (key, value) = line
            .split_once(": ")
            .with_context(|| format!("no header: {line}"))?;
        let value = value.trim().to_owned();
        let field = match key {
            "Mutant" => &mut mutant,
            "Rule" => &mut rule,
            "Killed-by" => &mut killer,
            "Hang" => &mut hang,
            _ => bail!("unknown header `{key}`"),
        };
        ensure!(field.replace(value).is_none(), "header `{key}` twice");
    }
    ensure!(rule.is_some(), "no header `Rule`");
    let hang = match hang.as_deref() {
        None => false,
        Some("yes") => true,
        Some(other) => bail!("`Hang` is `yes` or not there, not `{other}`"),
    };
    let files: Vec<PathBuf> = text
        .lines()
        .filter_map(|line| line.strip_prefix("+++ b/"))
        .map(|path| PathBuf::from(path.trim_end()))
        .collect();
    ensure!(!files.is_empty(), "no file is changed (lines `+++ b/...`)");
    Ok(Patch {
        name: path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        path: path.to_owned(),
        mutant: mutant.context("no header `Mutant`")?,
        killer: parse_killer(&killer.context("no header `Killed-by`")?)?,
        hang,
        files,
    })
}

fn parse_killer(text: &str) -> Result<Killer> {
    let mut words = text.splitn(3, ' ').map(str::trim);
    let (kind, place, rest) = (words.next(), words.next(), words.next());
    let place = place
        .filter(|place| !place.is_empty())
        .context("`Killed-by` names no test")?;
    let test = |package: &str, file: Option<&str>| -> Result<Test> {
        let name = rest.context("`Killed-by` names no test")?;
        ensure!(!name.contains(' '), "test names have no spaces: `{name}`");
        let (package, file) = (package.to_owned(), file.map(str::to_owned));
        Ok(Test {
            package,
            file,
            name: name.to_owned(),
        })
    };
    Ok(match (kind, place.split_once('/')) {
        (Some("native"), Some((package, file))) => Killer::Native(test(package, Some(file))?),
        (Some("native"), None) => Killer::Native(test(place, None)?),
        (Some("lab"), Some((package, file))) => Killer::Kvm(test(package, Some(file))?),
        (Some("lab"), None) => Killer::Kernel {
            name: place.to_owned(),
            point: rest.map(str::to_owned),
        },
        _ => bail!("`Killed-by` starts with `native` or `lab`, not `{text}`"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIFF: &str = "\ndiff --git a/vpmu/src/lvtpc.rs b/vpmu/src/lvtpc.rs\n\
                        --- a/vpmu/src/lvtpc.rs\n+++ b/vpmu/src/lvtpc.rs\n\
                        @@ -1 +1 @@\n-Mutant: old\n+Hang: new\n";

    fn parsed(header: &str) -> Result<Patch> {
        parse(Path::new("m/lvtpc-mask.patch"), &format!("{header}{DIFF}"))
    }

    fn killer(text: &str) -> Result<Killer> {
        parsed(&format!("Mutant: m\nRule: r\nKilled-by: {text}\n")).map(|patch| patch.killer)
    }

    fn test(package: &str, file: Option<&str>, name: &str) -> Test {
        let (package, name) = (package.to_owned(), name.to_owned());
        Test {
            package,
            file: file.map(str::to_owned),
            name,
        }
    }

    #[test]
    fn a_whole_header_is_read() {
        let header =
            "Mutant: no mask: ever\nRule: Intel masks\nKilled-by: lab overflow\nHang: yes\n";
        assert_eq!(
            parsed(header).unwrap(),
            Patch {
                name: "lvtpc-mask".to_owned(),
                path: "m/lvtpc-mask.patch".into(),
                mutant: "no mask: ever".to_owned(),
                killer: Killer::Kernel {
                    name: "overflow".to_owned(),
                    point: None
                },
                hang: true,
                files: vec!["vpmu/src/lvtpc.rs".into()],
            }
        );
    }

    #[test]
    fn every_kind_of_killer_is_read() {
        let unit = test("vpmu", None, "lvtpc::tests::masked");
        assert_eq!(
            killer("native vpmu lvtpc::tests::masked").unwrap(),
            Killer::Native(unit)
        );
        let file = test("vpmu", Some("rules"), "r1");
        assert_eq!(
            killer("native vpmu/rules r1").unwrap(),
            Killer::Native(file)
        );
        let kvm = test("vmm", Some("kvm_exits"), "halts");
        assert_eq!(killer("lab vmm/kvm_exits halts").unwrap(), Killer::Kvm(kvm));
        let point = Some("the mask is set".to_owned());
        assert_eq!(
            killer("lab overflow the mask is set").unwrap(),
            Killer::Kernel {
                name: "overflow".to_owned(),
                point
            }
        );
    }

    #[test]
    fn what_is_missing_or_wrong_is_said() {
        for (header, error) in [
            ("Rule: r\nKilled-by: lab x\n", "no header `Mutant`"),
            ("Mutant: m\nKilled-by: lab x\n", "no header `Rule`"),
            ("Mutant: m\nRule: r\n", "no header `Killed-by`"),
            ("Mutant: m\nMutant: m\n", "header `Mutant` twice"),
            ("Mutant: m\nRules: r\n", "unknown header `Rules`"),
            ("Just some text\n", "no header: Just some text"),
            (
                "Mutant: m\nRule: r\nKilled-by: lab x\nHang: no\n",
                "not `no`",
            ),
            (
                "Mutant: m\nRule: r\nKilled-by: vpmu x\n",
                "starts with `native` or `lab`",
            ),
            (
                "Mutant: m\nRule: r\nKilled-by: native vpmu\n",
                "names no test",
            ),
            (
                "Mutant: m\nRule: r\nKilled-by: native vpmu a b\n",
                "no spaces",
            ),
        ] {
            let found = parsed(header).unwrap_err().to_string();
            assert!(found.contains(error), "{header:?} gives {found:?}");
        }
        let header = "Mutant: m\nRule: r\nKilled-by: lab x\n";
        let found = parse(Path::new("x.patch"), header).unwrap_err().to_string();
        assert!(found.contains("no file is changed"), "{found}");
    }
}
