// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! From the streams and the end of a command to our own.

use std::io::{self, Write};

use anyhow::{Result, bail};
use lab_agent::wire::Exit;

use crate::job::{Ended, Stream};
use crate::machine::Machine;
use crate::say;

/// What `timeout` of coreutils ends with when the time is over.
const DEADLINE_CODE: u8 = 124;

/// What a shell gives for a program whose reader is gone (SIGPIPE).
const BROKEN_PIPE_CODE: i32 = 141;

/// Passes a command's output on as ours; when nobody reads it any more, there is no reason to go
/// on.
pub(crate) fn pass_through(stream: Stream, data: &[u8]) {
    let written = match stream {
        Stream::Out => io::stdout()
            .write_all(data)
            .and_then(|()| io::stdout().flush()),
        Stream::Err => io::stderr().write_all(data),
    };
    if written.is_err() {
        std::process::exit(BROKEN_PIPE_CODE);
    }
}

/// The exit code that passes a command's end on.
pub(crate) fn code(machine: &Machine, ended: Ended) -> Result<u8> {
    match ended {
        Ended::Exit(Exit::NotStarted(why)) => bail!("{why}"),
        Ended::Exit(exit) => Ok(exit.shell_code()),
        Ended::Deadline => {
            say::step("the command was ended at its deadline (see --deadline)");
            machine.explain();
            Ok(DEADLINE_CODE)
        }
    }
}
