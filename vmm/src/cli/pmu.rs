// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `perfvisor pmu`: which PMUs a guest can find, and what is behind them.

mod listing;
mod sources;

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};

use self::listing::{Fixed, Listing, Model, OnSource, State};
use super::Failure;
use super::output::{self, Stream};
use super::status::Status;
use crate::kvm;

/// Say which PMUs a guest can find.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(ListArgs),
}

/// List the PMU models with what each source can count on each; needs no KVM.
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Prints what was asked for.
pub(super) fn run(args: &Args) -> Result<Status, Failure> {
    let Command::List(args) = &args.command;
    let listing = Listing::new(kvm::host_vendor(), sources::all());
    let text = if args.json {
        serde_json::to_string_pretty(&listing)
            .map_err(|error| Failure::of(Status::HostIo, &error))?
            + "\n"
    } else {
        render(&listing)
    };
    Stream::Stdout.write(&text).map_err(output::to_failure)?;
    Ok(Status::Guest(0))
}

/// The list for people. Writing to a string does not fail.
fn render(listing: &Listing) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_HORIZONTAL_ONLY);
    table.set_header([
        "model",
        "counters",
        "width",
        "writes",
        "source",
        "what it counts",
    ]);
    for model in &listing.models {
        table.add_row(row(model));
    }
    for (at, column) in table.column_iter_mut().enumerate() {
        if at == 2 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = String::new();
    let _ = writeln!(text, "{table}\n");
    let _ = writeln!(
        text,
        "The default on this host, whose CPU is {}'s: {}",
        listing.host_vendor, listing.default
    );
    for source in &listing.sources {
        let _ = writeln!(text, "Source {}", source.what);
        if listing.counts_anything(source.name) {
            let _ = writeln!(text, "  {}", conditions(&source.conditions));
        }
    }
    text.push_str(
        "Not counted: a counter that selects it stands still, and the end of the run tells which \
         ones were selected.\nIntel's models say in CPUID leaf 0xA that the event is not there; \
         AMD's have no place for it.\n",
    );
    text.push_str(
        "Counted by the perf port, with every model; no register of the PMU asks for it:\n",
    );
    for port in &listing.port_events {
        let _ = writeln!(text, "  {}: {}", port.name, port.what);
    }
    text
}

fn row(model: &Model) -> Vec<String> {
    let fixed = match model.fixed_counters {
        0 => String::new(),
        n => format!(" + {n} fixed"),
    };
    let writes = if model.writes_in_full {
        "all bits"
    } else {
        "bits 31:0"
    };
    let (mut names, mut counts) = (Vec::new(), Vec::new());
    for on in &model.sources {
        let lines = counted(on);
        names.push(on.source.to_owned());
        names.resize(names.len() + lines.len() - 1, String::new());
        counts.extend(lines);
    }
    vec![
        model.name.to_owned(),
        format!("{}{fixed}", model.counters),
        model.width.to_string(),
        writes.to_owned(),
        names.join("\n"),
        counts.join("\n"),
    ]
}

/// What one source counts on one model: a line, at least, for each kind of answer there is.
fn counted(on: &OnSource) -> Vec<String> {
    let events = |wanted: (bool, bool)| {
        let of = on.events.iter().filter(|event| {
            (event.counted, !event.counted && event.counted_in_user_mode) == wanted
        });
        of.map(|event| event.name).collect::<Vec<_>>()
    };
    let (everywhere, user, not) = (
        events((true, false)),
        events((false, true)),
        events((false, false)),
    );
    let fixed = |state: State| {
        let of = on.fixed.iter().filter(|fixed| fixed.state == state);
        of.map(|Fixed { counter, event, .. }| format!("{counter} ({event})"))
            .collect::<Vec<_>>()
    };
    if everywhere.is_empty() && user.is_empty() {
        return vec!["nothing".to_owned()];
    }
    let mut lines = Vec::new();
    for (what, list) in [
        ("counts", everywhere.join(", ")),
        ("", fixed(State::Counts).join(", ")),
        ("stands still", fixed(State::StandsStill).join(", ")),
        ("is not there", fixed(State::Absent).join(", ")),
        ("user mode", user.join(", ")),
    ] {
        if !list.is_empty() {
            lines.push(format!("{what:<13}{list}"));
        }
    }
    for (at, pair) in not.chunks(3).enumerate() {
        let what = if at == 0 { "not counted" } else { "" };
        lines.push(format!("{what:<13}{}", pair.join(", ")));
    }
    lines
}

fn conditions(honoured: &[&str]) -> String {
    if honoured.is_empty() {
        return "It counts in user and kernel mode together, without edge, inversion or counter mask."
            .to_owned();
    }
    format!("It can count by {}.", honoured.join(", "))
}

#[cfg(test)]
mod tests {
    use vpmu::{EventConfig, Vendor};

    use super::*;

    fn listing(supports: fn(&EventConfig) -> bool) -> String {
        let source = listing::Candidate {
            name: "made-up",
            what: "made-up: of this test".to_owned(),
            supports: Box::new(move |_, config| supports(config)),
        };
        render(&Listing::new(Vendor::Amd, vec![source]))
    }

    /// The words of a model's row.
    fn row_of(text: &str, model: &str) -> String {
        let from = text
            .lines()
            .skip_while(|line| !line.trim_start().starts_with(model));
        let row = from.take_while(|line| !line.starts_with("---"));
        row.flat_map(str::split_whitespace)
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn each_models_row_has_its_shape_and_what_counts() {
        let text = listing(|config| vpmu::ClockSource::new(Never).supports(config));
        assert_eq!(
            row_of(&text, "amd-k7"),
            "amd-k7 4 48 all bits made-up counts cycles not counted instructions, micro-ops, branches \
             branch-misses, taken-branches"
        );
        let intel = row_of(&text, "intel-v2");
        assert!(
            intel.starts_with(
                "intel-v2 4 + 3 fixed 48 bits 31:0 made-up counts cycles, ref-cycles FIXED_CTR1 (cycles), \
                 FIXED_CTR2 (ref-cycles) stands still FIXED_CTR0 (instructions)"
            ),
            "{intel}"
        );
        let v5 = row_of(&text, "intel-v5");
        assert!(
            v5.contains("is not there FIXED_CTR0 (instructions)"),
            "{v5}"
        );
        assert!(
            text.contains("default on this host, whose CPU is AMD's: amd-v2"),
            "{text}"
        );
        assert!(text.contains("Source made-up: of this test"), "{text}");
        assert!(text.contains("user and kernel mode together"), "{text}");
        let (table, below) = text.split_once("Counted by the perf port").unwrap();
        assert!(!table.contains("port.tick"), "{text}");
        assert!(
            below.contains("\n  port.tick: the guest's stores to"),
            "{text}"
        );
    }

    #[test]
    fn a_source_that_counts_all_has_nothing_that_stands_still() {
        let text = listing(|_| true);
        assert!(
            !text.contains("stands still  ") && !text.contains("not counted"),
            "{text}"
        );
        assert!(text.contains("It can count by user mode"), "{text}");
    }

    #[test]
    fn a_source_that_counts_nothing_takes_one_line_a_model() {
        let text = listing(|_| false);
        assert_eq!(
            row_of(&text, "intel-v5"),
            "intel-v5 8 + 3 fixed 48 all bits made-up nothing"
        );
        assert!(!text.contains("It counts in"), "{text}");
    }

    #[test]
    fn what_is_lent_for_user_mode_alone_is_told_so() {
        let text = listing(|config| config.event == vpmu::Event::Instructions && !config.os);
        let row = row_of(&text, "amd-k7");
        assert!(
            row.contains("made-up user mode instructions not counted cycles,"),
            "{row}"
        );
    }

    struct Never;
    impl vpmu::GuestClock for Never {
        fn cycles(&mut self) -> u64 {
            0
        }
    }
    use vpmu::CounterSource as _;
}
