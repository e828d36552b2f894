// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `cargo xtask lab`: one command, or a shell, where a real KVM is.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use crate::build;
use crate::exit;
use crate::host;
use crate::host_kvm::{OnArgs, Place};
use crate::job::{Arg, Around, Input};
use crate::machine::{self, Machine};
use crate::say;
use crate::terminal::Raw;
use crate::workspace::{self, Workspace};

/// Run a command in the KVM lab, or a shell without one.
///
/// The lab is a small Linux with a real /dev/kvm in an emulated machine; it is booted for the
/// command and gone afterwards. Where this host's own KVM is usable, the command runs on it
/// directly. Standard input, output and error are the command's, its exit code
/// is passed on (128 + number for a signal). 124 means the deadline, 125 that the lab failed.
///
/// CMD is a static program: a path, or the name of a binary or an example of this workspace such
/// as `perfvisor` or `embed`, which is built for it, or one of busybox's commands. Arguments that name files
/// (also after `=`) are carried into the lab. `$OUT` in an argument or in the command's
/// environment is a folder whose files come back.
#[derive(Debug, Args)]
pub(crate) struct LabArgs {
    #[command(flatten)]
    on: OnArgs,

    /// Where the files go that the command leaves below $OUT; made only if there are any.
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,

    /// Ends the command after this long; a shell on a terminal has no deadline.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    deadline: u64,

    /// Shows the lab's console on stderr.
    #[arg(long, short)]
    verbose: bool,

    /// Command and arguments.
    #[arg(
        value_name = "CMD",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    command: Vec<OsString>,
}

/// Runs the command or the shell; its exit code.
pub(crate) fn run(args: &LabArgs) -> Result<u8> {
    let Some((program, rest)) = args.command.split_first() else {
        return shell(args);
    };
    let mut argv = vec![program_arg(program)?];
    argv.extend(rest.iter().map(|arg| Arg::from_command_line(arg)));
    let place = args.on.decide();
    machine::check_program(place, &argv[0])?;
    let mut machine = Machine::start(place, &argv, args.verbose)?;
    let deadline = Some(Duration::from_secs(args.deadline));
    let input = Input::Ours;
    let around = Around {
        input,
        output: &mut exit::pass_through,
        out: &args.out,
        deadline,
    };
    let ended = machine.run(&argv, None, around)?;
    exit::code(&machine, ended)
}

/// A shell: on our terminal if there is one, else for a script on standard input.
fn shell(args: &LabArgs) -> Result<u8> {
    let argv = [Arg::Text("sh".into())];
    let place = args.on.decide();
    if place == Place::Host {
        return host_shell();
    }
    let mut machine = Machine::start(place, &argv, args.verbose)?;
    let raw = Raw::enter()?;
    if raw.is_some() {
        say::step("a shell in the lab: `exit` leaves it, Ctrl-] ends a lab that hangs\r");
    }
    let (input, deadline) = match raw {
        Some(_) => (Input::Terminal, None),
        None => (Input::Ours, Some(Duration::from_secs(args.deadline))),
    };
    let around = Around {
        input,
        output: &mut exit::pass_through,
        out: &args.out,
        deadline,
    };
    let ended = machine.run(&argv, raw.as_ref().map(|_| Raw::size()), around);
    drop(raw);
    exit::code(&machine, ended?)
}

/// On a host with a usable KVM the shell is the user's own.
fn host_shell() -> Result<u8> {
    let shell = env::var_os("SHELL").unwrap_or_else(|| "sh".into());
    let status = Command::new(&shell).status();
    let status = status.with_context(|| format!("starting {}", shell.display()))?;
    Ok(host::exit(status).shell_code())
}

/// What CMD means: a path, else a program of ours, else a file here, else the lab's own command.
fn program_arg(program: &OsStr) -> Result<Arg> {
    if !program.as_bytes().contains(&b'/') {
        let workspace = Workspace::load(&workspace::root())?;
        if let Some(name) = program.to_str().filter(|n| workspace.program(n).is_some()) {
            return Ok(Arg::file(build::static_binary(name)?));
        }
    }
    Ok(if Path::new(program).is_file() {
        Arg::file(program)
    } else {
        Arg::Text(program.into())
    })
}
