// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Set-up, the KVM lab and CI's commands.

mod apt;
mod bans;
mod bench_table;
mod build;
mod cache;
mod checks;
mod child;
mod cmd_bench;
mod cmd_ctl_session;
mod cmd_fuzz;
mod cmd_guest;
mod cmd_lab;
mod cmd_mutants;
mod cmd_races;
mod cmd_run;
mod cmd_test;
mod cmd_trace_picture;
mod console;
mod exit;
mod fuzz;
mod host;
mod host_kvm;
mod initramfs;
mod job;
mod kernels;
mod kvm_tests;
mod lab;
mod machine;
mod model;
mod mutants;
mod picture;
mod qemu;
mod races;
mod say;
mod sources;
mod spdx;
mod terminal;
mod tools;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What commands that pass an exit code on end with when the fault is ours.
const OUR_FAULT: u8 = 125;

/// Set-up, the KVM lab and CI's commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    Run(cmd_run::RunArgs),
    Test(cmd_test::TestArgs),
    Guest(cmd_guest::GuestArgs),
    Lab(cmd_lab::LabArgs),
    CtlSession(cmd_ctl_session::CtlSessionArgs),
    Mutants(cmd_mutants::MutantsArgs),
    Bench(cmd_bench::BenchArgs),
    Fuzz(cmd_fuzz::FuzzArgs),
    TracePicture(cmd_trace_picture::TracePictureArgs),
    Races(cmd_races::RacesArgs),
}

fn main() -> ExitCode {
    let (ended, failed) = match Cli::parse().command {
        Task::Run(args) => (cmd_run::run(&args), OUR_FAULT),
        Task::Test(args) => (cmd_test::run(&args), 1),
        Task::Guest(args) => (cmd_guest::run(&args), 1),
        Task::Lab(args) => (cmd_lab::run(&args), OUR_FAULT),
        Task::CtlSession(args) => (cmd_ctl_session::run(&args), OUR_FAULT),
        Task::Mutants(args) => (cmd_mutants::run(&args), 1),
        Task::Bench(args) => (cmd_bench::run(&args), 1),
        Task::Fuzz(args) => (cmd_fuzz::run(&args), 1),
        Task::TracePicture(args) => (cmd_trace_picture::run(&args), 1),
        Task::Races(args) => (cmd_races::run(&args), 1),
    };
    ended.map_or_else(
        |error| {
            eprintln!("error: {error:#}");
            ExitCode::from(failed)
        },
        ExitCode::from,
    )
}
