// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Commands one after the other, to the server that VMs have.

use std::sync::Arc;
use std::thread;

use vmm::control::ControlServer;

use crate::desk::{Dir, Ended, ctl};
use crate::machine::Machine;

/// A made-up VM at a control socket.
struct Session {
    machine: Arc<Machine>,
    // Ends before the folder with its socket goes.
    server: ControlServer,
    dir: Dir,
}

impl Session {
    fn new() -> Self {
        let (dir, machine) = (Dir::new(), Machine::new());
        let server = ControlServer::start(dir.socket(), Arc::clone(&machine)).unwrap();
        Self {
            machine,
            server,
            dir,
        }
    }

    fn run(&self, args: &str) -> Ended {
        ctl(&self.dir.socket(), args)
    }

    fn done(&self, args: &str) -> String {
        self.run(args).done()
    }
}

pub(crate) fn an_event_on_an_added_vcpu_outlives_its_command_and_its_vcpu() {
    let session = Session::new();
    let core = &session.machine.core;
    assert_eq!(session.done("cpus add"), "Added vCPU 2\n");
    assert_eq!(
        session.done("events open --vcpu 2 -e cycles --period 1000"),
        "Opened event 1: installed after 1 round, counting\n"
    );
    core.ticks.pass(2_000_000_000);
    core.count(2, 1_234_567);
    let counted = |state| {
        format!(
            "         1,234,567  cycles  # vCPU 2, event 1: {state}, 2.000 s on a counter, \
             1,234 overflows\n                     # source: script: as told\n"
        )
    };
    assert_eq!(session.done("events read 1"), counted("counting"));
    assert_eq!(
        session.done("events disable 1"),
        "Disabled event 1: disabled\n"
    );
    assert_eq!(
        session.done("events enable 1"),
        "Enabled event 1: counting\n"
    );
    assert_eq!(session.done("cpus remove 2"), "Removed vCPU 2\n");
    assert_eq!(session.done("wait offline --vcpu 2"), "vCPU 2 is offline\n");
    let over = "over: its vCPU or task has gone, it never counts again";
    assert_eq!(session.done("events read 1"), counted(over));
    assert!(session.done("info").contains("events open: 1)"));
    assert_eq!(session.done("events close 1"), "Closed event 1\n");
    assert_eq!(session.done("events list"), "No event is open\n");
}

pub(crate) fn what_the_vm_refuses_comes_with_its_reason() {
    let session = Session::new();
    for (args, code, why) in [
        ("cpus remove 0", 1, "vCPU 0 cannot be removed"),
        ("cpus remove 3 --limit 0", 2, "did not give vCPU 3 back"),
        ("cpus remove 9", 121, "There is no vCPU 9"),
        ("wait running --vcpu 9", 121, "There is no vCPU 9"),
        ("wait paused --limit 0", 124, "paused"),
        ("events read 7", 121, "7"),
        (
            "events open --vcpu 0 -e cylces",
            121,
            "No event has this name",
        ),
        ("events open --vcpu 3 -e cycles", 1, "ENODEV"),
        ("events open --vcpu 0 -e branches", 1, "ENOENT"),
    ] {
        let line = session.run(args).failed(code);
        assert!(line.contains(why), "{args}: {line}");
    }
}

pub(crate) fn one_command_waits_for_what_another_does() {
    let session = Session::new();
    let waiting = session.machine.next_wait();
    thread::scope(|scope| {
        let paused = scope.spawn(|| session.done("wait paused"));
        waiting.recv().unwrap();
        assert_eq!(session.done("pause"), "The VM is paused\n");
        assert_eq!(paused.join().unwrap(), "The VM is paused\n");
    });
    assert!(session.done("info").contains("The VM is paused, started"));
    assert_eq!(session.done("resume"), "The VM is running\n");
    assert_eq!(session.done("stop"), "The VM has ended\n");
    assert_eq!(session.run("pause").failed(3), "The run is over");
    let Session { server, dir, .. } = session;
    drop(server);
    assert!(
        ctl(&dir.socket(), "info")
            .failed(3)
            .starts_with("No VM listens at")
    );
}
