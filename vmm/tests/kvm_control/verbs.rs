// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Every command of `perfvisor ctl`, to a guest that takes vCPUs and gives them back.

use serde_json::{Value, json};

use crate::common::{HALT, HOTPLUG};
use crate::rig::{Folder, Run};

/// A VM that runs, and commands to it.
struct Desk<'a> {
    folder: &'a Folder,
    run: Run<'a>,
}

impl<'a> Desk<'a> {
    fn new(folder: &'a Folder) -> Self {
        let mut run = folder.run();
        run.client_of_a_running_vm();
        Self { folder, run }
    }

    fn human(&self, args: &str) -> String {
        self.folder.ctl(args).done()
    }

    fn json(&self, args: &str) -> Value {
        let text = self.folder.ctl(&format!("--json {args}")).done();
        serde_json::from_str(&text).unwrap()
    }

    /// Reads an event until `there` is true of it; it counts meanwhile.
    fn read_until(&self, event: u64, there: impl Fn(&Value) -> bool) -> Value {
        loop {
            let read = self.json(&format!("events read {event}"));
            if there(&read) {
                return read;
            }
        }
    }
}

fn has_counted(read: &Value) -> bool {
    read["count"].as_u64() > Some(0)
}

pub(crate) fn every_command_is_for_people_and_for_programs() {
    let folder = Folder::new(HOTPLUG);
    let mut desk = Desk::new(&folder);
    look(&mut desk);
    vcpus(&desk);
    events(&desk);
    pause(&desk);
    counts_of_a_vcpu_that_goes(&desk);

    assert_eq!(desk.json("stop"), json!({"state": "ended"}));
    let ended = desk.run.ended();
    // No code of the guest's.
    assert_eq!(ended.code, Some(126), "{ended:?}");
    let report = ended.report();
    assert_eq!(report["exit"]["reason"], "stopped");
    assert_eq!(report["vcpus"].as_array().unwrap().len(), 2);
    assert!(!folder.path("socket").exists());
    let line = folder.ctl("info").failed(3);
    assert!(line.starts_with("perfvisor: No VM listens at"), "{line}");
}

fn look(desk: &mut Desk<'_>) {
    let text = desk.human("info");
    assert!(text.contains("The VM is running for "), "{text}");
    let pid = desk.run.child().id();
    assert!(text.contains(&format!("process {pid}\n")), "{text}");
    let info = desk.json("info");
    assert_eq!((&info["pid"], &info["accel"]), (&json!(pid), &json!("kvm")));
    assert_eq!(info["vcpus"][0]["state"], "running");
    assert_eq!(info["vcpus"][1]["state"], "absent");
    assert_eq!(desk.human("wait running"), "The VM is running\n");
    assert_eq!(desk.json("wait running"), json!({"state": "running"}));
}

fn vcpus(desk: &Desk<'_>) {
    assert_eq!(desk.human("cpus add"), "Added vCPU 1\n");
    assert_eq!(desk.json("cpus remove 1"), json!({"removed": 1}));
    assert_eq!(desk.json("cpus add 1"), json!({"added": [1]}));
    assert_eq!(desk.human("wait running --vcpu 1"), "vCPU 1 is running\n");
    let full = desk.folder.ctl("cpus add").failed(1);
    assert!(full.contains("All 2 vCPUs are there"), "{full}");
}

fn events(desk: &Desk<'_>) {
    let opened = desk.human("events open --vcpu 1 -e cycles");
    let installed = "Opened event 1: installed after 1 round";
    assert!(opened.starts_with(installed), "{opened}");
    let opened = desk.json("events open --vcpu 1 -e cycles --period 1000000 --limit 2");
    let what = [&opened["event"], &opened["installed"], &opened["rounds"]];
    assert_eq!(what, [&json!(2), &json!(true), &json!(1)]);

    desk.read_until(1, has_counted);
    let text = desk.human("events read 1");
    assert!(text.contains("event 1: counting, "), "{text}");
    let at_its_limit = |read: &Value| read["state"] == "off";
    let read = desk.read_until(2, at_its_limit);
    assert_eq!(read["overflows"], 2);
    assert_eq!(desk.json("events refresh 2 3")["event"], 2);
    assert_eq!(desk.read_until(2, at_its_limit)["overflows"], 5);
    let text = desk.human("events refresh 2 1");
    assert!(text.starts_with("Refreshed event 2: "), "{text}");
    assert_eq!(desk.read_until(2, at_its_limit)["overflows"], 6);

    let off = json!({"event": 1, "state": "off"});
    assert_eq!(desk.json("events disable 1"), off);
    let disabled = "Disabled event 1: disabled\n";
    assert_eq!(desk.human("events disable 1"), disabled);
    assert_eq!(desk.json("events reset 1"), off);
    assert_eq!(desk.human("events reset 1"), "Reset event 1: disabled\n");
    assert_eq!(desk.json("events read 1")["count"], 0);
    assert_eq!(desk.json("events enable 1")["event"], 1);
    let enabled = desk.human("events enable 1");
    assert!(enabled.starts_with("Enabled event 1: "), "{enabled}");
    desk.read_until(1, has_counted);

    let listed = desk.json("events list");
    let lines = listed["events"].as_array().unwrap();
    assert_eq!(lines.len(), 2);
    for line in lines {
        assert_eq!(
            (&line["vcpu"], &line["name"]),
            (&json!(1), &json!("cycles"))
        );
        // Another process opened it, for others.
        assert_eq!((&line["keep"], &line["own"]), (&json!(true), &json!(false)));
    }
    assert!(desk.human("events list").contains("cycles"));
}

fn pause(desk: &Desk<'_>) {
    assert_eq!(desk.human("pause"), "The VM is paused\n");
    assert_eq!(desk.json("pause"), json!({"state": "paused"}));
    assert!(desk.human("info").contains("The VM is paused, started "));
    let read = desk.json("events read 1");
    assert_eq!(desk.json("events read 1")["count"], read["count"]);
    let line = desk.folder.ctl("cpus remove 1").failed(1);
    assert!(line.contains("resume it first"), "{line}");
    assert_eq!(desk.human("resume"), "The VM is running\n");
    assert_eq!(desk.json("resume"), json!({"state": "running"}));
    let before = read["count"].as_u64();
    desk.read_until(1, |read| read["count"].as_u64() > before);
}

fn counts_of_a_vcpu_that_goes(desk: &Desk<'_>) {
    assert_eq!(desk.human("cpus remove 1"), "Removed vCPU 1\n");
    let offline = desk.json("wait offline --vcpu 1");
    assert_eq!(offline, json!({"vcpu": 1, "state": "offline"}));
    let read = desk.json("events read 1");
    assert_eq!(read["state"], "exit");
    assert!(has_counted(&read), "{read}");
    assert_eq!(desk.human("cpus add"), "Added vCPU 1\n");
    // The same vCPU is another one.
    assert_eq!(desk.json("events read 1"), read);
    assert_eq!(desk.human("events close 1"), "Closed event 1\n");
    assert_eq!(desk.json("events close 2"), json!({"closed": 2}));
    assert_eq!(desk.human("events list"), "No event is open\n");
    assert_eq!(desk.json("events list"), json!({"events": []}));
}

pub(crate) fn a_guest_that_keeps_its_vcpu_is_told_of() {
    let folder = Folder::new(HALT);
    let desk = Desk::new(&folder);
    assert_eq!(desk.human("cpus add"), "Added vCPU 1\n");
    let line = folder.ctl("cpus remove 1 --limit 0").failed(2);
    assert!(line.contains("did not give vCPU 1 back"), "{line}");
    let info = desk.json("info");
    assert_eq!(info["vcpus"][1]["state"], "running");
    assert_eq!(info["vcpus"][1]["removal_asked"], true);
    assert_eq!(desk.human("stop"), "The VM has ended\n");
    assert_eq!(desk.run.ended().code, Some(126));
}
