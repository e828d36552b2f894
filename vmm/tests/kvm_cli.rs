// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The command `perfvisor` on real KVM: exit codes, reports, signals.
//!
//! The test may be run on another machine than the one that built it, where the program is not. So
//! it has a `main` of its own: started with [`AS_PERFVISOR`] it is the program, else it runs the tests.

mod common;

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Output, Stdio};

use common::{CHATTER, HALT, RUN_NOWHERE, SPIN, TRIPLE_FAULT, elf, exit, print, wrmsr};
use libtest_mimic::{Arguments, Trial};
use serde_json::Value;

/// The first argument that makes this program `perfvisor`.
const AS_PERFVISOR: &str = "--as-perfvisor";

type Test = (&'static str, fn());

const TESTS: [Test; 11] = [
    (
        "the_guests_code_and_output_come_out",
        the_guests_code_and_output_come_out,
    ),
    (
        "the_report_is_one_json_document",
        the_report_is_one_json_document,
    ),
    (
        "without_a_choice_the_pmu_is_the_host_vendors",
        without_a_choice_the_pmu_is_the_host_vendors,
    ),
    (
        "another_vendors_pmu_is_warned_of_in_one_line",
        another_vendors_pmu_is_warned_of_in_one_line,
    ),
    (
        "what_was_enabled_in_vain_is_told_after_the_table",
        what_was_enabled_in_vain_is_told_after_the_table,
    ),
    (
        "serial_output_can_go_to_a_file",
        serial_output_can_go_to_a_file,
    ),
    (
        "every_kind_of_end_has_its_code",
        every_kind_of_end_has_its_code,
    ),
    (
        "a_reader_that_goes_away_ends_the_run",
        a_reader_that_goes_away_ends_the_run,
    ),
    (
        "a_signal_ends_the_run_with_a_report",
        a_signal_ends_the_run_with_a_report,
    ),
    (
        "a_reader_that_does_not_read_hinders_no_end",
        a_reader_that_does_not_read_hinders_no_end,
    ),
    (
        "the_doctors_status_is_its_verdict",
        the_doctors_status_is_its_verdict,
    ),
];

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    if args.get(1).is_some_and(|arg| arg == AS_PERFVISOR) {
        return vmm::cli::main(
            ["perfvisor".into()]
                .into_iter()
                .chain(args.into_iter().skip(2)),
        );
    }
    let trials = TESTS.map(|(name, test)| {
        let run = move || {
            test();
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(true)
    });
    // One at a time: they share a directory, and two busy guests disturb each other.
    let arguments = Arguments {
        test_threads: Some(1),
        ..Arguments::from_args()
    };
    let conclusion = libtest_mimic::run(&arguments, trials.into());
    // What cannot be removed is in the way of nobody.
    let _ = fs::remove_dir_all(directory());
    conclusion.exit_code()
}

fn directory() -> PathBuf {
    let path = std::env::temp_dir().join(format!("perfvisor-test-{}", std::process::id()));
    fs::create_dir_all(&path).unwrap();
    path
}

fn perfvisor() -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(AS_PERFVISOR);
    command
}

/// `perfvisor run` of a kernel with this code and no PMU; there is a limit on each run.
fn run(code: &[u8], args: &[&str]) -> Command {
    run_with_pmu(code, &[&["--pmu", "none"], args].concat())
}

/// The same with the PMU that the arguments ask for.
fn run_with_pmu(code: &[u8], args: &[&str]) -> Command {
    let kernel = directory().join("kernel");
    fs::write(&kernel, elf(code)).unwrap();
    let mut command = perfvisor();
    command
        .args(["run", "--memory", "4M", "--kernel"])
        .arg(kernel)
        .args(args);
    if !args.contains(&"--timeout") {
        command.args(["--timeout", "60"]);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn ended(code: &[u8], args: &[&str]) -> (Option<i32>, String, String) {
    outcome(run(code, args))
}

/// Exit code, stdout and stderr.
fn outcome(mut command: Command) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn the_guests_code_and_output_come_out() {
    let code = [print("Hello!\n"), exit(42)].concat();
    let (status, stdout, stderr) = ended(&code, &["--cpus", "boot=2"]);
    assert_eq!((status, stdout.as_str()), (Some(42), "Hello!\n"));
    for part in [
        "vCPU",
        "in guest",
        "8 io-out",
        "The guest ended the run with code 42",
        "accel kvm",
    ] {
        assert!(stderr.contains(part), "{part} is not in {stderr}");
    }
}

fn the_report_is_one_json_document() {
    let code = [print("Hello!\n"), exit(119)].concat();
    let (status, stdout, stderr) = ended(&code, &["--cpus", "boot=2", "--json"]);
    assert_eq!((status, stderr.as_str()), (Some(119), "Hello!\n"));
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["accel"], "kvm");
    assert_eq!(report["exit"]["reason"], "guest-exit");
    assert_eq!(report["exit"]["code"], 119);
    let vcpus = report["vcpus"].as_array().unwrap();
    assert_eq!(vcpus.len(), 2);
    for (vcpu, id) in vcpus.iter().zip(0..) {
        assert_eq!(vcpu["id"], id);
        assert_eq!(vcpu["pmis"], 0);
        assert!(vcpu["exits"].is_object());
    }
    assert_eq!(vcpus[0]["exits"]["io-out"], 8);
}

fn without_a_choice_the_pmu_is_the_host_vendors() {
    let output = perfvisor().args(["doctor", "--json"]).output().unwrap();
    let doctor: Value = serde_json::from_slice(&output.stdout).unwrap();
    let default = doctor["pmu"]["default"].as_str().unwrap();
    let (status, stdout, stderr) = outcome(run_with_pmu(&exit(3), &["--json"]));
    assert_eq!((status, stderr.as_str()), (Some(3), ""));
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["pmu"]["model"], default);
    assert_eq!(report["pmu"]["warning"], Value::Null);
    let amd = doctor["vendor"] == "AuthenticAMD";
    assert_eq!(default, if amd { "amd-v2" } else { "intel-v2" });
}

fn another_vendors_pmu_is_warned_of_in_one_line() {
    let output = perfvisor()
        .args(["pmu", "list", "--json"])
        .output()
        .unwrap();
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    for model in list["models"].as_array().unwrap() {
        let name = model["name"].as_str().unwrap();
        let args = ["--pmu", name, "--json"];
        let (status, stdout, stderr) = outcome(run_with_pmu(&exit(3), &args));
        assert_eq!(status, Some(3), "{name}: {stderr}");
        let report: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(report["pmu"]["model"], name);
        if model["vendor"] == list["host_vendor"] {
            assert_eq!(stderr, "", "{name}");
        } else {
            assert!(
                stderr.starts_with(&format!("perfvisor: The PMU {name} is ")),
                "{stderr}"
            );
            assert!(
                stderr.contains("mitigations") && stderr.contains("hypercalls"),
                "{stderr}"
            );
            assert_eq!(stderr.lines().count(), 1, "{stderr}");
        }
    }
}

fn what_was_enabled_in_vain_is_told_after_the_table() {
    let code = [wrmsr(0xc001_0000, 0x43_00c0), exit(0)].concat();
    let (status, _, stderr) = outcome(run_with_pmu(&code, &["--pmu", "amd-k7"]));
    assert_eq!(status, Some(0), "{stderr}");
    let told = "vCPU 0 enabled what cannot be counted here:\n  \
                0x300c0  Retired Instructions (PMCx0C0, umask 00H)\n";
    assert!(stderr.contains(told), "{stderr}");
}

fn serial_output_can_go_to_a_file() {
    let file = directory().join("serial");
    let code = [print("to a file"), exit(0)].concat();
    let (status, stdout, stderr) = ended(&code, &["--json", "--serial", file.to_str().unwrap()]);
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
    assert!(serde_json::from_str::<Value>(&stdout).is_ok());
    assert_eq!(fs::read_to_string(file).unwrap(), "to a file");
}

fn every_kind_of_end_has_its_code() {
    let timeout = &["--json", "--timeout", "0.05"][..];
    for (code, args, status, reason) in [
        (&exit(120)[..], &["--json"][..], 120, "guest-exit"),
        (TRIPLE_FAULT, &["--json"], 122, "triple-fault"),
        (RUN_NOWHERE, &["--json"], 123, "vcpu-failure"),
        (SPIN, timeout, 124, "timeout"),
        (HALT, timeout, 124, "timeout"),
        (
            &print("x"),
            &["--json", "--serial", "/dev/full"],
            125,
            "host-io",
        ),
    ] {
        let (ended, stdout, stderr) = ended(code, args);
        assert_eq!(ended, Some(status), "{reason}: {stderr}");
        let report: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(report["exit"]["reason"], reason);
        let code = (reason == "guest-exit").then_some(120);
        assert_eq!(report["exit"]["code"], Value::from(code));
    }
}

fn a_reader_that_goes_away_ends_the_run() {
    let mut child = run(CHATTER, &[]).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(125), "{stderr}");
    assert!(
        stderr.contains("Cannot write the guest's serial output: Broken pipe"),
        "{stderr}"
    );
}

fn signal(child: &Child, signal: i32) {
    let pid = i32::try_from(child.id()).unwrap();
    // SAFETY: the call takes two numbers; the child is not waited for yet, so the id is its own.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

fn a_signal_ends_the_run_with_a_report() {
    for (number, status, reason) in [
        (libc::SIGINT, 130, "interrupted"),
        (libc::SIGTERM, 143, "terminated"),
    ] {
        let code = [&print("x"), HALT].concat();
        let mut child = run(&code, &["--json"]).spawn().unwrap();
        // The guest runs.
        let mut byte = [0];
        child
            .stderr
            .as_mut()
            .unwrap()
            .read_exact(&mut byte)
            .unwrap();
        signal(&child, number);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(status));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["exit"]["reason"], reason);
    }
}

fn a_reader_that_does_not_read_hinders_no_end() {
    // The guest fills the pipe and the console's queue while nobody reads.
    for (args, number, status) in [
        (&["--timeout", "60"][..], Some(libc::SIGINT), 130),
        (&["--timeout", "0.05"], None, 124),
    ] {
        let mut child = run(CHATTER, args).spawn().unwrap();
        let mut byte = [0];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut byte)
            .unwrap();
        if let Some(number) = number {
            signal(&child, number);
        }
        assert_eq!(child.wait().unwrap().code(), Some(status));
    }
}

fn the_doctors_status_is_its_verdict() {
    let output = perfvisor().args(["doctor", "--json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let offered = report["pmu"]["offered"].as_bool().unwrap();
    assert_eq!(output.status.code(), Some(if offered { 0 } else { 123 }));
    assert!(report["pmu"]["reason"].is_string());
    let models = report["pmu"]["models"].as_array().unwrap();
    assert_eq!(models.contains(&report["pmu"]["default"]), offered);
}
