// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What xtask itself has to say: on stderr, since stdout belongs to what it runs.

use std::fmt::Display;

/// One line of progress.
pub(crate) fn step(text: impl Display) {
    eprintln!("xtask: {text}");
}
