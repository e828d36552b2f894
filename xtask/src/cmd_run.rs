// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `cargo xtask run`: the sample guest on a real KVM.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::build;
use crate::exit;
use crate::host_kvm::OnArgs;
use crate::job::{Arg, Around, Input};
use crate::kernels;
use crate::machine::Machine;
use crate::workspace;

/// Options of `perfvisor run` and what they are without another word. The sample is written for
/// Intel's registers, whatever the host's CPU is, and has no use for fixed-function counters.
const DEFAULTS: [(&str, &str); 2] = [("--cpus", "boot=2"), ("--pmu", "intel-v2,fixed=0")];

/// Build perfvisor and run the sample guest: two vCPUs that sample themselves by overflow PMIs, and tasks
/// that are counted wherever they run.
///
/// What the guest prints is on standard output, all else on standard error; the exit code is
/// perfvisor's, 124 means the deadline, 125 that the lab failed.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    on: OnArgs,

    /// Where the files go that perfvisor leaves below $OUT; made only if there are any.
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,

    /// Ends the guest after this long.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    deadline: u64,

    /// Shows the lab's console on stderr.
    #[arg(long, short)]
    verbose: bool,

    /// More arguments for `perfvisor run`, such as `--json`.
    #[arg(
        value_name = "ARGS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    args: Vec<OsString>,
}

/// Runs the sample; its exit code.
pub(crate) fn run(args: &RunArgs) -> Result<u8> {
    let mut argv = vec![
        Arg::file(build::static_binary("perfvisor")?),
        Arg::Text("run".into()),
    ];
    if !names_option(&args.args, "--kernel") {
        let kernels = kernels::build(&workspace::root())?;
        argv.push(Arg::Text("--kernel".into()));
        argv.push(Arg::file(&kernels::find(&kernels, "sample")?.path));
    }
    for (option, value) in DEFAULTS {
        if !names_option(&args.args, option) {
            argv.extend([option, value].map(|text| Arg::Text(text.into())));
        }
    }
    argv.extend(args.args.iter().map(|arg| Arg::from_command_line(arg)));

    let mut machine = Machine::start(args.on.decide(), &argv, args.verbose)?;
    let ended = machine.run(
        &argv,
        None,
        Around {
            input: Input::Empty,
            output: &mut exit::pass_through,
            out: &args.out,
            deadline: Some(Duration::from_secs(args.deadline)),
        },
    )?;
    exit::code(&machine, ended)
}

/// Whether `args` have the option already, as `--name value` or `--name=value`.
fn names_option(args: &[OsString], name: &str) -> bool {
    args.iter().any(|arg| {
        let rest = arg
            .as_bytes()
            .strip_prefix(name.as_bytes())
            .map(OsStr::from_bytes);
        rest.is_some_and(|rest| rest.is_empty() || rest.as_bytes().starts_with(b"="))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_given_are_not_given_again() {
        let args = ["--json", "--cpus=boot=1", "--pmux"].map(OsString::from);
        assert!(names_option(&args, "--cpus"));
        assert!(names_option(&args, "--json"));
        assert!(!names_option(&args, "--pmu"));
        assert!(!names_option(&args, "--kernel"));
    }
}
