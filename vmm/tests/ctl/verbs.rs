// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Every command: what it asks, and what it says to the answer.

use std::fs::File;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;

use serde_json::{Value, json};

use super::desk::{Dir, answered, ctl, ctl_to, with};

/// Runs a command; it has to ask `request`, and is answered `ok`. What it printed.
fn say(args: &str, request: &Value, ok: &Value) -> String {
    let answer = json!({ "v": 1, "ok": ok }).to_string() + "\n";
    let (line, ended) = answered(args, answer.as_bytes());
    assert!(line.ends_with('\n'), "{args}: {line}");
    let mut request = request.clone();
    request["v"] = 1.into();
    assert_eq!(
        serde_json::from_str::<Value>(&line).unwrap(),
        request,
        "{args}"
    );
    ended.done()
}

/// The same, once for people and once for programs: these get what was answered, as it was. What
/// it printed for people.
fn told(args: &str, request: Value, ok: Value) -> String {
    let document = say(&format!("{args} --json"), &request, &ok);
    assert_eq!(
        serde_json::from_str::<Value>(&document).unwrap(),
        ok,
        "{args}"
    );
    assert!(document.ends_with("}\n"), "{document}");
    say(args, &request, &ok)
}

/// The words of each line that is no rule of a table; there is one above and one below its rows, and
/// one below its header.
fn rows(text: &str) -> Vec<String> {
    let rules = text.lines().filter(|line| line.starts_with(['-', '=']));
    assert_eq!(rules.count(), 3, "{text}");
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with(['-', '=']));
    lines
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

pub(crate) fn info_shows_the_vm_and_every_vcpu() {
    let vcpu = |vcpu, state, removal_asked| json!({ "vcpu": vcpu, "state": state, "removal_asked": removal_asked });
    let info = |state, pmu| {
        json!({
            "version": "0.1.0", "pid": 4711, "accel": "kvm", "state": state, "uptime_ms": 12_345,
            "pmu": pmu, "source": "clock: modelled", "events": 2, "new": "key",
            "vcpus": [
                vcpu(0, "running", false), vcpu(1, "stopping", true), vcpu(2, "offline", false)
            ]
        })
    };
    let ask = json!({ "do": "info" });
    let text = told("info", ask.clone(), info("running", json!("intel-v2")));
    assert_eq!(
        rows(&text),
        [
            "vCPU state",
            "0 running",
            "1 stopping, asked for back",
            "2 offline",
            "The VM is running for 12.345 s (accel kvm, PMU intel-v2, events open: 2)",
            "Counts: clock: modelled",
            "Run by perfvisor 0.1.0, process 4711",
        ]
    );
    let text = told("info", ask.clone(), info("paused", Value::Null));
    assert!(
        text.contains("paused, started 12.345 s ago (accel kvm, PMU none,"),
        "{text}"
    );
    let text = told("info", ask, info("ended", Value::Null));
    assert!(text.contains("ended, started 12.345 s ago"), "{text}");
}

pub(crate) fn vcpus_are_added_and_removed() {
    let add = |args, count, added| {
        told(
            args,
            json!({ "do": "cpus-add", "count": count }),
            json!({ "added": added }),
        )
    };
    assert_eq!(add("cpus add", 1, vec![2]), "Added vCPU 2\n");
    assert_eq!(add("cpus add 3", 3, vec![1, 2, 5]), "Added vCPUs 1, 2, 5\n");
    let remove = |args, limit_ms: u64| {
        let ask = json!({ "do": "cpus-remove", "vcpu": 2, "limit_ms": limit_ms });
        told(args, ask, json!({ "removed": 2 }))
    };
    assert_eq!(remove("cpus remove 2", 5_000), "Removed vCPU 2\n");
    assert_eq!(
        remove("cpus remove 2 --limit 0.25", 250),
        "Removed vCPU 2\n"
    );
}

pub(crate) fn the_vm_is_paused_resumed_and_stopped() {
    for (verb, state, text) in [
        ("pause", "paused", "The VM is paused\n"),
        ("resume", "running", "The VM is running\n"),
        ("stop", "ended", "The VM has ended\n"),
    ] {
        assert_eq!(
            told(verb, json!({ "do": verb }), json!({ "state": state })),
            text
        );
    }
}

pub(crate) fn states_are_waited_for() {
    assert_eq!(
        told(
            "wait ended",
            json!({ "do": "wait", "state": "ended", "limit_ms": 60_000 }),
            json!({ "state": "ended" })
        ),
        "The VM is ended\n"
    );
    for state in [
        "absent", "offline", "starting", "running", "paused", "stopping",
    ] {
        assert_eq!(
            told(
                &format!("wait {state} --vcpu 3 --limit 0"),
                json!({ "do": "wait", "state": state, "vcpu": 3, "limit_ms": 0 }),
                json!({ "vcpu": 3, "state": state })
            ),
            format!("vCPU 3 is {state}\n")
        );
    }
}

pub(crate) fn an_event_is_opened_for_the_commands_that_follow() {
    let opened = |installed, rounds, state| json!({ "event": 3, "installed": installed, "rounds": rounds, "state": state });
    assert_eq!(
        told(
            "events open --vcpu 1 -e cycles",
            json!({
                "do": "events-open", "vcpu": 1, "event": "cycles", "pinned": false,
                "disabled": false, "keep": true
            }),
            opened(true, 1, "active")
        ),
        "Opened event 3: installed after 1 round, counting\n"
    );
    assert_eq!(
        told(
            "events open --vcpu 0 --event ref-cycles --period 1000 --limit 2 --pinned --disabled",
            json!({
                "do": "events-open", "vcpu": 0, "event": "ref-cycles", "period": 1000, "limit": 2,
                "pinned": true, "disabled": true, "keep": true
            }),
            opened(false, 2, "off")
        ),
        "Opened event 3: not installed after 2 rounds, disabled\n"
    );
}

pub(crate) fn tasks_are_listed() {
    let list = |tasks| told("tasks", json!({ "do": "tasks" }), json!({ "tasks": tasks }));
    assert_eq!(list(json!([])), "The guest has told of no task\n");
    let text = list(json!([
        { "task": 1, "name": "init", "vcpu": 0, "state": "running", "events": 0 },
        { "task": 12, "name": "\u{1b}[2J", "vcpu": 3, "state": "blocked", "events": 2 }
    ]));
    assert_eq!(
        rows(&text),
        [
            "task name vCPU state events",
            "1 init 0 running 0",
            "12 \\u{1b}[2J 3 blocked 2",
        ]
    );
}

pub(crate) fn an_event_is_opened_on_a_task() {
    let open = |args: &str, more: Value| {
        let mut ask = json!({
            "do": "events-open", "task": 7, "event": "port.tick", "pinned": false,
            "disabled": false, "keep": true
        });
        ask.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let opened = json!({ "event": 3, "installed": true, "rounds": 2, "state": "inactive" });
        let text = told(
            &format!("events open --task 7 -e port.tick{args}"),
            ask,
            opened,
        );
        assert_eq!(
            text,
            "Opened event 3: installed after 2 rounds, waiting for a counter\n"
        );
    };
    open("", json!({}));
    open(" --vcpu 1 --inherit", json!({ "vcpu": 1, "inherit": true }));
    open(
        " --period 100 --sigtrap",
        json!({ "period": 100, "sigtrap": 0 }),
    );
    open(
        " --sigtrap=18446744073709551615 --period 1",
        json!({ "period": 1, "sigtrap": u64::MAX }),
    );
}

pub(crate) fn what_a_task_is_needed_for_says_so() {
    for (args, needed) in [
        ("-e cycles", "--vcpu"),
        ("--vcpu 0 -e cycles --period 1 --sigtrap", "--task"),
        ("--task 7 -e cycles --sigtrap", "--period"),
        ("--vcpu 0 -e cycles --inherit", "--task"),
    ] {
        let (asked, ended) = with(&format!("events open {args}"), |stream| {
            super::desk::line(&stream)
        });
        assert_eq!((&*asked, ended.code), ("", 121), "{args}: {ended:?}");
        assert!(ended.stderr.contains(needed), "{args}: {ended:?}");
    }
}

pub(crate) fn an_event_is_changed_and_closed() {
    for (verb, state, text) in [
        ("enable", "active", "Enabled event 7: counting\n"),
        (
            "enable",
            "inactive",
            "Enabled event 7: waiting for a counter\n",
        ),
        (
            "enable",
            "error",
            "Enabled event 7: in error: it is pinned and found no counter\n",
        ),
        ("disable", "off", "Disabled event 7: disabled\n"),
        (
            "reset",
            "exit",
            "Reset event 7: over: its vCPU or task has gone, it never counts again\n",
        ),
    ] {
        let ask = json!({ "do": format!("events-{verb}"), "event": 7 });
        let answer = json!({ "event": 7, "state": state });
        assert_eq!(told(&format!("events {verb} 7"), ask, answer), text);
    }
    assert_eq!(
        told(
            "events refresh 7 12",
            json!({ "do": "events-refresh", "event": 7, "overflows": 12 }),
            json!({ "event": 7, "state": "active" })
        ),
        "Refreshed event 7: counting\n"
    );
    assert_eq!(
        told(
            "events close 7",
            json!({ "do": "events-close", "event": 7 }),
            json!({ "closed": 7 })
        ),
        "Closed event 7\n"
    );
}

pub(crate) fn a_count_is_read_like_one_of_perf_stat() {
    let read = |answer| {
        told(
            "events read 3",
            json!({ "do": "events-read", "event": 3 }),
            answer,
        )
    };
    assert_eq!(
        read(json!({
            "event": 3, "vcpu": 1, "name": "cycles", "source": "clock: modelled", "count": 1_234_567, "enabled_ns": 2_000_000_000_u64,
            "running_ns": 2_000_000_000_u64, "scaled": 1_234_567, "state": "active",
            "overflows": 0, "left": null
        })),
        "         1,234,567  cycles  # vCPU 1, event 3: counting, 2.000 s on a counter\n                     # source: clock: modelled\n"
    );
    assert_eq!(
        read(json!({
            "event": 3, "vcpu": 1, "name": "cycles", "source": "clock: modelled", "count": 1_000, "enabled_ns": 3_000_000_000_u64,
            "running_ns": 2_000_000_000_u64, "scaled": 1_500, "state": "off", "overflows": 1_001,
            "left": 0
        })),
        "             1,500  cycles  # vCPU 1, event 3: disabled, 1,000 in 66.66% of 3.000 s, 1,001 overflows (0 left)\n                     # source: clock: modelled\n"
    );
    assert_eq!(
        read(json!({
            "event": 3, "vcpu": 1, "name": "cycles", "source": "clock: modelled", "count": 0, "enabled_ns": 5_000_000, "running_ns": 0, "scaled": null,
            "state": "inactive", "overflows": 1, "left": null
        })),
        "     <not counted>  cycles  # vCPU 1, event 3: waiting for a counter, 0 in 0.00% of 0.005 s, 1 overflow\n                     # source: clock: modelled\n"
    );
    assert_eq!(
        read(json!({
            "event": 3, "vcpu": 1, "name": "cycles", "source": "clock: modelled", "count": null, "enabled_ns": null, "running_ns": null, "scaled": null,
            "state": "error", "overflows": 0, "left": null
        })),
        "     <not counted>  cycles  # vCPU 1, event 3: in error: it is pinned and found no counter\n                     # source: clock: modelled\n"
    );
}

pub(crate) fn a_count_on_a_task_has_what_became_of_its_traps() {
    let read = json!({
        "event": 3, "task": 7, "name": "port.tick", "source": "port: measured", "count": 1_000,
        "enabled_ns": 1_000_000_000, "running_ns": 1_000_000_000, "scaled": 1_000,
        "state": "active", "overflows": 10, "left": null,
        "traps": { "queued": 1_007, "merged": 3, "refused": 0, "sent": 6, "dropped": 0 }
    });
    assert_eq!(
        told(
            "events read 3",
            json!({ "do": "events-read", "event": 3 }),
            read
        ),
        "             1,000  port.tick  # task 7, event 3: counting, 1.000 s on a counter, 10 overflows\n                     # traps: 1,007 queued, 3 merged, 0 refused, 6 sent, 0 dropped\n                     # source: port: measured\n"
    );
}

pub(crate) fn open_events_are_listed() {
    let list = |events| {
        told(
            "events list",
            json!({ "do": "events-list" }),
            json!({ "events": events }),
        )
    };
    assert_eq!(list(json!([])), "No event is open\n");
    let text = list(json!([
        {
            "event": 1, "vcpu": 0, "name": "cycles", "period": null, "pinned": false, "keep": false,
            "own": false, "state": "active", "overflows": 0, "left": null
        },
        {
            "event": 12, "vcpu": 3, "name": "ref-cycles", "period": 1_000_000, "pinned": true,
            "keep": true, "own": false, "state": "inactive", "overflows": 1_234, "left": 6
        },
        {
            "event": 13, "task": 7, "name": "port.tick", "period": null, "pinned": false,
            "keep": false, "own": false, "state": "active", "overflows": 0, "left": null
        },
        {
            "event": 14, "task": 7, "vcpu": 1, "name": "port.tick", "period": null, "pinned": false,
            "keep": false, "own": false, "state": "active", "overflows": 0, "left": null
        }
    ]));
    assert_eq!(
        rows(&text),
        [
            "event task vCPU counts period state overflows left set",
            "1 - 0 cycles - active 0 -",
            "12 - 3 ref-cycles 1,000,000 inactive 1,234 6 pinned, kept",
            "13 7 - port.tick - active 0 -",
            "14 7 1 port.tick - active 0 -",
        ]
    );
}

pub(crate) fn what_a_server_sends_cannot_steer_the_terminal() {
    let info = json!({
        "version": "1\u{1b}[2J", "pid": 1, "accel": "kvm", "state": "running", "uptime_ms": 0,
        "pmu": "\u{9b}x", "events": 0, "vcpus": []
    });
    let text = say("info", &json!({ "do": "info" }), &info);
    assert!(
        text.contains("1\\u{1b}[2J") && text.contains("\\u{9b}x"),
        "{text}"
    );
    assert!(!text.contains(['\u{1b}', '\u{9b}']), "{text}");
}

pub(crate) fn options_may_stand_before_or_behind_the_command() {
    let (_, ended) = answered(
        "--json --timeout 3600 stop",
        b"{\"v\":1,\"ok\":{\"state\":\"ended\"}}\n",
    );
    assert_eq!(ended.done(), "{\n  \"state\": \"ended\"\n}\n");
}

pub(crate) fn what_is_wrong_with_a_state_is_said_before_anything_is_asked() {
    let wrong = |args: &str| {
        let (asked, ended) = with(args, |stream| super::desk::line(&stream));
        assert_eq!(asked, "", "{args}");
        ended.failed(121)
    };
    assert_eq!(
        wrong("wait offline"),
        "The VM has no state \"offline\": give running, paused or ended, or a vCPU with --vcpu ID"
    );
    for state in ["ended", "finished"] {
        assert_eq!(
            wrong(&format!("wait {state} --vcpu 1")),
            format!(
                "A vCPU has no state \"{state}\": give absent, offline, starting, running, paused \
                 or stopping"
            )
        );
    }
}

/// docs/control.md tells programs what the exit codes mean, in the words of the help.
pub(crate) fn the_manual_has_every_exit_code() {
    let help = ctl(Path::new("s"), "--help").done();
    let (_, codes) = help.split_once("Exit codes:\n").unwrap();
    let manual = include_str!("../../../docs/control.md");
    let (_, told) = manual.split_once("| Exit code | |\n|---|---|\n").unwrap();
    let rows = codes.lines().map(|line| {
        let (code, meaning) = line.trim_start().split_once(' ').unwrap();
        format!("| {code} | {} |\n", meaning.trim_start())
    });
    let rows: String = rows.collect();
    assert!(rows.starts_with("| 0 | done |\n| 1 | "), "{rows}");
    assert!(told.starts_with(&rows), "{rows} is not in the manual");
}

pub(crate) fn output_that_cannot_be_written_is_an_error() {
    let dir = Dir::new();
    let listener = UnixListener::bind(dir.socket()).unwrap();
    let output = thread::scope(|scope| {
        scope.spawn(|| {
            use std::io::Write as _;
            let mut stream = listener.accept().unwrap().0;
            stream
                .write_all(b"{\"v\":1,\"ok\":{\"state\":\"paused\"}}\n")
                .unwrap();
        });
        let full = File::options().write(true).open("/dev/full").unwrap();
        ctl_to(full.into(), &dir.socket(), "pause")
    });
    assert_eq!(output.status.code(), Some(125));
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(
        line.starts_with("perfvisor: Cannot write the output: No space left"),
        "{line}"
    );
}
