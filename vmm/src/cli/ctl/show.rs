// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What came of a request, for people.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, LineStyle, Table, presets};

use super::super::table::{thousands, time};
use crate::control::{
    Added, Closed, EventLine, EventList, EventNow, EventRead, EventState, Info, NowIs, Opened,
    Reached, Removed, RunState, TaskLine, TaskList,
};

pub(super) fn info(info: &Info) -> String {
    let mut table = table(["vCPU", "state"], &[0]);
    for vcpu in &info.vcpus {
        let asked = if vcpu.removal_asked {
            ", asked for back"
        } else {
            ""
        };
        table.add_row([vcpu.vcpu.to_string(), format!("{}{asked}", vcpu.state)]);
    }
    let mut text = format!("{table}\n\n");
    let since = time(info.uptime_ms.saturating_mul(1_000_000));
    let whole = match info.state {
        RunState::Running => format!("running for {since}"),
        RunState::Paused => format!("paused, started {since} ago"),
        RunState::Ended => format!("ended, started {since} ago"),
    };
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "The VM is {whole} (accel {}, PMU {}, events open: {})",
        info.accel,
        info.pmu.as_deref().unwrap_or("none"),
        info.events,
    );
    if let Some(source) = &info.source {
        let _ = writeln!(text, "Counts: {source}");
    }
    let _ = writeln!(
        text,
        "Run by perfvisor {}, process {}",
        info.version, info.pid
    );
    text
}

pub(super) fn added(added: &Added) -> String {
    let ids = added.added.iter().map(u32::to_string).collect::<Vec<_>>();
    let many = if ids.len() == 1 { "" } else { "s" };
    format!("Added vCPU{many} {}\n", ids.join(", "))
}

pub(super) fn removed(removed: &Removed) -> String {
    format!("Removed vCPU {}\n", removed.removed)
}

pub(super) fn now_is(now: &NowIs) -> String {
    match now.state {
        RunState::Ended => "The VM has ended\n".to_owned(),
        state => format!("The VM is {state}\n"),
    }
}

pub(super) fn reached(reached: &Reached) -> String {
    match reached.vcpu {
        None => format!("The VM is {}\n", reached.state),
        Some(vcpu) => format!("vCPU {vcpu} is {}\n", reached.state),
    }
}

pub(super) fn tasks(list: &TaskList) -> String {
    if list.tasks.is_empty() {
        return "The guest has told of no task\n".to_owned();
    }
    let mut table = table(["task", "name", "vCPU", "state", "events"], &[0, 2, 4]);
    for task in &list.tasks {
        let TaskLine {
            task,
            name,
            vcpu,
            state,
            events,
        } = task;
        table.add_row([
            task.to_string(),
            name.clone(),
            vcpu.to_string(),
            state.to_string(),
            events.to_string(),
        ]);
    }
    format!("{table}\n")
}

pub(super) fn opened(opened: &Opened) -> String {
    let Opened { event, rounds, .. } = opened;
    let not = if opened.installed { "" } else { "not " };
    let many = if *rounds == 1 { "" } else { "s" };
    let state = doing(opened.state);
    format!("Opened event {event}: {not}installed after {rounds} round{many}, {state}\n")
}

/// `done` is the verb, such as "Enabled".
pub(super) fn changed(done: &str, event: &EventState) -> String {
    format!("{done} event {}: {}\n", event.event, doing(event.state))
}

pub(super) fn closed(closed: &Closed) -> String {
    format!("Closed event {}\n", closed.closed)
}

/// A line like those of `perf stat`: the number first, extrapolated where it has to be.
pub(super) fn read(read: &EventRead) -> String {
    let number = read.scaled.map(thousands);
    let number = number.as_deref().unwrap_or("<not counted>");
    let mut text = format!(
        "{number:>18}  {}  # {}, event {}: {}",
        read.name,
        target(read.task, read.vcpu),
        read.event,
        doing(read.state)
    );
    if let (Some(count), Some(enabled), Some(running)) =
        (read.count, read.enabled_ns, read.running_ns)
    {
        if running < enabled {
            let _ = write!(
                text,
                ", {} in {}% of {}",
                thousands(count),
                percent(running, enabled),
                time(enabled)
            );
        } else {
            let _ = write!(text, ", {} on a counter", time(running));
        }
    }
    if read.overflows > 0 || read.left.is_some() {
        let many = if read.overflows == 1 { "" } else { "s" };
        let _ = write!(text, ", {} overflow{many}", thousands(read.overflows));
    }
    if let Some(left) = read.left {
        let _ = write!(text, " ({} left)", thousands(left));
    }
    if let Some(traps) = &read.traps {
        let parts = [
            (traps.queued, "queued"),
            (traps.merged, "merged"),
            (traps.refused, "refused"),
            (traps.sent, "sent"),
            (traps.dropped, "dropped"),
        ];
        let parts = parts.map(|(count, word)| format!("{} {word}", thousands(count)));
        let _ = write!(text, "\n{:>22} traps: {}", "#", parts.join(", "));
    }
    // No number without what it is worth.
    let _ = writeln!(text, "\n{:>22} source: {}", "#", read.source);
    text
}

pub(super) fn list(list: &EventList) -> String {
    if list.events.is_empty() {
        return "No event is open\n".to_owned();
    }
    let header = [
        "event",
        "task",
        "vCPU",
        "counts",
        "period",
        "state",
        "overflows",
        "left",
        "set",
    ];
    let mut table = table(header, &[0, 1, 2, 4, 6, 7]);
    for event in &list.events {
        table.add_row(row(event));
    }
    format!("{table}\n")
}

fn row(event: &EventLine) -> [String; 9] {
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), thousands);
    let set: Vec<_> = [(event.pinned, "pinned"), (event.keep, "kept")]
        .into_iter()
        .filter_map(|(set, word)| set.then_some(word))
        .collect();
    [
        event.event.to_string(),
        event
            .task
            .map_or_else(|| "-".to_owned(), |id| id.to_string()),
        event
            .vcpu
            .map_or_else(|| "-".to_owned(), |id| id.to_string()),
        event.name.clone(),
        number(event.period),
        event.state.to_string(),
        thousands(event.overflows),
        number(event.left),
        set.join(", "),
    ]
}

/// What an event is on.
fn target(task: Option<u64>, vcpu: Option<u32>) -> String {
    match (task, vcpu) {
        (Some(task), Some(vcpu)) => format!("task {task} on vCPU {vcpu}"),
        (Some(task), None) => format!("task {task}"),
        (None, Some(vcpu)) => format!("vCPU {vcpu}"),
        (None, None) => "nothing".to_owned(),
    }
}

/// What an event is doing, as the end of a sentence.
const fn doing(state: EventNow) -> &'static str {
    match state {
        EventNow::Active => "counting",
        EventNow::Inactive => "waiting for a counter",
        EventNow::Off => "disabled",
        EventNow::Error => "in error: it is pinned and found no counter",
        EventNow::Exit => "over: its vCPU or task has gone, it never counts again",
    }
}

/// `part` of `whole` in hundredths of a percent, rounded down: 100.00 is all of it and no less.
fn percent(part: u64, whole: u64) -> String {
    let hundredths = u128::from(part) * 10_000 / u128::from(whole.max(1));
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// An empty table; `right` are the columns of numbers.
fn table<const N: usize>(header: [&str; N], right: &[usize]) -> Table {
    let mut table = Table::new();
    // A row is a line: there is nothing to keep apart.
    table.load_style(presets::ASCII_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header(header);
    for (at, column) in table.column_iter_mut().enumerate() {
        if right.contains(&at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
