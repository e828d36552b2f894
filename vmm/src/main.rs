// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The command `perfvisor`: guests with a PMU, from the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    vmm::cli::main(std::env::args_os())
}
