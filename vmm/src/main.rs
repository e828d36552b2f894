// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The command `perfvisor`: guests with a PMU, from the command line.

use std::process::ExitCode;

mod cli;

fn main() -> ExitCode {
    cli::main()
}
