// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What `docs/perf-port.md` says in numbers and in assembly is what the crates have.
#![cfg(not(loom))]

use std::fs;
use std::path::Path;

use perf_port::cpuid::Discovery;
use perf_port::{EventNumber, Op, page};

fn manual() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/perf-port.md");
    fs::read_to_string(path).expect("the manual is there")
}

/// The cells of a row of a table.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(str::trim).collect())
}

/// A piece of assembly without comments, one statement a line, with single spaces.
fn statements(text: &str) -> Vec<String> {
    let bare = |line: &str| {
        let code = line.split('#').next().unwrap_or_default();
        code.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let lines = text.lines().map(bare);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('.'))
        .collect()
}

#[test]
fn the_window_is_that_of_the_macro() {
    let manual = manual();
    let start = manual.find("return_start:").expect("the window");
    let end = manual[start..].find("return_end:").expect("its end") + "return_end:".len();
    let ours = perf_port_guest::return_to_user!("return_start", "return_end", "trap_waits");
    assert_eq!(statements(&manual[start..start + end]), statements(ours));
}

#[test]
fn the_fields_are_where_the_table_has_them() {
    let manual = manual();
    let rows: Vec<_> = manual.lines().filter_map(cells).collect();
    for (name, offset) in [
        ("CURRENT", page::CURRENT),
        ("RETURN_START", page::RETURN_START),
        ("RETURN_END", page::RETURN_END),
        ("ANNOUNCE", page::ANNOUNCE),
        ("TRAP", page::TRAP),
        ("TRAP_EVENT", page::TRAP_EVENT),
        ("TRAP_TASK", page::TRAP_TASK),
        ("TRAP_ADDR", page::TRAP_ADDR),
        ("TRAP_DATA", page::TRAP_DATA),
        ("OP", page::OP),
        ("RESULT", page::RESULT),
        ("ARG", page::ARG),
        ("OUT", page::OUT),
    ] {
        let row = rows.iter().find(|row| row.get(2) == Some(&name));
        let row = row.unwrap_or_else(|| panic!("no row for {name}"));
        assert_eq!(row[0], format!("0x{offset:03X}"), "{name}");
    }
}

#[test]
fn every_command_has_its_row() {
    let manual = manual();
    let rows: Vec<_> = manual.lines().filter_map(cells).collect();
    for op in Op::ALL {
        let name = match op {
            Op::TrapDone => "TRAP_DONE".to_owned(),
            other => format!("{other:?}").to_uppercase(),
        };
        let row = rows
            .iter()
            .find(|row| row.get(1) == Some(&name.as_str()) && row.len() == 5);
        let row = row.unwrap_or_else(|| panic!("no row for {name}"));
        assert_eq!(row[0], op.number().to_string(), "{name}");
        let args = if row[2].is_empty() {
            0
        } else {
            row[2].split(',').count()
        };
        assert_eq!(args, op.args(), "{name}");
    }
}

#[test]
fn every_event_has_its_number() {
    let manual = manual();
    let row = manual
        .lines()
        .filter_map(cells)
        .find(|row| row.get(..2) == Some(&["3", "event"]));
    let names = [
        "cycles",
        "instructions",
        "ref-cycles",
        "llc-references",
        "llc-misses",
        "branches",
        "branch-misses",
    ];
    let numbered = names.iter().zip(EventNumber::ALL);
    let mut list: Vec<_> = numbered
        .map(|(name, event)| format!("{} {name}", event.number()))
        .collect();
    list.push(format!("{:#x} port.tick", EventNumber::PortTick.number()));
    assert_eq!(row.expect("OPEN's event")[2], list.join(", "));
}

#[test]
fn discovery_is_told_as_it_is() {
    let manual = manual();
    let Discovery {
        port,
        vector,
        tick_frame,
        ..
    } = Discovery::V1;
    for text in [
        format!("the first I/O port (0x{port:X}), bits 23:16 the vector of traps ({vector})"),
        format!("of the tick page (0x{tick_frame:X})"),
    ] {
        assert!(manual.contains(&text), "{text}");
    }
    let leaf = perf_port::cpuid::signature();
    let signature = format!("{:#010x}, {:#010x}, {:#010x}", leaf.ebx, leaf.ecx, leaf.edx);
    assert!(manual.contains(&signature), "{signature}");
}
