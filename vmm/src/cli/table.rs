// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A run's report for people.

use std::fmt::Write as _;
use std::time::Duration;

use crate::{ExitReason, RunReport, SelectReport, VcpuReport};
use comfy_table::{CellAlignment, Table, presets};

/// The report as a table, with a line on how the run ended.
pub(super) fn render(report: &RunReport) -> String {
    let pmu = report.pmu.as_ref();
    let mut table = Table::new();
    table.load_style(presets::ASCII_HORIZONTAL_ONLY);
    let mut header = vec!["vCPU", "in guest", "exits"];
    if pmu.is_some() {
        header.extend(["counters", "PMIs", "skid mean/max", "throttles"]);
    }
    table.set_header(header);
    for vcpu in &report.vcpus {
        table.add_row(row(vcpu, pmu.is_some()));
    }
    for (at, column) in table.column_iter_mut().enumerate() {
        let left = at == 2 || at == 3;
        column.set_cell_alignment(if left {
            CellAlignment::Left
        } else {
            CellAlignment::Right
        });
    }
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(text, "{table}\n");
    let _ = writeln!(
        text,
        "perfvisor: {} after {} (accel {}, PMU {})",
        report.exit,
        time(report.wall_time_ns),
        report.accel,
        pmu.map_or("none", |pmu| &pmu.model),
    );
    if report.exit.reason == ExitReason::GuestExit && report.exit.code.is_some_and(|c| c > 119) {
        let _ = writeln!(
            text,
            "perfvisor: the guest's code does not fit: the exit status is 120"
        );
    }
    let _ = writeln!(
        text,
        "In guest: CPU time of the vCPU's thread less its exit handling; halted time is not in it."
    );
    if let Some(pmu) = pmu {
        let _ = writeln!(text, "Counters and skid in cycles. Source: {}.", pmu.source);
    }
    for vcpu in &report.vcpus {
        for (what, selects) in [
            ("what cannot be counted here", &vcpu.not_counted),
            ("what the event filter refuses", &vcpu.filtered),
        ] {
            if !selects.selects.is_empty() {
                let _ = writeln!(text, "vCPU {} enabled {what}:", vcpu.id);
            }
            for SelectReport { select, event, .. } in &selects.selects {
                let _ = writeln!(text, "  {select:#x}  {event}");
            }
            if selects.more {
                let _ = writeln!(text, "  and more");
            }
        }
    }
    text
}

fn row(vcpu: &VcpuReport, with_pmu: bool) -> Vec<String> {
    let exits: Vec<_> = vcpu
        .exits
        .iter()
        .map(|(kind, count)| format!("{} {kind}", thousands(*count)))
        .collect();
    let mut row = vec![
        vcpu.id.to_string(),
        vcpu.guest_time_ns.map_or_else(|| "-".to_owned(), time),
        lines(exits),
    ];
    if with_pmu {
        let counters: Vec<_> = vcpu
            .counters
            .iter()
            .filter(|counter| counter.counted > 0 || counter.overflows > 0)
            .map(|counter| {
                let overflows = match counter.overflows {
                    0 => String::new(),
                    n => format!(" ({} overflows)", thousands(n)),
                };
                format!(
                    "{}: {}{overflows}",
                    counter.name,
                    thousands(counter.counted)
                )
            })
            .collect();
        let skid = vcpu.skid.mean_cycles.zip(vcpu.skid.max_cycles);
        row.extend([
            lines(counters),
            thousands(vcpu.pmis),
            skid.map_or_else(
                || "-".to_owned(),
                |(mean, max)| format!("{}/{}", thousands(mean), thousands(max)),
            ),
            thousands(vcpu.throttles),
        ]);
    }
    row
}

fn lines(entries: Vec<String>) -> String {
    if entries.is_empty() {
        "-".to_owned()
    } else {
        entries.join("\n")
    }
}

/// Groups of three digits.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Seconds, to the millisecond.
pub(super) fn time(ns: u64) -> String {
    format!("{:.3} s", Duration::from_nanos(ns).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CounterReport, Exit, PmuSummary, SelectsReport, SkidReport};

    fn selects(select: u64, event: &str, more: bool) -> SelectsReport {
        SelectsReport {
            selects: vec![SelectReport {
                select,
                event: event.to_owned(),
            }],
            more,
        }
    }

    fn report(with_pmu: bool) -> RunReport {
        let vcpu = VcpuReport {
            id: 1,
            guest_time_ns: Some(1_500_000_000),
            exits: [("io-out", 1_234_567), ("kick", 1)].into(),
            pmis: 1_000,
            throttles: 17,
            skid: SkidReport {
                count: 2,
                max_cycles: Some(2_345),
                mean_cycles: Some(1_234),
            },
            counters: vec![
                CounterReport {
                    name: "PMC0".to_owned(),
                    counted: 9_876_543,
                    overflows: 12,
                },
                CounterReport {
                    name: "FIXED_CTR1".to_owned(),
                    ..CounterReport::default()
                },
            ],
            not_counted: selects(0x43_00c0, "Instruction Retired", false),
            filtered: selects(0x43_003c, "UnHalted Core Cycles", true),
            ..VcpuReport::default()
        };
        let pmu = PmuSummary {
            model: "intel-v2".to_owned(),
            source: "modelled",
            warning: None,
        };
        RunReport {
            trace: None,
            accel: "kvm",
            pmu: with_pmu.then_some(pmu),
            wall_time_ns: 2_000_000_000,
            vcpus: vec![VcpuReport::default(), vcpu],
            exit: Exit::guest(300),
        }
    }

    /// The row of vCPU 1, its lines one after the other, and all that follows the table.
    fn parts(text: &str) -> (String, String) {
        let (table, rest) = text.split_once("\n\n").unwrap();
        let row = table
            .lines()
            .skip_while(|line| !line.trim_start().starts_with("1 "));
        let words = row.flat_map(str::split_whitespace).collect::<Vec<_>>();
        (words.join(" "), rest.to_owned())
    }

    #[test]
    fn a_row_has_everything_and_says_what_is_modelled() {
        let (row, rest) = parts(&render(&report(true)));
        for part in [
            "1 1.500 s 1,234,567 io-out PMC0: 9,876,543 (12 overflows) 1,000 1,234/2,345 17",
            "1 kick",
        ] {
            assert!(row.contains(part), "{part} is not in {row}");
        }
        for part in [
            "The guest ended the run with code 300 after 2.000 s (accel kvm, PMU intel-v2)",
            "the exit status is 120",
            "Source: modelled.",
            "vCPU 1 enabled what cannot be counted here:\n  0x4300c0  Instruction Retired\nvCPU",
            "vCPU 1 enabled what the event filter refuses:\n  0x43003c  UnHalted Core Cycles\n  and more\n",
        ] {
            assert!(rest.contains(part), "{part} is not in {rest}");
        }
    }

    #[test]
    fn without_a_pmu_there_are_no_columns_for_it() {
        let text = render(&report(false));
        assert!(text.contains("PMU none") && !text.contains("PMIs") && !text.contains("Source"));
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(thousands(number), text);
        }
    }
}
