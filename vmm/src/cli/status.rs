// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The process's exit codes, in one table for those that run a guest and one for `ctl`.

use crate::{Exit, ExitReason, KvmError, VmError};

/// How a command ended, as an exit code says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// The guest's own code, 0 to 119; 0 also for commands that run no guest.
    Guest(u8),
    /// The guest's own code is larger.
    GuestLarge,
    /// Wrong arguments, or an input that cannot be used.
    Usage,
    /// The guest triple-faulted.
    TripleFault,
    /// KVM failed or cannot do what was asked.
    Kvm,
    /// The time was up.
    Timeout,
    /// Something else on the host failed.
    HostIo,
    /// The guest ended without a code.
    NoCode,
    /// SIGINT.
    Interrupted,
    /// SIGTERM.
    Terminated,
    /// A VM that runs did not do what it was asked to.
    Refused,
    /// A guest did not give a vCPU back.
    NotHonoured,
    /// No VM runs there.
    NoVm,
}

/// The largest guest code that is passed on as it is.
const GUEST_MAX: u8 = 119;

/// Every status but the guest's own codes, with what it means.
const TABLE: [(Status, u8, &str); 9] = [
    (
        Status::GuestLarge,
        120,
        "the guest's own code is above 119; the report has the true one",
    ),
    (
        Status::Usage,
        121,
        "wrong arguments, or a kernel or memory size that cannot be used",
    ),
    (Status::TripleFault, 122, "the guest triple-faulted"),
    (
        Status::Kvm,
        123,
        "KVM failed, is missing, or cannot do what was asked",
    ),
    (Status::Timeout, 124, "the time given with --timeout was up"),
    (
        Status::HostIo,
        125,
        "other input or output on the host failed, or perfvisor itself did",
    ),
    (Status::NoCode, 126, "the guest ended without a code"),
    (Status::Interrupted, 130, "interrupted (SIGINT)"),
    (Status::Terminated, 143, "terminated (SIGTERM)"),
];

/// Every failure of `perfvisor ctl`, with what it means there. It runs no guest, so that the
/// guest's own codes are free.
const CTL: [(Status, u8, &str); 6] = [
    (
        Status::Refused,
        1,
        "the VM did not do it: its state or the perf core forbids it, or it is another user's",
    ),
    (
        Status::NotHonoured,
        2,
        "the guest did not give the vCPU back in time, or refused to",
    ),
    (
        Status::NoVm,
        3,
        "no VM listens at the socket, or its run is over; of `stat`, before it told its last counts",
    ),
    (
        Status::Usage,
        121,
        "wrong arguments, or a vCPU, task or event that there is not",
    ),
    (
        Status::Timeout,
        124,
        "the time was up before it was done, or before there was an answer",
    ),
    (
        Status::HostIo,
        125,
        "input or output failed, or the other end is no `perfvisor` of this version",
    ),
];

impl Status {
    /// The process's exit code.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Guest(code) => code,
            _ => TABLE
                .iter()
                .chain(&CTL)
                .find(|(status, ..)| *status == self)
                .map_or(u8::MAX, |(_, number, _)| *number),
        }
    }

    /// The status for the end of a run.
    pub(super) fn of_exit(exit: &Exit) -> Self {
        match exit.reason {
            ExitReason::GuestExit => match exit.code.map(u8::try_from) {
                Some(Ok(code)) if code <= GUEST_MAX => Self::Guest(code),
                _ => Self::GuestLarge,
            },
            ExitReason::TripleFault => Self::TripleFault,
            ExitReason::VcpuFailure => Self::Kvm,
            ExitReason::Timeout => Self::Timeout,
            ExitReason::HostIo => Self::HostIo,
            ExitReason::Interrupted => Self::Interrupted,
            ExitReason::Terminated => Self::Terminated,
            _ => Self::NoCode,
        }
    }

    /// The status for a run that did not come about, or did not come to its end.
    pub(super) fn of_error(error: &VmError) -> Self {
        match error {
            VmError::Kvm(KvmError::TooManyVcpus { .. }) => Self::Usage,
            VmError::Kvm(_) | VmError::Stuck(_) => Self::Kvm,
            VmError::Host { .. } => Self::HostIo,
            _ => Self::Usage,
        }
    }
}

/// The table for `--help`.
pub(super) fn help() -> String {
    let mut text = format!("Exit codes:\n  0-{GUEST_MAX}  the guest's own code\n");
    for (_, number, meaning) in TABLE {
        text.push_str(&format!("  {number:<5}  {meaning}\n"));
    }
    text
}

/// The table for the `--help` of `ctl`.
pub(super) fn ctl_help() -> String {
    let mut text = "Exit codes:\n  0      done\n".to_owned();
    for (_, number, meaning) in CTL {
        text.push_str(&format!("  {number:<5}  {meaning}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_distinct_and_above_the_guests() {
        for (at, (status, number, _)) in TABLE.into_iter().enumerate() {
            assert!(number > GUEST_MAX);
            assert_eq!(status.number(), number);
            assert!(TABLE[at + 1..].iter().all(|(_, other, _)| *other != number));
        }
    }

    #[test]
    fn every_end_has_its_number() {
        for (reason, number) in [
            (ExitReason::GuestShutdown, 126),
            (ExitReason::TripleFault, 122),
            (ExitReason::VcpuFailure, 123),
            (ExitReason::Timeout, 124),
            (ExitReason::HostIo, 125),
            (ExitReason::Stopped, 126),
            (ExitReason::Interrupted, 130),
            (ExitReason::Terminated, 143),
        ] {
            assert_eq!(Status::of_exit(&Exit::new(reason)).number(), number);
        }
    }

    #[test]
    fn a_guest_code_is_passed_on_up_to_119() {
        for (code, number) in [
            (0, 0),
            (1, 1),
            (119, 119),
            (120, 120),
            (124, 120),
            (256, 120),
            (u32::MAX, 120),
        ] {
            assert_eq!(Status::of_exit(&Exit::guest(code)).number(), number);
        }
    }

    #[test]
    fn errors_are_the_users_or_the_hosts() {
        assert_eq!(Status::of_error(&VmError::NoKernel).number(), 121);
        let no_pmu = KvmError::NoPmu {
            reason: String::new(),
        };
        assert_eq!(Status::of_error(&no_pmu.into()).number(), 123);
        let too_many = KvmError::TooManyVcpus { count: 2, max: 1 };
        assert_eq!(Status::of_error(&too_many.into()).number(), 121);
    }

    #[test]
    fn help_names_every_number() {
        let help = help();
        for (_, number, meaning) in TABLE {
            assert!(
                help.contains(&format!("  {number}    {meaning}\n")),
                "{help}"
            );
        }
        assert!(help.contains("  0-119  the guest's own code\n"), "{help}");
    }
    #[test]
    fn both_tables_agree_on_every_number() {
        let all = || TABLE.into_iter().chain(CTL);
        for (status, number, _) in all() {
            assert_eq!(status.number(), number);
            for (other, same, _) in all() {
                assert_eq!(status == other, number == same, "{status:?} and {other:?}");
            }
        }
        let help = ctl_help();
        for (_, number, meaning) in CTL {
            let line = format!("  {number:<5}  {meaning}\n");
            assert!(help.contains(&line), "{help}");
        }
    }
}
