// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The filter: memory and the end of the process, nothing else.

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, Error, SeccompAction, SeccompFilter, TargetArch, apply_filter};

const GRANTED: [i64; 9] = [
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_madvise,
    libc::SYS_mprotect,
    // Rust's runtime gives back the memory of its signal stack before it exits.
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// From here on, whatever else this thread asks of the kernel kills the process by SIGSYS.
pub(crate) fn lock() -> Result<(), Error> {
    let rules: BTreeMap<i64, _> = GRANTED.map(|call| (call, Vec::new())).into();
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        TargetArch::x86_64,
    )?;
    apply_filter(&BpfProgram::try_from(filter)?)
}
