// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How counts are printed: as `perf stat` does it, so that what reads its output reads this. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::super::super::table::thousands;
use super::tally::{Cell, Sum};

/// For whom it is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// For people.
    Table,
    /// Fields with this between them.
    Fields(String),
    /// JSON objects, one a line.
    Json,
}

/// What stands in place of a number.
const NOT_COUNTED: &str = "<not counted>";
const NOT_SUPPORTED: &str = "<not supported>";

/// One line: an event.
#[derive(Clone, Debug)]
pub(super) struct Line<'a> {
    /// When the interval ended; none for the whole time.
    pub(super) at: Option<Duration>,
    pub(super) event: &'a str,
    pub(super) cell: Cell,
    /// Where the count comes from; none of an event that nothing counts.
    pub(super) source: Option<&'a str>,
}

impl Layout {
    /// What stands above the counts of `what`. `sources` are told once, for no number stands
    /// without what it is worth.
    pub(super) fn head(&self, what: &str, sources: &[&str], intervals: bool) -> String {
        let mut text = String::new();
        // Each object has its own.
        if *self != Self::Json {
            for source in sources {
                // Writing to a string does not fail.
                let _ = writeln!(text, "# source: {source}");
            }
        }
        if *self == Self::Table {
            let _ = if intervals {
                writeln!(text, "#           time             counts unit events")
            } else {
                writeln!(text, "\n Performance counter stats for {what}:\n")
            };
        }
        text
    }

    /// One event.
    pub(super) fn line(&self, line: &Line<'_>) -> String {
        match self {
            Self::Table => row(line),
            Self::Fields(separator) => fields(line, separator),
            Self::Json => object(line),
        }
    }

    /// What stands below the counts of the whole time.
    pub(super) fn tail(&self, elapsed: Duration) -> String {
        match self {
            Self::Table => format!("\n {:>17} seconds time elapsed\n\n", seconds(elapsed)),
            Self::Fields(_) | Self::Json => String::new(),
        }
    }
}

/// The number, or what stands in its place.
fn number(cell: Cell, write: impl FnOnce(u64) -> String) -> String {
    match cell {
        Cell::NotSupported => NOT_SUPPORTED.to_owned(),
        Cell::Counted(Sum { running: 0, .. }) => NOT_COUNTED.to_owned(),
        Cell::Counted(sum) => write(sum.scaled),
    }
}

/// Time on a counter in nanoseconds, and that as hundredths of a percent of the time that it wanted.
/// What never wanted any had all of it.
fn running(cell: Cell) -> (u64, u64) {
    let Cell::Counted(sum) = cell else {
        return (0, 10_000);
    };
    let part = u128::from(sum.running) * 10_000;
    let part = part.checked_div(u128::from(sum.enabled)).unwrap_or(10_000);
    (sum.running, u64::try_from(part).unwrap_or(u64::MAX))
}

fn percent(hundredths: u64) -> String {
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

fn seconds(time: Duration) -> String {
    format!("{}.{:09}", time.as_secs(), time.subsec_nanos())
}

fn row(line: &Line<'_>) -> String {
    let mut text = String::new();
    if let Some(at) = line.at {
        let _ = write!(text, "{:>16} ", seconds(at));
    }
    let _ = write!(
        text,
        "{:>18}      {}",
        number(line.cell, thousands),
        line.event
    );
    if let Cell::Counted(sum) = line.cell
        && sum.running != sum.enabled
    {
        let name = line.event.chars().count();
        let gap = 54_usize.saturating_sub(name);
        let part = percent(running(line.cell).1);
        let _ = write!(text, "{:gap$}  ({part:>6}%)", "");
    }
    text + "\n"
}

fn fields(line: &Line<'_>, separator: &str) -> String {
    let (running, part) = running(line.cell);
    let at = line.at.map(|at| format!("{:>16}", seconds(at)));
    // perf's last two are a metric and its unit: there is none.
    let fields = [
        number(line.cell, |count| count.to_string()),
        String::new(),
        line.event.to_owned(),
        running.to_string(),
        percent(part),
        String::new(),
        String::new(),
    ];
    let fields: Vec<_> = at.into_iter().chain(fields).collect();
    fields.join(separator) + "\n"
}

fn object(line: &Line<'_>) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "kebab-case")]
    struct Object<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        interval: Option<f64>,
        counter_value: String,
        unit: &'static str,
        event: &'a str,
        event_runtime: u64,
        pcnt_running: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        source: Option<&'a str>,
    }
    let (running, part) = running(line.cell);
    let object = Object {
        interval: line.at.map(|at| at.as_secs_f64()),
        counter_value: number(line.cell, |count| format!("{count}.000000")),
        unit: "",
        event: line.event,
        event_runtime: running,
        // Of 10,000 at most by what it is made of; a number that a double has exactly.
        pcnt_running: f64::from(u32::try_from(part).unwrap_or(u32::MAX)) / 100.0,
        source: line.source,
    };
    // Its keys are strings and its numbers finite.
    serde_json::to_string(&object).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn counted(scaled: u64, enabled: u64, running: u64) -> Cell {
        Cell::Counted(Sum {
            scaled,
            enabled,
            running,
        })
    }

    fn line(cell: Cell) -> Line<'static> {
        Line {
            at: None,
            event: "cycles",
            cell,
            source: Some("clock: modelled"),
        }
    }

    fn timed(cell: Cell) -> Line<'static> {
        Line {
            at: Some(Duration::new(1, 2_345)),
            ..line(cell)
        }
    }

    #[test]
    fn a_table_is_that_of_perf_stat() {
        let table = Layout::Table;
        assert_eq!(
            table.head("vCPUs 0, 1", &["clock: modelled"], false),
            "# source: clock: modelled\n\n Performance counter stats for vCPUs 0, 1:\n\n"
        );
        assert_eq!(
            table.line(&line(counted(1_234_567, 800, 800))),
            "         1,234,567      cycles\n"
        );
        let gap = " ".repeat(48);
        assert_eq!(
            table.line(&line(counted(1_234_567, 800, 500))),
            format!("         1,234,567      cycles{gap}  ( 62.50%)\n")
        );
        assert_eq!(
            table.line(&line(counted(0, 800, 0))),
            format!("     <not counted>      cycles{gap}  (  0.00%)\n")
        );
        assert_eq!(
            table.line(&line(counted(0, 0, 0))),
            "     <not counted>      cycles\n"
        );
        assert_eq!(
            table.line(&line(Cell::NotSupported)),
            "   <not supported>      cycles\n"
        );
        assert_eq!(
            table.tail(Duration::from_millis(1_500)),
            "\n       1.500000000 seconds time elapsed\n\n"
        );
    }

    #[test]
    fn intervals_have_their_time_before_them() {
        let table = Layout::Table;
        assert_eq!(
            table.head("vCPU 0", &["a", "b"], true),
            "# source: a\n# source: b\n#           time             counts unit events\n"
        );
        assert_eq!(
            table.line(&timed(counted(1_000, 8, 8))),
            "     1.000002345              1,000      cycles\n"
        );
        let fields = Layout::Fields(";".to_owned());
        assert_eq!(
            fields.line(&timed(counted(1_000, 8, 8))),
            "     1.000002345;1000;;cycles;8;100.00;;\n"
        );
    }

    #[test]
    fn fields_are_those_of_perf_stat() {
        let fields = Layout::Fields(",".to_owned());
        assert_eq!(fields.head("vCPU 0", &["a"], false), "# source: a\n");
        for (cell, text) in [
            (counted(1_234, 800, 500), "1234,,cycles,500,62.50,,\n"),
            (counted(1_234, 800, 800), "1234,,cycles,800,100.00,,\n"),
            (counted(0, 800, 0), "<not counted>,,cycles,0,0.00,,\n"),
            (Cell::NotSupported, "<not supported>,,cycles,0,100.00,,\n"),
        ] {
            assert_eq!(fields.line(&line(cell)), text);
        }
        assert_eq!(fields.tail(Duration::ZERO), "");
    }

    #[test]
    fn objects_are_those_of_perf_stat_with_the_source() {
        let object = |line: &Line<'_>| {
            let text = Layout::Json.line(line);
            assert_eq!(text.find('\n'), Some(text.len() - 1));
            serde_json::from_str::<Value>(&text).unwrap()
        };
        assert_eq!(
            object(&line(counted(1_234, 800, 500))),
            json!({
                "counter-value": "1234.000000", "unit": "", "event": "cycles",
                "event-runtime": 500, "pcnt-running": 62.5, "source": "clock: modelled"
            })
        );
        let refused = Line {
            source: None,
            ..timed(Cell::NotSupported)
        };
        assert_eq!(
            object(&refused),
            json!({
                "interval": 1.000_002_345, "counter-value": "<not supported>", "unit": "",
                "event": "cycles", "event-runtime": 0, "pcnt-running": 100.0
            })
        );
        assert_eq!(Layout::Json.head("vCPU 0", &["a"], true), "");
    }
}
