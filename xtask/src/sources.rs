// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which Debian mirrors to use: those of the machine's own apt sources where it has some, else
//! Debian's default.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const DEFAULT_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const DEFAULT_ARCHIVE: &str = "http://deb.debian.org/debian";
const DEFAULT_SECURITY: &str = "http://deb.debian.org/debian-security";

/// Debian releases whose mirrors carry the lab's release as well.
const DEBIAN: [&str; 8] = [
    "bookworm",
    "trixie",
    "forky",
    "sid",
    "oldstable",
    "stable",
    "testing",
    "unstable",
];

/// Where the archive and its security updates are, and who signs them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mirrors {
    archive: String,
    security: String,
    keyring: PathBuf,
}

/// One source of the machine's own configuration.
#[derive(Debug, Default, PartialEq, Eq)]
struct Source {
    uri: String,
    suites: Vec<String>,
    signed_by: Option<PathBuf>,
}

impl Mirrors {
    /// Reads the machine's apt sources.
    pub(crate) fn of_this_machine() -> Result<Self> {
        let mirrors = Self::choose(&machine_sources());
        fs::File::open(&mirrors.keyring).with_context(|| {
            format!(
                "the lab needs Debian's keys in {}: install the package `debian-archive-keyring`",
                mirrors.keyring.display()
            )
        })?;
        Ok(mirrors)
    }

    /// The same mirrors, with other keys.
    pub(crate) fn signed_by(self, keyring: PathBuf) -> Self {
        Self { keyring, ..self }
    }

    fn choose(sources: &[Source]) -> Self {
        let find = |wanted: &dyn Fn(&str) -> bool| {
            sources
                .iter()
                .find(|source| source.suites.iter().any(|suite| wanted(suite)))
        };
        let archive = find(&|suite| DEBIAN.contains(&suite));
        let security = find(&|suite| {
            suite
                .strip_suffix("-security")
                .is_some_and(|release| DEBIAN.contains(&release))
        });
        let uri = |source: Option<&Source>, default: &str| {
            source.map_or_else(|| default.to_owned(), |source| source.uri.clone())
        };
        Self {
            archive: uri(archive, DEFAULT_ARCHIVE),
            security: uri(security, DEFAULT_SECURITY),
            keyring: archive
                .and_then(|source| source.signed_by.clone())
                .unwrap_or_else(|| DEFAULT_KEYRING.into()),
        }
    }

    /// An apt source list of `release` with its updates, backports and security fixes.
    pub(crate) fn source_list(&self, release: &str) -> String {
        let Self {
            archive,
            security,
            keyring,
        } = self;
        let line = |uri: &str, suite: &str| {
            format!(
                "deb [arch=amd64 signed-by={}] {uri} {suite} main\n",
                keyring.display()
            )
        };
        [
            line(archive, release),
            line(archive, &format!("{release}-updates")),
            line(archive, &format!("{release}-backports")),
            line(security, &format!("{release}-security")),
        ]
        .concat()
    }
}

/// All sources of the machine. What cannot be read is as good as absent.
fn machine_sources() -> Vec<Source> {
    let etc = Path::new("/etc/apt");
    let mut files = vec![etc.join("sources.list")];
    if let Ok(entries) = fs::read_dir(etc.join("sources.list.d")) {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.sort();
    let mut sources = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        match file.extension().and_then(|e| e.to_str()) {
            Some("list") => sources.extend(parse_list(&text)),
            Some("sources") => sources.extend(parse_deb822(&text)),
            _ => {}
        }
    }
    sources
}

/// The one-line format: `deb [option=value ...] uri suite component...`.
fn parse_list(text: &str) -> Vec<Source> {
    let parse = |line: &str| {
        let line = line.split('#').next()?.trim();
        let mut rest = line
            .strip_prefix("deb")?
            .strip_prefix([' ', '\t'])?
            .trim_start();
        let mut signed_by = None;
        if let Some(bracketed) = rest.strip_prefix('[') {
            let (options, after) = bracketed.split_once(']')?;
            signed_by = options
                .split_whitespace()
                .find_map(|option| option.strip_prefix("signed-by="))
                .map(PathBuf::from);
            rest = after;
        }
        let mut words = rest.split_whitespace();
        let uri = words.next()?.trim_end_matches('/').to_owned();
        let suites = vec![words.next()?.trim_end_matches('/').to_owned()];
        Some(Source {
            uri,
            suites,
            signed_by,
        })
    };
    text.lines().filter_map(parse).collect()
}

/// The paragraph format of deb822: fields with continuation lines.
fn parse_deb822(text: &str) -> Vec<Source> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let paragraphs = lines.split(|line| line.trim().is_empty());
    paragraphs.filter_map(parse_paragraph).collect()
}

fn parse_paragraph(lines: &[&str]) -> Option<Source> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in lines {
        if line.starts_with([' ', '\t']) {
            let (_, value) = fields.last_mut()?;
            value.push('\n');
            value.push_str(line.trim());
        } else {
            let (name, value) = line.split_once(':')?;
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let field = |name: &str| {
        fields
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| value.as_str())
    };
    if field("enabled").is_some_and(|value| matches!(value, "no" | "false" | "0"))
        || !field("types")?.split_whitespace().any(|kind| kind == "deb")
    {
        return None;
    }
    Some(Source {
        uri: field("uris")?
            .split_whitespace()
            .next()?
            .trim_end_matches('/')
            .to_owned(),
        suites: field("suites")?
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
        // The field may also hold a key itself; then the default keyring has to do.
        signed_by: field("signed-by")
            .filter(|v| v.starts_with('/'))
            .map(PathBuf::from),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(uri: &str, suites: &[&str], signed_by: Option<&str>) -> Source {
        Source {
            uri: uri.to_owned(),
            suites: suites.iter().map(|&suite| suite.to_owned()).collect(),
            signed_by: signed_by.map(PathBuf::from),
        }
    }

    #[test]
    fn one_line_sources_are_read() {
        let text = "# a comment\n\
                    deb http://mirror.example/debian/ bookworm main contrib\n\
                    deb-src http://mirror.example/debian bookworm main\n\
                    deb [arch=amd64 signed-by=/k.gpg] http://s.example/d trixie-security main # x\n";
        assert_eq!(
            parse_list(text),
            [
                source("http://mirror.example/debian", &["bookworm"], None),
                source("http://s.example/d", &["trixie-security"], Some("/k.gpg")),
            ]
        );
    }

    #[test]
    fn paragraph_sources_are_read() {
        let text = "Types: deb\n# why\nURIs: http://m.example/debian\n\
                    Suites: bookworm bookworm-updates\nSigned-By: /k.gpg\n\n\
                    Types: deb\nEnabled: no\nURIs: http://off.example\nSuites: bookworm\n\n\
                    Types: deb-src\nURIs: http://src.example\nSuites: bookworm\n\n\
                    Types: deb\nURIs: http://inline.example\nSuites: sid\n\
                    Signed-By:\n -----BEGIN PGP\n x\n";
        assert_eq!(
            parse_deb822(text),
            [
                source(
                    "http://m.example/debian",
                    &["bookworm", "bookworm-updates"],
                    Some("/k.gpg")
                ),
                source("http://inline.example", &["sid"], None),
            ]
        );
    }

    #[test]
    fn the_machines_mirrors_are_preferred() {
        let mirrors = Mirrors::choose(&[
            source("http://ubuntu.example", &["noble"], None),
            source(
                "http://m.example/debian",
                &["trixie", "trixie-updates"],
                Some("/k.gpg"),
            ),
            source("http://m.example/security", &["trixie-security"], None),
        ]);
        let list = mirrors.source_list("bookworm");
        let line = "deb [arch=amd64 signed-by=/k.gpg] http://m.example/debian bookworm-backports";
        assert!(list.contains(line), "{list}");
        assert!(
            list.contains("http://m.example/security bookworm-security main"),
            "{list}"
        );
        let list = mirrors.signed_by("/new.gpg".into()).source_list("trixie");
        let line = "deb [arch=amd64 signed-by=/new.gpg] http://m.example/debian trixie-backports";
        assert!(list.contains(line), "{list}");
        assert!(!list.contains("/k.gpg"), "{list}");
    }

    #[test]
    fn without_debian_sources_the_default_mirror_is_used() {
        let mirrors = Mirrors::choose(&[source("http://u.example", &["noble"], Some("/u.gpg"))]);
        assert_eq!(
            mirrors,
            Mirrors {
                archive: DEFAULT_ARCHIVE.to_owned(),
                security: DEFAULT_SECURITY.to_owned(),
                keyring: DEFAULT_KEYRING.into(),
            }
        );
    }
}
