// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Our terminal, handed through to a shell in the lab.

use std::io::{self, IsTerminal, Stdin};

use anyhow::Result;
use nix::libc;
use nix::sys::termios::{self, SetArg, Termios, cfmakeraw};

mod ioctl {
    nix::ioctl_read_bad!(
        /// Asks a terminal for its size.
        tiocgwinsz,
        nix::libc::TIOCGWINSZ,
        nix::libc::winsize
    );
}

/// Ctrl-]: ends a lab that no longer answers, since Ctrl-C goes to the shell in it.
pub(crate) const HANG_UP: u8 = 0x1d;

/// A terminal in raw mode; dropped, it is as it was.
pub(crate) struct Raw {
    terminal: Stdin,
    before: Termios,
}

impl Raw {
    /// Switches our terminal to raw mode, `None` if we are not on one.
    pub(crate) fn enter() -> Result<Option<Self>> {
        let terminal = io::stdin();
        if !terminal.is_terminal() || !io::stdout().is_terminal() {
            return Ok(None);
        }
        let before = termios::tcgetattr(&terminal)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        termios::tcsetattr(&terminal, SetArg::TCSADRAIN, &raw)?;
        Ok(Some(Self { terminal, before }))
    }

    /// Rows and columns.
    pub(crate) fn size() -> (u16, u16) {
        let mut size = libc::winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: the call writes one winsize to the place it is given. If it fails, the usual
        // size stays in it.
        let _ = unsafe { ioctl::tiocgwinsz(libc::STDIN_FILENO, &raw mut size) };
        // A pseudo terminal that nobody has told its size says 0.
        (
            if size.ws_row == 0 { 24 } else { size.ws_row },
            if size.ws_col == 0 { 80 } else { size.ws_col },
        )
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // There is nothing else to be done for a terminal that has gone away.
        let _ = termios::tcsetattr(&self.terminal, SetArg::TCSADRAIN, &self.before);
    }
}
