// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `perfvisor ctl stat` against the server that VMs have, with vCPUs that count what a test says.

use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixListener;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use vmm::control::{ControlServer, Host as _, Tasks as _};

use crate::desk::{Dir, Ended, begin, ctl, line};
use crate::machine::Machine;

/// Long past the moment at which a command that works has done what it does.
const LONG: Duration = Duration::from_secs(10);

/// A made-up VM at a control socket.
struct Rig {
    machine: Arc<Machine>,
    // Ends before the folder with its socket goes.
    server: ControlServer,
    dir: Dir,
}

/// A `ctl stat` that counts.
struct Counting(Child);

impl Rig {
    fn new() -> Self {
        let (dir, machine) = (Dir::new(), Machine::new());
        let server = ControlServer::start(dir.socket(), Arc::clone(&machine)).unwrap();
        Self {
            machine,
            server,
            dir,
        }
    }

    /// Returns when it has opened its events, and waits for the end of the run.
    fn begin(&self, args: &str) -> Counting {
        let begun = self.machine.next_wait();
        let child = begin(Stdio::piped(), &self.dir.socket(), &format!("stat {args}"));
        // One that does not come so far has ended.
        begun.recv_timeout(LONG).unwrap();
        Counting(child)
    }

    fn open_events(&self) -> usize {
        self.machine.events().unwrap().open_events()
    }
}

impl Counting {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).unwrap();
    }

    fn end(self) -> Ended {
        Ended::new(self.0.wait_with_output().unwrap())
    }

    fn interrupted(self) -> String {
        self.signal(Signal::SIGINT);
        self.end().done()
    }
}

/// The lines between the source and the time, without the time that was on the host's clock.
fn counts(text: &str) -> Vec<&str> {
    let lines = text.lines().filter(|line| {
        let other = line.starts_with("# ") || line.starts_with(" Perf") || line.is_empty();
        !other && !line.ends_with(" seconds time elapsed")
    });
    lines.collect()
}

pub(crate) fn counts_are_shown_when_a_signal_comes() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let rig = Rig::new();
        let counting = rig.begin("--vcpu 1 -e cycles,branches,instructions");
        rig.machine.core.ticks.pass(2_000_000_000);
        rig.machine.core.count(1, 1_234_567);
        rig.machine.core.count(0, 5);
        counting.signal(signal);
        let text = counting.end().done();
        assert_eq!(
            counts(&text),
            [
                "         1,234,567      cycles",
                "   <not supported>      branches",
                "         1,234,567      instructions",
            ]
        );
        assert!(
            text.starts_with(
                "# source: script: as told\n\n Performance counter stats for vCPU 1:\n\n"
            ),
            "{text}"
        );
        assert!(text.ends_with(" seconds time elapsed\n\n"), "{text}");
    }
}

pub(crate) fn all_vcpus_are_summed() {
    let rig = Rig::new();
    let counting = rig.begin("-e cycles");
    rig.machine.core.ticks.pass(1_000);
    rig.machine.core.count(0, 1_000);
    rig.machine.core.count(1, 234);
    let text = counting.interrupted();
    assert_eq!(counts(&text), ["             1,234      cycles"]);
    assert!(text.contains(" stats for vCPUs 0, 1:"), "{text}");
    // What is counted if nothing is said.
    let text = rig.begin("--for 3600").interrupted();
    let names: Vec<_> = counts(&text)
        .iter()
        .map(|line| line.split_whitespace().last().unwrap().to_owned())
        .collect();
    let usual = [
        "cycles",
        "ref-cycles",
        "instructions",
        "branches",
        "branch-misses",
    ];
    assert_eq!(names, usual);
}

pub(crate) fn the_end_of_the_run_has_the_last_counts() {
    let rig = Rig::new();
    let counting = rig.begin("-e cycles,instructions");
    rig.machine.core.ticks.pass(1_000);
    rig.machine.core.count(1, 700);
    rig.machine.end();
    rig.server.stop();
    assert_eq!(
        counts(&counting.end().done()),
        [
            "               700      cycles",
            "               700      instructions",
        ]
    );
}

/// A server that is killed tells nothing more.
pub(crate) fn a_run_that_ends_without_a_last_look_is_said_to_have() {
    for (args, shown) in [
        ("", &["                42      cycles"][..]),
        (" -I 3600000", &[]),
    ] {
        let ended = killed(args);
        assert_eq!(
            (ended.code, &*counts(&ended.stdout)),
            (3, shown),
            "{ended:?}"
        );
        assert!(
            ended
                .stderr
                .starts_with("perfvisor: The VM was gone before it told its last counts: "),
            "{ended:?}"
        );
    }
}

/// What `stat` says of a VM that is killed after one look.
fn killed(args: &str) -> Ended {
    let dir = Dir::new();
    let listener = UnixListener::bind(dir.socket()).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            use std::io::Write as _;
            let mut keeper = listener.accept().unwrap().0;
            let mut reader = listener.accept().unwrap().0;
            let say = |asked: &mut std::os::unix::net::UnixStream, ok: Value| {
                let request: Value = serde_json::from_str(&line(asked)).unwrap();
                let answer = json!({ "v": 1, "ok": ok }).to_string() + "\n";
                asked.write_all(answer.as_bytes()).unwrap();
                request["do"].as_str().unwrap().to_owned()
            };
            let opened = json!({ "event": 4, "installed": true, "rounds": 1, "state": "active" });
            assert_eq!(say(&mut keeper, opened), "events-open");
            let read = json!({
                "event": 4, "vcpu": 0, "name": "cycles", "source": "a", "count": 42,
                "enabled_ns": 10, "running_ns": 10, "scaled": 42, "state": "active",
                "overflows": 0, "left": null
            });
            assert_eq!(say(&mut reader, read), "events-read");
            // It waits for the end now.
            assert!(line(&keeper).contains(r#""do":"wait""#));
        });
        let args = format!("stat --vcpu 0 -e cycles{args}");
        ctl(&dir.socket(), &args)
    })
}

pub(crate) fn intervals_add_up_to_the_whole() {
    let rig = Rig::new();
    rig.machine.core.ticks.run();
    let mut counting = rig.begin("--vcpu 1 -e cycles -I 5 -x ;");
    let mut lines = BufReader::new(counting.0.stdout.take().unwrap()).lines();
    let mut line = || lines.next().map(Result::unwrap);
    assert_eq!(line().unwrap(), "# source: script: as told");
    let mut sum = 0;
    let mut before = 0.0;
    let mut take = |line: String| {
        let fields: Vec<_> = line.trim_start().split(';').collect();
        assert_eq!((fields.len(), fields[3]), (8, "cycles"), "{line}");
        let at: f64 = fields[0].parse().unwrap();
        assert!(at > before, "{line}");
        before = at;
        sum += fields[1].parse::<u64>().unwrap();
        sum
    };
    for counts in [100, 20, 3] {
        rig.machine.core.count(1, counts);
        take(line().unwrap());
    }
    counting.signal(Signal::SIGINT);
    while let Some(line) = line() {
        take(line);
    }
    assert_eq!(sum, 123);
    assert!(counting.0.wait().unwrap().success());
}

pub(crate) fn what_is_left_of_an_interval_is_shown() {
    let rig = Rig::new();
    let counting = rig.begin("--vcpu 1 -e cycles -I 3600000 -x ,");
    rig.machine.core.ticks.pass(1_000);
    rig.machine.core.count(1, 77);
    let text = counting.interrupted();
    assert!(text.ends_with(",77,,cycles,1000,100.00,,\n"), "{text}");
}

pub(crate) fn objects_come_one_a_line() {
    let rig = Rig::new();
    let counting = rig.begin("--vcpu 1 -e cycles,branches --json");
    rig.machine.core.ticks.pass(1_000);
    rig.machine.core.count(1, 77);
    let text = counting.interrupted();
    let objects: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        objects,
        [
            json!({
                "counter-value": "77.000000", "unit": "", "event": "cycles",
                "event-runtime": 1_000, "pcnt-running": 100.0, "source": "script: as told"
            }),
            json!({
                "counter-value": "<not supported>", "unit": "", "event": "branches",
                "event-runtime": 0, "pcnt-running": 100.0
            }),
        ]
    );
}

pub(crate) fn what_had_no_counter_is_not_counted() {
    let rig = Rig::new();
    for _ in 0..4 {
        let open = "events open --vcpu 1 -e cycles --pinned";
        ctl(&rig.dir.socket(), open).done();
    }
    let counting = rig.begin("--vcpu 1 -e cycles");
    rig.machine.core.ticks.pass(1_000);
    rig.machine.core.count(1, 50);
    let text = counting.interrupted();
    let line: Vec<_> = counts(&text)[0].split_whitespace().collect();
    assert_eq!(line.join(" "), "<not counted> cycles ( 0.00%)");
}

pub(crate) fn a_task_is_counted_wherever_it_runs() {
    let rig = Rig::new();
    let core = &rig.machine.core;
    let counting = rig.begin("--task 2 -e cycles");
    let here = rig.begin("--task 2 --vcpu 1 -e cycles");
    core.ticks.pass(1_000);
    core.count(1, 70);
    core.switch(1, None);
    core.count(1, 500);
    core.switch(0, Some(&rig.machine.tasks.task(2).unwrap()));
    core.ticks.pass(1_000);
    core.count(0, 30);
    let text = counting.interrupted();
    assert_eq!(counts(&text), ["               100      cycles"]);
    assert!(text.contains(" stats for task 2:"), "{text}");
    let text = here.interrupted();
    assert!(text.contains(" stats for task 2 on vCPU 1:"), "{text}");
    // As perf has it: for half of the time in which the task ran, it was not there.
    let line: Vec<_> = counts(&text)[0].split_whitespace().collect();
    assert_eq!(line.join(" "), "140 cycles ( 50.00%)");
}

pub(crate) fn what_is_not_there_is_told() {
    let rig = Rig::new();
    for (args, code, why) in [
        ("--vcpu 2", 1, "vCPU 2 is offline or absent (ENODEV)"),
        ("--task 77", 121, "The guest has no task 77"),
        ("-e cylces", 121, "No event has this name"),
    ] {
        let line = ctl(&rig.dir.socket(), &format!("stat {args}")).failed(code);
        assert!(line.contains(why), "{line}");
    }
    let none = Dir::new();
    let line = ctl(&none.socket(), "stat").failed(3);
    assert!(line.contains("No VM listens at"), "{line}");
}

pub(crate) fn events_go_with_the_command_however_it_ends() {
    let rig = Rig::new();
    let mut counting = rig.begin("-e cycles,instructions");
    assert_eq!(rig.open_events(), 4);
    counting.signal(Signal::SIGKILL);
    counting.0.wait().unwrap();
    let end = Instant::now() + LONG;
    while rig.open_events() > 0 {
        assert!(Instant::now() < end, "its events stay");
        thread::yield_now();
    }
}

pub(crate) fn fields_and_objects_do_not_go_together() {
    let none = Dir::new();
    let line = ctl(&none.socket(), "stat -x , --json").failed(121);
    assert_eq!(
        line,
        "Fields and JSON do not go together: give -x or --json"
    );
}
