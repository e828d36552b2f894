// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Reads the patches in `xtask/mutants`. Each begins with a header:
//!
//! ```text
//! Mutant: what is broken
//! Rule: the rule it breaks, or the numbers of several
//! Killed-by: native CRATE TEST            a unit test
//! Killed-by: native CRATE/FILE TEST       a test in tests/FILE.rs
//! Killed-by: loom CRATE TEST              a test in tests/loom, run under Loom
//! Killed-by: shuttle CRATE TEST           a test in tests/shuttle, run under Shuttle
//! Killed-by: lab CRATE/FILE TEST          one in tests/FILE.rs that needs a KVM
//! Killed-by: lab KERNEL                   a guest kernel
//! Killed-by: lab KERNEL POINT             one of its points, by (part of) its name
//! Killed-by: lab KERNEL[MODEL] POINT      one of a kernel that is run with several PMU models
//! Hang: yes                               a hang counts as noticed
//! ```
//!
//! with exactly one `Killed-by` and at most one `Hang`, followed by a unified diff of existing
//! files. TEST is the whole name, such as `install::r01_first_install`; it must not start other
//! programs of its build, which is by then another mutant's. A test hangs when it takes
//! minutes, and under a model checker also when an execution of it takes more steps than the
//! checker allows; a deadlock that the checker finds is a failure like any other.

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::model::Model;

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
    /// What has it.
    pub(crate) binary: Binary,
    /// The test's full name.
    pub(crate) name: String,
}

/// Tests that are built into one program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Binary {
    /// The model checker it is built for.
    pub(crate) model: Option<Model>,
    /// The package.
    pub(crate) package: String,
    /// The file of integration tests; none for the unit tests of the library.
    pub(crate) file: Option<String>,
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
    /// The rule that breaks.
    pub(crate) rule: String,
    /// The test that must fail.
    pub(crate) killer: Killer,
    /// Whether a hang counts as a failure.
    pub(crate) hang: bool,
    /// The files it changes.
    pub(crate) files: Vec<PathBuf>,
}

impl Killer {
    /// The test's full name; none where it is a guest kernel.
    pub(crate) fn test_name(&self) -> Option<&str> {
        match self {
            Self::Native(test) | Self::Kvm(test) => Some(&test.name),
            Self::Kernel { .. } => None,
        }
    }
}

/// As in the header.
impl Display for Killer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native(test) => match test.binary.model {
                None => write!(f, "native {test}"),
                Some(model) => {
                    let name = model.name();
                    write!(f, "{name} {} {}", test.binary.package, test.name)
                }
            },
            Self::Kvm(test) => write!(f, "lab {test}"),
            Self::Kernel { name, point: None } => write!(f, "lab {name}"),
            Self::Kernel {
                name,
                point: Some(point),
            } => write!(f, "lab {name} {point}"),
        }
    }
}

impl Display for Test {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let package = &self.binary.package;
        match &self.binary.file {
            None => write!(f, "{package} {}", self.name),
            Some(file) => write!(f, "{package}/{file} {}", self.name),
        }
    }
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
        rule: rule.context("no header `Rule`")?,
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
    let test = |model: Option<Model>, package: &str, file: Option<&str>| -> Result<Test> {
        let name = rest.context("`Killed-by` names no test")?;
        ensure!(!name.contains(' '), "test names have no spaces: `{name}`");
        Ok(Test {
            binary: Binary {
                model,
                package: package.to_owned(),
                file: file.map(str::to_owned),
            },
            name: name.to_owned(),
        })
    };
    let kind = kind.unwrap_or_default();
    Ok(match (kind, place.split_once('/')) {
        ("native", Some((package, file))) => Killer::Native(test(None, package, Some(file))?),
        ("native", None) => Killer::Native(test(None, place, None)?),
        ("lab", Some((package, file))) => Killer::Kvm(test(None, package, Some(file))?),
        ("lab", None) => Killer::Kernel {
            name: place.to_owned(),
            point: rest.map(str::to_owned),
        },
        (kind, split) => {
            let model = Model::named(kind).with_context(|| {
                format!(
                    "`Killed-by` starts with `native`, `loom`, `shuttle` or `lab`, not `{text}`"
                )
            })?;
            ensure!(
                split.is_none(),
                "`{kind}` names a package alone, not `{place}`"
            );
            Killer::Native(test(Some(model), place, Some(kind))?)
        }
    })
}

#[cfg(test)]
impl Patch {
    /// One that a guest kernel kills, for tests.
    pub(crate) fn sample(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            path: PathBuf::new(),
            mutant: "m".to_owned(),
            rule: "r".to_owned(),
            killer: Killer::Kernel {
                name: "k".to_owned(),
                point: None,
            },
            hang: false,
            files: Vec::new(),
        }
    }
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

    fn test(model: Option<Model>, package: &str, file: Option<&str>, name: &str) -> Test {
        let (package, file) = (package.to_owned(), file.map(str::to_owned));
        Test {
            binary: Binary {
                model,
                package,
                file,
            },
            name: name.to_owned(),
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
                rule: "Intel masks".to_owned(),
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
    fn every_kind_of_killer_is_read_and_printed_as_it_was() {
        let kernel = |point: Option<&str>| Killer::Kernel {
            name: "overflow".to_owned(),
            point: point.map(str::to_owned),
        };
        for (text, wanted) in [
            (
                "native vpmu lvtpc::tests::masked",
                Killer::Native(test(None, "vpmu", None, "lvtpc::tests::masked")),
            ),
            (
                "native vpmu/rules r1",
                Killer::Native(test(None, "vpmu", Some("rules"), "r1")),
            ),
            (
                "loom vcpu-call call::d2",
                Killer::Native(test(
                    Some(Model::Loom),
                    "vcpu-call",
                    Some("loom"),
                    "call::d2",
                )),
            ),
            (
                "shuttle vpmu hotplug::r23",
                Killer::Native(test(
                    Some(Model::Shuttle),
                    "vpmu",
                    Some("shuttle"),
                    "hotplug::r23",
                )),
            ),
            (
                "lab vmm/kvm_exits halts",
                Killer::Kvm(test(None, "vmm", Some("kvm_exits"), "halts")),
            ),
            ("lab overflow", kernel(None)),
            (
                "lab overflow the mask is set",
                kernel(Some("the mask is set")),
            ),
        ] {
            let found = killer(text).unwrap();
            assert_eq!(found, wanted);
            assert_eq!(found.to_string(), text);
        }
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
                "starts with `native`, `loom`, `shuttle` or `lab`",
            ),
            (
                "Mutant: m\nRule: r\nKilled-by: loom vpmu/loom x\n",
                "`loom` names a package alone",
            ),
            (
                "Mutant: m\nRule: r\nKilled-by: shuttle vpmu\n",
                "names no test",
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
