// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `cargo xtask ctl-session`: `perfvisor ctl` beside a guest, on a real KVM.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::build;
use crate::exit;
use crate::host_kvm::{OnArgs, Place};
use crate::job::{Arg, Around, Input};
use crate::kernels;
use crate::machine::Machine;
use crate::workspace;

/// What is run, below the workspace's folder.
const SCRIPT: &str = "scripts/ctl-session.sh";
/// The guest that it talks to.
const KERNEL: &str = "playground";

/// Talk to a guest by `perfvisor ctl`: add a vCPU, count on it and on tasks, remove it, read, stop.
///
/// What is done is `scripts/ctl-session.sh`. The exit code is 0 if all of it worked, 124 means the
/// deadline, 125 that the lab failed.
#[derive(Debug, Args)]
pub(crate) struct CtlSessionArgs {
    #[command(flatten)]
    on: OnArgs,

    /// Ends the session after this long.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    deadline: u64,

    /// Shows the lab's console on stderr.
    #[arg(long, short)]
    verbose: bool,
}

/// Runs the session; its exit code.
pub(crate) fn run(args: &CtlSessionArgs) -> Result<u8> {
    let deadline = Duration::from_secs(args.deadline);
    session(args.on.decide(), deadline, args.verbose)
}

/// The session itself.
pub(crate) fn session(place: Place, deadline: Duration, verbose: bool) -> Result<u8> {
    let root = workspace::root();
    let perfvisor = build::static_binary("perfvisor")?;
    let kernels = kernels::build(&root)?;
    let argv = [
        Arg::Text("sh".into()),
        Arg::file(root.join(SCRIPT)),
        Arg::file(perfvisor),
        Arg::file(&kernels::find(&kernels, KERNEL)?.path),
    ];
    let mut machine = Machine::start(place, &argv, verbose)?;
    let around = Around {
        input: Input::Empty,
        output: &mut exit::pass_through,
        out: "out".as_ref(),
        deadline: Some(deadline),
    };
    let ended = machine.run(&argv, None, around)?;
    exit::code(&machine, ended)
}
