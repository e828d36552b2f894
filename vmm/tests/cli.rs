// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The command `perfvisor` where it needs no KVM: help, and what is refused.

mod common;

use std::ffi::CString;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Output};

use common::{SPIN, elf};

fn perfvisor(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_perfvisor"))
        .args(args)
        .output()
        .unwrap()
}

/// A file for one test.
fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// The one line that refuses these arguments.
fn refused(args: &[&str]) -> String {
    let output = perfvisor(args);
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(121), "{args:?}: {line}");
    assert!(output.stdout.is_empty(), "{args:?}");
    assert!(
        line.starts_with("perfvisor: ") && line.ends_with('\n'),
        "{args:?}: {line}"
    );
    assert_eq!(line.lines().count(), 1, "{args:?}: {line}");
    line
}

#[test]
fn every_command_has_help() {
    for args in [
        &["--help"][..],
        &["run", "--help"],
        &["doctor", "--help"],
        &["ctl", "--help"],
        &["ctl", "cpus", "--help"],
        &["ctl", "events", "open", "--help"],
        &["pmu", "--help"],
        &["pmu", "list", "--help"],
        &["--version"],
    ] {
        let output = perfvisor(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(
            !output.stdout.is_empty() && output.stderr.is_empty(),
            "{args:?}"
        );
    }
}

#[test]
fn run_explains_every_option_and_exit_code() {
    let help = String::from_utf8(perfvisor(&["run", "--help"]).stdout).unwrap();
    for word in [
        "--kernel",
        "--cpus",
        "--memory",
        "--pmu",
        "--cmdline",
        "--timeout",
        "--serial",
        "--control",
        "--trace",
        "--json",
        "0-119",
        "120",
        "121",
        "122",
        "123",
        "124",
        "125",
        "126",
        "130",
        "143",
    ] {
        assert!(help.contains(word), "{word} is not in {help}");
    }
}

#[test]
fn every_pmu_model_is_listed_without_kvm() {
    let list = perfvisor(&["pmu", "list"]);
    assert_eq!(list.status.code(), Some(0));
    assert!(list.stderr.is_empty());
    let text = String::from_utf8(list.stdout).unwrap();
    for model in vpmu::PmuModel::ALL {
        let row = format!(" {} ", model.name());
        assert_eq!(text.matches(&row).count(), 1, "{model} in {text}");
    }
    assert!(text.contains("Source clock: cycles are modelled"), "{text}");

    let list = perfvisor(&["pmu", "list", "--json"]);
    let value: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    let names = value["models"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|model| model["name"].as_str().unwrap()).collect();
    let all: Vec<_> = vpmu::PmuModel::ALL
        .iter()
        .map(vpmu::PmuModel::name)
        .collect();
    assert_eq!(names, all);
    assert!(all.contains(&value["default"].as_str().unwrap()));
}

#[test]
fn a_model_that_cannot_be_is_refused_and_says_why() {
    for (model, why) in [
        ("amd-v9", "Unknown PMU model (known: amd-k7"),
        (
            "amd-v2,counters=9",
            "amd-v2 has 1 to 6 general-purpose counters, not 9",
        ),
        (
            "intel-v1,fixed=1",
            "intel-v1 has 0 to 0 fixed-function counters, not 1",
        ),
        (
            "intel-v2,width=64",
            "intel-v2 has counters of 32 to 63 bits, not 64",
        ),
        (
            "amd-core,full-width=on",
            "amd-core has no full-width writes",
        ),
        ("intel-v2,counters", "NAME[,counters=N]"),
    ] {
        let line = refused(&["run", "--kernel", "k", "--pmu", model]);
        assert!(line.contains(why), "{model}: {line}");
    }
}

#[test]
fn an_event_filter_that_makes_no_sense_is_refused_with_its_line() {
    let kernel = file("filtered", &elf(SPIN));
    let filter = |name, text: &str| {
        let path = file(name, text.as_bytes());
        let path = path.to_str().unwrap().to_owned();
        let line = refused(&[
            "run",
            "--kernel",
            kernel.to_str().unwrap(),
            "--pmu-filter",
            &path,
        ]);
        assert!(line.contains(&path), "{line}");
        line
    };
    let line = filter("no-action", "event 0x3C umask 0\n");
    assert!(line.contains("Line 1: An event filter begins"), "{line}");
    let line = filter("no-umask", "deny\n\nevent 0x3C\n");
    assert!(line.contains("Line 3: Give `umask VALUE`"), "{line}");

    let run = ["run", "--kernel", "k", "--pmu-filter", "/nowhere/filter"];
    let line = refused(&run);
    assert!(line.contains("/nowhere/filter: No such file"), "{line}");
    let line = refused(&[&run[..], &["--pmu", "none"]].concat());
    assert!(line.contains("no PMU for --pmu-filter"), "{line}");
}

#[test]
fn a_wrong_argument_is_refused_in_one_line() {
    assert!(refused(&[]).contains("A command is missing"));
    assert!(refused(&["run"]).contains("--kernel"));
    assert!(refused(&["run", "--kernel", "k", "--cups", "boot=2"]).contains("--cpus"));
    assert!(refused(&["run", "--kernel", "k", "--memory", "64"]).contains("128M"));
}

#[test]
fn a_kernel_that_cannot_be_used_is_refused_in_one_line() {
    let kernel = |name, content: &[u8]| {
        let path = file(name, content);
        refused(&["run", "--kernel", path.to_str().unwrap()])
    };
    let good = elf(SPIN);
    assert!(kernel("empty", b"").contains("not an ELF file"));
    assert!(kernel("text", b"#!/bin/sh").contains("not an ELF file"));
    assert!(kernel("cut", &good[..good.len() - 1]).contains("damaged or cut short"));
    assert!(refused(&["run", "--kernel", "/nowhere/kernel"]).contains("/nowhere/kernel"));
    assert!(refused(&["run", "--kernel", "/"]).contains("is a directory"));
    assert!(refused(&["run", "--kernel", "/dev/zero"]).contains("not a regular file"));
}

#[test]
fn memory_that_cannot_be_given_is_refused_in_one_line() {
    let path = file("good", &elf(SPIN));
    let kernel = path.to_str().unwrap();
    for size in ["0M", "1M", "513G", "2049K"] {
        let line = refused(&["run", "--kernel", kernel, "--memory", size]);
        assert!(
            line.contains("at least 2 MiB and at most 512 GiB"),
            "{line}"
        );
    }
    // The segment's size in memory, in the first program header.
    let mut large = elf(SPIN);
    large[64 + 40..64 + 48].copy_from_slice(&(64_u64 << 20).to_le_bytes());
    let path = file("large", &large);
    let line = refused(&["run", "--kernel", path.to_str().unwrap(), "--memory", "8M"]);
    assert!(
        line.contains("needs at least 65 MiB of memory and the guest has 8 MiB"),
        "{line}"
    );
}

#[test]
fn a_serial_file_that_cannot_be_written_is_refused_in_one_line() {
    let path = file("serial", &elf(SPIN));
    let kernel = path.to_str().unwrap();
    let line = refused(&["run", "--kernel", kernel, "--serial", "/nowhere/serial"]);
    assert!(line.contains("--serial /nowhere/serial"), "{line}");
    let line = refused(&["run", "--kernel", kernel, "--trace", "/nowhere/trace"]);
    assert!(
        line.contains("Cannot write --trace /nowhere/trace"),
        "{line}"
    );
    let fifo =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("fifo{}", std::process::id()));
    let name = CString::new(fifo.to_str().unwrap()).unwrap();
    // SAFETY: the name is a string that ends with a zero.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let line = refused(&[
        "run",
        "--kernel",
        kernel,
        "--serial",
        fifo.to_str().unwrap(),
    ]);
    std::fs::remove_file(fifo).unwrap();
    assert!(line.contains("Cannot write --serial"), "{line}");
}

#[test]
fn the_kernel_is_never_taken_for_a_file_to_write() {
    let kernel = file("kernel-and-serial", &elf(SPIN));
    let path = kernel.to_str().unwrap();
    for option in ["--serial", "--trace"] {
        let line = refused(&["run", "--kernel", path, option, path]);
        let what = format!("Cannot write {option} {path}: it is the kernel; give another file");
        assert!(line.contains(&what), "{line}");
    }
    assert_eq!(std::fs::read(&kernel).unwrap(), elf(SPIN), "untouched");
}

#[test]
fn the_trace_never_goes_where_the_serial_output_goes() {
    let (kernel, both) = (file("kernel-beside", &elf(SPIN)), file("both", b"kept"));
    let (kernel, path) = (kernel.to_str().unwrap(), both.to_str().unwrap());
    // By another name of the same file.
    let link = both.with_extension("link");
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(&both, &link).unwrap();
    let link = link.to_str().unwrap();
    let line = refused(&["run", "--kernel", kernel, "--serial", path, "--trace", link]);
    assert!(
        line.contains("it is that of --serial; give another file"),
        "{line}"
    );
    assert_eq!(std::fs::read(&both).unwrap(), b"kept");
}

#[test]
fn a_run_that_does_not_start_leaves_the_serial_file_alone() {
    let serial = file("kept", b"the last run's");
    let path = serial.to_str().unwrap();
    refused(&["run", "--kernel", "/no/such/kernel", "--serial", path]);
    assert_eq!(std::fs::read(&serial).unwrap(), b"the last run's");
}

#[test]
fn a_name_with_control_characters_stays_in_one_line() {
    let line = refused(&["run", "--kernel", "/no\nsuch\x1b[2Jkernel"]);
    assert!(line.contains("/no\\nsuch\\u{1b}[2Jkernel"), "{line}");
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_perfvisor"))
        .arg("--help")
        .stdout(full)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(
        line.contains("Cannot write the output: No space left"),
        "{line}"
    );
}
