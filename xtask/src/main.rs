// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Set-up, the KVM lab and CI's commands.

mod apt;
mod build;
mod cache;
mod child;
mod cmd_lab;
mod console;
mod host;
mod host_kvm;
mod initramfs;
mod job;
mod lab;
mod machine;
mod qemu;
mod say;
mod sources;
mod terminal;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What `cargo xtask lab` ends with when the fault is not the command's.
const LAB_FAILED: u8 = 125;

/// Set-up, the KVM lab and CI's commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    Lab(cmd_lab::LabArgs),
}

fn main() -> ExitCode {
    let (ended, failed) = match Cli::parse().command {
        Task::Lab(args) => (cmd_lab::run(&args), LAB_FAILED),
    };
    ended.map_or_else(
        |error| {
            eprintln!("error: {error:#}");
            ExitCode::from(failed)
        },
        ExitCode::from,
    )
}
