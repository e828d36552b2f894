// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Runs that end in order, and one that does not begin.

use std::fs;

use serde_json::{Value, json};

use crate::common::HOTPLUG;
use crate::rig::{Ended, Folder};

pub(crate) fn a_signal_answers_whoever_waits_and_removes_the_socket() {
    for (signal, status, reason) in [
        (libc::SIGINT, 130, "interrupted"),
        (libc::SIGTERM, 143, "terminated"),
    ] {
        for paused in [false, true] {
            let folder = Folder::new(HOTPLUG);
            let mut run = folder.run();
            let mut client = run.client_of_a_running_vm();
            assert_eq!(
                client.ask(r#"{"do":"cpus-add"}"#)["ok"]["added"],
                json!([1])
            );
            let opened = client.ask(r#"{"do":"events-open","vcpu":0,"event":"cycles"}"#);
            assert_eq!(opened["ok"]["event"], 1, "{opened}");
            if paused {
                assert_eq!(client.ask(r#"{"do":"pause"}"#)["ok"]["state"], "paused");
            }
            client.send("{\"do\":\"wait\",\"state\":\"ended\"}\n");
            client.send("{\"do\":\"events-read\",\"event\":1}\n");
            run.signal(signal);
            let answer = client.answer().unwrap();
            assert_eq!(answer["ok"]["state"], "ended", "{answer}");
            // The last count, of a vCPU that is no more.
            let answer = client.answer().unwrap();
            assert!(answer["ok"]["count"].is_u64(), "{answer}");
            assert_eq!(answer["ok"]["state"], "exit", "{answer}");
            assert_eq!(client.answer(), None);
            let ended = run.ended();
            assert_eq!(ended.code, Some(status), "{ended:?}");
            let report = ended.report();
            assert_eq!(report["exit"]["reason"], reason);
            assert_eq!(report["vcpus"].as_array().unwrap().len(), 2);
            let names = folder.names().into_iter().collect::<Vec<_>>();
            assert_eq!(names, ["kernel", "trace"]);
            let trace = fs::read_to_string(folder.path("trace")).unwrap();
            let events: Vec<Value> = serde_json::from_str(&trace).unwrap();
            assert!(!events.is_empty());
        }
    }
}

pub(crate) fn a_signal_before_the_guest_runs_ends_it_as_well() {
    for (signal, status) in [(libc::SIGINT, 130), (libc::SIGTERM, 143)] {
        let folder = Folder::new(HOTPLUG);
        let mut run = folder.run();
        // The socket is there before anything else of the VM.
        let mut client = run.client();
        run.signal(signal);
        assert_eq!(client.answer(), None);
        let ended = run.ended();
        assert_eq!(
            (ended.code, &*ended.stderr),
            (Some(status), ""),
            "{ended:?}"
        );
        assert!(!folder.path("socket").exists());
    }
}

pub(crate) fn a_socket_in_use_is_left_to_its_vm() {
    let folder = Folder::new(HOTPLUG);
    let mut run = folder.run();
    let mut client = run.client_of_a_running_vm();
    let output = folder.path("output");
    fs::write(&output, "what was there").unwrap();
    let mut second = folder.command();
    second.arg("--serial").arg(&output);
    let line = Ended::of(second.output().unwrap()).failed(121);
    let socket = folder.path("socket");
    let told = format!(
        "perfvisor: The control socket {} is in use by another perfvisor\n",
        socket.display()
    );
    assert_eq!(line, told);
    // It did not begin.
    assert_eq!(fs::read_to_string(output).unwrap(), "what was there");
    let info = client.ask(r#"{"do":"info"}"#);
    assert_eq!(info["ok"]["pid"], run.child().id());
    assert!(folder.ctl("info").done().contains("The VM is running"));
}
