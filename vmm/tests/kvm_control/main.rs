// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `perfvisor run --control` and `perfvisor ctl` on real KVM: every command, and every end.
//!
//! As in `kvm_cli`, this program is `perfvisor` as well, so that it can be carried to another
//! machine alone.

#[path = "../common/mod.rs"]
mod common;

mod ends;
mod killed;
mod rig;
mod verbs;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// Trials of functions, under their names.
macro_rules! trials {
    ($($module:ident { $($test:ident,)* })*) => {
        vec![$($(
            Trial::test(concat!(stringify!($module), "::", stringify!($test)), || {
                $module::$test();
                Ok(())
            })
            .with_ignored_flag(true),
        )*)*]
    };
}

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    if args.get(1).is_some_and(|arg| arg == rig::AS_PERFVISOR) {
        let args = args.into_iter().skip(2);
        return vmm::cli::main(["perfvisor".into()].into_iter().chain(args));
    }
    let trials = trials! {
        ends {
            a_signal_answers_whoever_waits_and_removes_the_socket,
            a_signal_before_the_guest_runs_ends_it_as_well,
            a_socket_in_use_is_left_to_its_vm,
        }
        killed {
            a_killed_run_leaves_a_socket_that_the_next_replaces,
        }
        verbs {
            every_command_is_for_people_and_for_programs,
            a_guest_that_keeps_its_vcpu_is_told_of,
        }
    };
    // One at a time: the lab has few CPUs.
    let arguments = Arguments {
        test_threads: Some(1),
        ..Arguments::from_args()
    };
    libtest_mimic::run(&arguments, trials).exit_code()
}
