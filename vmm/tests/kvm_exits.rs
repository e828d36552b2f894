// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How a run ends, on real KVM: what the guest did comes out as the report's exit.

mod common;

use common::{LIMIT, Output, RUN_NOWHERE, SPIN, TRIPLE_FAULT, exit, print, start, vm};
use vmm::ExitReason;

#[test]
#[ignore = "needs KVM"]
fn the_guest_prints_and_gives_its_code() {
    let output = Output::default();
    let code = [print("Hello!\n"), exit(42)].concat();
    let report = start(vm(&code).serial(Box::new(output.clone())))
        .wait(LIMIT)
        .unwrap();
    assert_eq!(
        (report.exit.reason, report.exit.code),
        (ExitReason::GuestExit, Some(42))
    );
    assert_eq!(output.text(), "Hello!\n");
    assert_eq!(report.accel, "kvm");
    assert_eq!(report.vcpus.len(), 1);
    assert_eq!(report.vcpus[0].exits["io-out"], 8);
}

#[test]
#[ignore = "needs KVM"]
fn a_wide_exit_code_is_whole() {
    // mov eax, 0x12345678; out 0xf4, eax.
    let code = [&[0xb8, 0x78, 0x56, 0x34, 0x12, 0xe7, 0xf4], SPIN].concat();
    let report = start(vm(&code)).wait(LIMIT).unwrap();
    assert_eq!(report.exit.code, Some(0x1234_5678));
}

#[test]
#[ignore = "needs KVM"]
fn a_string_of_bytes_goes_to_one_port() {
    // mov esi, text; mov ecx, 5; mov edx, 0x3f8; rep outsb.
    let head = [
        0xbe, 0x17, 0, 0x10, 0, 0xb9, 5, 0, 0, 0, 0xba, 0xf8, 3, 0, 0, 0xf3, 0x6e,
    ];
    let code = [&head[..], &exit(0), b"bytes"].concat();
    assert_eq!(&code[0x17..], b"bytes");
    let output = Output::default();
    let report = start(vm(&code).serial(Box::new(output.clone())))
        .wait(LIMIT)
        .unwrap();
    assert_eq!(report.exit.code, Some(0));
    assert_eq!(output.text(), "bytes");
}

#[test]
#[ignore = "needs KVM"]
fn what_is_not_there_reads_ones() {
    // in eax, 0x80; inc eax: 0 if it read ones. mov ebx, [0xd0000000]; inc ebx; or eax, ebx;
    // out 0xf4, eax.
    let code = [
        &[
            0xe5, 0x80, 0x40, 0x8b, 0x1d, 0, 0, 0, 0xd0, 0x43, 0x09, 0xd8, 0xe7, 0xf4,
        ],
        SPIN,
    ]
    .concat();
    let report = start(vm(&code)).wait(LIMIT).unwrap();
    assert_eq!(report.exit.code, Some(0));
}

#[test]
#[ignore = "needs KVM"]
fn a_triple_fault_ends_the_run() {
    let report = start(vm(TRIPLE_FAULT).vcpus(2)).wait(LIMIT).unwrap();
    assert_eq!(
        (report.exit.reason, report.exit.vcpu),
        (ExitReason::TripleFault, Some(0))
    );
}

#[test]
#[ignore = "needs KVM"]
fn a_vcpu_that_kvm_cannot_run_ends_the_run_with_its_registers() {
    let report = start(vm(RUN_NOWHERE).vcpus(2)).wait(LIMIT).unwrap();
    assert_eq!(
        (report.exit.reason, report.exit.vcpu),
        (ExitReason::VcpuFailure, Some(0))
    );
    let message = report.exit.message.unwrap();
    assert!(message.contains("KVM_EXIT_INTERNAL_ERROR"), "{message}");
    assert!(message.contains("rip=0xd0000000"), "{message}");
}

#[test]
#[ignore = "needs KVM"]
fn a_guest_that_does_not_end_runs_out_of_time() {
    let report = start(vm(SPIN))
        .wait(Some(std::time::Duration::from_millis(20)))
        .unwrap();
    assert_eq!(
        (report.exit.reason, report.exit.code),
        (ExitReason::Timeout, None)
    );
}

#[test]
#[ignore = "needs KVM"]
fn the_kernel_finds_its_command_line_and_memory() {
    // mov esi, [ebx + 0x18] (the command line); lodsb; out 0xf4, al.
    let code = [&[0x8b, 0x73, 0x18, 0xac, 0xe6, 0xf4], SPIN].concat();
    let report = start(vm(&code).cmdline("A")).wait(LIMIT).unwrap();
    assert_eq!(report.exit.code, Some(u32::from(b'A')));
}
