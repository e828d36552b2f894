// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The names of tasks.

use core::fmt;

/// What a task is called: up to 16 bytes, padded with zeros. What is not printable ASCII or letters
/// of UTF-8 is shown escaped, so that no name can write to a terminal.
///
/// ```
/// use perf_port::Name;
///
/// let name = Name::new("worker/3");
/// assert_eq!(name.to_string(), "worker/3");
/// assert_eq!(Name::from_words(name.words()), name);
/// assert_eq!(Name::new("sixteen bytes it is").to_string(), "sixteen bytes it");
/// assert_eq!(Name::from_bytes(*b"\x1b[31m\xffred\0\0\0\0\0\0\0").to_string(), r"\x1b[31m\xffred");
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Name([u8; Self::LEN]);

impl Name {
    /// The most bytes of a name.
    pub const LEN: usize = 16;

    /// The name of a task that gave none.
    pub const NONE: Self = Self([0; Self::LEN]);

    /// The first 16 bytes of `name`, cut between two characters.
    pub fn new(name: &str) -> Self {
        let mut bytes = [0; Self::LEN];
        let mut end = 0;
        for character in name.chars() {
            let next = end + character.len_utf8();
            if next > Self::LEN {
                break;
            }
            character.encode_utf8(&mut bytes[end..next]);
            end = next;
        }
        Self(bytes)
    }

    /// The name of these bytes, whatever they are.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The name in two words, as commands carry it.
    pub const fn words(self) -> [u64; 2] {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = self.0;
        [
            u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            u64::from_le_bytes([i, j, k, l, m, n, o, p]),
        ]
    }

    /// The name that two words carry.
    pub const fn from_words([low, high]: [u64; 2]) -> Self {
        let [a, b, c, d, e, f, g, h] = low.to_le_bytes();
        let [i, j, k, l, m, n, o, p] = high.to_le_bytes();
        Self([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
    }

    /// Whether it is none at all.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// Its bytes, without the zeros that pad them.
    pub fn bytes(&self) -> &[u8] {
        let end = self.0.iter().rposition(|byte| *byte != 0);
        &self.0[..end.map_or(0, |last| last + 1)]
    }
}

/// As it can be shown: on one line, without control characters.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.bytes().utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    ' ' | '"' | '\'' => write!(f, "{character}")?,
                    character if character.is_ascii_control() => {
                        write!(f, "\\x{:02x}", u32::from(character))?;
                    }
                    character => write!(f, "{}", character.escape_debug())?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}
