// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Runs that are killed, at whatever moment.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::thread;

use serde_json::{Value, json};

use crate::common::HOTPLUG;
use crate::rig::{Client, Folder, Run};

/// How often a VM is killed in each of the [`WAYS`].
const ROUNDS: usize = 4;

/// Brings a run to the moment when it is killed; who is connected then.
type Way = fn(&mut Run<'_>, usize) -> Vec<Client>;

const WAYS: [Way; 5] = [starting, just_listening, asked, changing, rude];

/// Somewhere between its start and its guest's.
fn starting(_: &mut Run<'_>, round: usize) -> Vec<Client> {
    for _ in 0..1000 * round {
        thread::yield_now();
    }
    Vec::new()
}

fn just_listening(run: &mut Run<'_>, _: usize) -> Vec<Client> {
    vec![run.client()]
}

/// Events count, and somebody waits.
fn asked(run: &mut Run<'_>, _: usize) -> Vec<Client> {
    let mut client = run.client_of_a_running_vm();
    let open = r#"{"do":"events-open","vcpu":0,"event":"cycles","period":100000}"#;
    assert_eq!(client.ask(open)["ok"]["event"], 1);
    client.send("{\"do\":\"wait\",\"state\":\"ended\"}\n");
    vec![client]
}

/// A vCPU comes and goes.
fn changing(run: &mut Run<'_>, round: usize) -> Vec<Client> {
    let mut client = run.client_of_a_running_vm();
    let cycle = "{\"do\":\"cpus-add\"}\n{\"do\":\"cpus-remove\",\"vcpu\":1}\n";
    client.send(&cycle.repeat(100));
    for _ in 0..=round {
        assert_eq!(client.answer().unwrap()["error"], Value::Null);
    }
    vec![client]
}

/// One has paused the VM, another is within a line, others say nothing.
fn rude(run: &mut Run<'_>, _: usize) -> Vec<Client> {
    let mut clients: Vec<_> = (0..4).map(|_| run.client()).collect();
    assert_eq!(clients[0].ask(r#"{"do":"pause"}"#)["ok"]["state"], "paused");
    clients[1].send(r#"{"do":"in"#);
    clients
}

pub(crate) fn a_killed_run_leaves_a_socket_that_the_next_replaces() {
    let folder = Folder::new(HOTPLUG);
    for round in 0..ROUNDS {
        for way in WAYS {
            let mut run = folder.run();
            let clients = way(&mut run, round);
            run.signal(libc::SIGKILL);
            let ended = run.ended();
            assert_eq!((ended.code, &*ended.stderr), (None, ""), "{ended:?}");
            for mut client in clients {
                // Answers that were on their way, and then the end.
                while client.answer().is_some() {}
            }
            nothing_runs(&folder);
            whole_lines(&folder);
        }
    }
    // Most of them were too short for one.
    let mut run = folder.run();
    let lines = || fs::read_to_string(folder.path("trace")).unwrap_or_default();
    while lines().lines().count() < 10 {
        thread::yield_now();
    }
    run.signal(libc::SIGKILL);
    assert_eq!(run.ended().code, None);
    assert!(whole_lines(&folder) > 0);
    let mut run = folder.run();
    run.client_of_a_running_vm();
    assert_eq!(folder.ctl("stop").done(), "The VM has ended\n");
    assert_eq!(run.ended().code, Some(126));
    let names = folder.names().into_iter().collect::<Vec<_>>();
    assert_eq!(names, ["kernel", "trace"]);
}

/// No process is left, nobody listens, and there is no file but those that are known.
fn nothing_runs(folder: &Folder) {
    let socket = folder.path("socket");
    let ours = socket.as_os_str().as_bytes();
    for entry in fs::read_dir("/proc").unwrap() {
        // One that ends while it is looked at has no command line.
        let line = fs::read(entry.unwrap().path().join("cmdline")).unwrap_or_default();
        let runs = line.split(|byte| *byte == 0).any(|arg| arg == ours);
        assert!(!runs, "{}", String::from_utf8_lossy(&line));
    }
    let known = ["kernel", "trace", "socket", ".socket.new"];
    for name in folder.names() {
        assert!(known.contains(&&*name), "{name}");
    }
    let error = UnixStream::connect(socket).unwrap_err().kind();
    let gone = [ErrorKind::ConnectionRefused, ErrorKind::NotFound];
    assert!(gone.contains(&error), "{error}");
}

/// How many events the trace has in whole lines: whatever was written before the end is there.
fn whole_lines(folder: &Folder) -> usize {
    let trace = fs::read_to_string(folder.path("trace")).unwrap_or_default();
    let mut events = 0;
    let mut lines = trace
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    if let Some(first) = lines.next() {
        assert_eq!(first, "[\n");
    }
    for line in lines {
        let event = line.trim_end().trim_end_matches(',');
        let event: Value = serde_json::from_str(event).unwrap_or_else(|error| {
            panic!("{error}: {line}");
        });
        assert_ne!(event["ph"], json!(null), "{line}");
        events += 1;
    }
    // Of the next run only its own are counted.
    let _ = fs::remove_file(folder.path("trace"));
    events
}
