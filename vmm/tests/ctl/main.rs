// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `perfvisor ctl` against servers that say what each test has them say.
//!
//! The program that is tried is this one: it has a `main` of its own, and started with
//! [`desk::AS_PERFVISOR`] it is `perfvisor`. So it is always the one that was built with the tests.

mod broken;
mod desk;
mod refusals;
mod session;
mod sockets;
mod stat;
mod verbs;

#[allow(dead_code, reason = "the tests of the server use the rest of it")]
#[path = "../control/machine.rs"]
mod machine;
#[allow(dead_code, reason = "the tests of the server use the rest of it")]
#[path = "../control/vcpus.rs"]
mod vcpus;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// Trials of functions, under their names.
macro_rules! trials {
    ($($module:ident { $($test:ident,)* })*) => {
        vec![$($(
            Trial::test(concat!(stringify!($module), "::", stringify!($test)), || {
                $module::$test();
                Ok(())
            }),
        )*)*]
    };
}

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    if args.get(1).is_some_and(|arg| arg == desk::AS_PERFVISOR) {
        let args = args.into_iter().skip(2);
        return vmm::cli::main(["perfvisor".into()].into_iter().chain(args));
    }
    let trials = trials! {
        broken {
            what_is_no_answer_is_told_with_where_it_came_from,
            an_answer_to_something_else_is_not_shown,
            a_connection_that_is_closed_without_an_answer_is_the_end_of_the_vm,
            a_line_is_read_up_to_its_limit_and_no_further,
            only_the_first_line_is_the_answer,
            a_server_that_stalls_is_given_up,
            a_server_that_does_not_read_is_given_up,
        }
        refusals {
            each_kind_is_told_in_the_vms_words_with_a_status,
            an_errno_is_told_and_a_message_stays_one_line,
            a_server_that_will_not_listen_is_heard_all_the_same,
        }
        session {
            an_event_on_an_added_vcpu_outlives_its_command_and_its_vcpu,
            what_the_vm_refuses_comes_with_its_reason,
            one_command_waits_for_what_another_does,
        }
        sockets {
            no_socket_at_all_says_how_to_get_one,
            the_socket_of_a_vm_that_is_gone_is_told_from_none,
            a_file_that_is_no_socket_is_told,
            a_path_that_no_socket_can_have_is_told,
            a_server_that_does_not_accept_is_given_up,
        }
        stat {
            counts_are_shown_when_a_signal_comes,
            all_vcpus_are_summed,
            the_end_of_the_run_has_the_last_counts,
            a_run_that_ends_without_a_last_look_is_said_to_have,
            intervals_add_up_to_the_whole,
            what_is_left_of_an_interval_is_shown,
            objects_come_one_a_line,
            what_had_no_counter_is_not_counted,
            a_task_is_counted_wherever_it_runs,
            what_is_not_there_is_told,
            events_go_with_the_command_however_it_ends,
            fields_and_objects_do_not_go_together,
        }
        verbs {
            info_shows_the_vm_and_every_vcpu,
            vcpus_are_added_and_removed,
            the_vm_is_paused_resumed_and_stopped,
            states_are_waited_for,
            tasks_are_listed,
            an_event_is_opened_for_the_commands_that_follow,
            an_event_is_opened_on_a_task,
            what_a_task_is_needed_for_says_so,
            an_event_is_changed_and_closed,
            a_count_is_read_like_one_of_perf_stat,
            a_count_on_a_task_has_what_became_of_its_traps,
            open_events_are_listed,
            what_a_server_sends_cannot_steer_the_terminal,
            options_may_stand_before_or_behind_the_command,
            what_is_wrong_with_a_state_is_said_before_anything_is_asked,
            the_manual_has_every_exit_code,
            output_that_cannot_be_written_is_an_error,
        }
    };
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
