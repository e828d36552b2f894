// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! From bytes as they come to lines. Pure.

use super::MAX_LINE;

/// One line of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Its bytes, without the LF.
    Whole(Vec<u8>),
    /// It is longer than [`MAX_LINE`]. Said as soon as that is clear; the rest of it is passed over.
    TooLong,
}

/// Cuts what comes into lines, and holds no more of it than it was fed at once and one line.
///
/// ```
/// use vmm::control::{Line, Lines};
///
/// let mut lines = Lines::default();
/// lines.feed(b"one\ntw");
/// assert_eq!(lines.next(), Some(Line::Whole(b"one".to_vec())));
/// assert_eq!(lines.next(), None);
/// lines.feed(b"o\n");
/// assert_eq!(lines.next(), Some(Line::Whole(b"two".to_vec())));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
    /// Where the next line begins.
    start: usize,
    /// Up to where there is no LF after `start`.
    looked: usize,
    /// In a line that was too long: everything up to its LF is dropped.
    passing: bool,
}

impl Lines {
    /// With nothing in it.
    pub const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            looked: 0,
            passing: false,
        }
    }

    /// Takes bytes in.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.looked -= self.start;
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// How many bytes are held that no line was made of.
    pub fn held(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// The next line, if it has come whole, or is too long already.
    // Not an iterator: after none there can be more.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Line> {
        if self.passing {
            self.passing = self.pass().is_none();
            if self.passing {
                return None;
            }
        }
        let found = self.find_lf();
        let end = found.unwrap_or(self.bytes.len());
        if end - self.start > MAX_LINE {
            self.passing = self.pass().is_none();
            return Some(Line::TooLong);
        }
        found.map(|lf| {
            let line = self.bytes[self.start..lf].to_vec();
            self.go_on(lf + 1);
            Line::Whole(line)
        })
    }

    /// The place of the next LF.
    fn find_lf(&mut self) -> Option<usize> {
        let unseen = &self.bytes[self.looked..];
        let found = unseen.iter().position(|byte| *byte == b'\n');
        let found = found.map(|at| self.looked + at);
        self.looked = found.unwrap_or(self.bytes.len());
        found
    }

    /// Drops everything up to the next LF; none if it has not come.
    fn pass(&mut self) -> Option<()> {
        let found = self.find_lf();
        self.go_on(found.map_or(self.bytes.len(), |lf| lf + 1));
        found.map(|_| ())
    }

    const fn go_on(&mut self, at: usize) {
        self.start = at;
        self.looked = at;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(lines: &mut Lines) -> Vec<Line> {
        std::iter::from_fn(|| lines.next()).collect()
    }

    #[test]
    fn a_line_may_be_as_long_as_it_may_be() {
        let mut lines = Lines::default();
        lines.feed(&[b'x'; MAX_LINE]);
        assert_eq!(all(&mut lines), []);
        lines.feed(b"\n");
        assert_eq!(all(&mut lines), [Line::Whole(vec![b'x'; MAX_LINE])]);
        lines.feed(&[b'x'; MAX_LINE + 1]);
        assert_eq!(all(&mut lines), [Line::TooLong], "whether it ends or not");
        lines.feed(b"xx\ny\n");
        assert_eq!(all(&mut lines), [Line::Whole(b"y".to_vec())]);
    }

    #[test]
    fn ten_megabytes_in_one_line_are_not_held() {
        let mut lines = Lines::default();
        let mut said = Vec::new();
        for _ in 0..640 {
            lines.feed(&[b'x'; 16 * 1024]);
            said.extend(all(&mut lines));
            assert!(lines.held() <= MAX_LINE + 16 * 1024);
            assert!(lines.bytes.capacity() <= 4 * MAX_LINE);
        }
        lines.feed(b"\nnext\n");
        said.extend(all(&mut lines));
        assert_eq!(said, [Line::TooLong, Line::Whole(b"next".to_vec())]);
    }

    proptest! {
        /// Wherever the bytes are cut, the lines are the same.
        #[test]
        fn chunks_make_no_difference(
            lengths in prop::collection::vec(
                prop_oneof![0..20_usize, MAX_LINE - 2..MAX_LINE + 3], 0..12),
            chunk in prop_oneof![1..50_usize, 1..200_000_usize],
        ) {
            let mut bytes = Vec::new();
            for length in &lengths {
                bytes.resize(bytes.len() + length, b'x');
                bytes.push(b'\n');
            }
            let mut lines = Lines::default();
            let mut got = Vec::new();
            for chunk in bytes.chunks(chunk) {
                lines.feed(chunk);
                got.extend(all(&mut lines));
            }
            let expected: Vec<_> = lengths.iter().map(|&length| {
                if length > MAX_LINE { Line::TooLong } else { Line::Whole(vec![b'x'; length]) }
            }).collect();
            prop_assert_eq!(got, expected);
            prop_assert_eq!(lines.held(), 0);
        }
    }
}
