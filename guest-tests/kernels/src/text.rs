// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Formatted text in a fixed buffer: there is no heap here.

use core::fmt;

/// At most 240 bytes of text; what does not fit is cut off.
#[derive(Clone, Copy)]
pub struct Text {
    bytes: [u8; 240],
    len: usize,
}

impl Text {
    /// The text that these arguments format to.
    #[must_use]
    pub fn format(arguments: fmt::Arguments<'_>) -> Self {
        let mut text = Self {
            bytes: [0; 240],
            len: 0,
        };
        // Writing to the buffer does not fail.
        let _ = fmt::write(&mut text, arguments);
        text
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for c in s.chars() {
            let end = self.len + c.len_utf8();
            if end > self.bytes.len() {
                break;
            }
            c.encode_utf8(&mut self.bytes[self.len..end]);
            self.len = end;
        }
        Ok(())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(core::str::from_utf8(&self.bytes[..self.len]).unwrap_or("(broken text)"))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
