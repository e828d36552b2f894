// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Numbers for people.

use core::fmt;

use rt::text::Text;

/// A number with a comma every three digits.
pub(crate) struct Thousands(pub(crate) u64);

impl fmt::Display for Thousands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if self.0 < 1_000 {
            Text::format(format_args!("{}", self.0))
        } else {
            Text::format(format_args!(
                "{},{:03}",
                Thousands(self.0 / 1_000),
                self.0 % 1_000
            ))
        };
        fmt::Display::fmt(&text, f)
    }
}

/// A part of a whole, to a tenth of a per cent.
pub(crate) struct Percent(pub(crate) u64, pub(crate) u64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.0 * 1_000 + self.1 / 2) / self.1;
        let text = Text::format(format_args!("{}.{} %", tenths / 10, tenths % 10));
        fmt::Display::fmt(&text, f)
    }
}

/// Nanoseconds, in milliseconds to a tenth.
pub(crate) struct Milliseconds(pub(crate) u64);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.0 + 50_000) / 100_000;
        let text = Text::format(format_args!(
            "{}.{} ms",
            Thousands(tenths / 10),
            tenths % 10
        ));
        fmt::Display::fmt(&text, f)
    }
}
