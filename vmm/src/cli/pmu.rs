// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `perfvisor pmu`: which PMUs a guest can find, and what is behind them.

mod listing;

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};

use self::listing::{Fixed, Listing, Model, OnSource, Source, State};
use super::Failure;
use super::output::{self, Stream};
use super::status::Status;

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
    let listing = Listing::here();
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
    let mut header = ["model", "counters", "width", "writes"]
        .map(str::to_owned)
        .to_vec();
    for Source { name, .. } in &listing.sources {
        header.push(format!("on `{name}`"));
    }
    table.set_header(header);
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
        let _ = writeln!(text, "  {}", conditions(&source.conditions));
    }
    text.push_str(
        "Not counted: a counter that selects it stands still, and the end of the run tells which \
         ones were selected.\nIntel's models say in CPUID leaf 0xA that the event is not there; \
         AMD's have no place for it.\n",
    );
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
    let mut row = vec![
        model.name.to_owned(),
        format!("{}{fixed}", model.counters),
        model.width.to_string(),
        writes.to_owned(),
    ];
    row.extend(model.sources.iter().map(cell));
    row
}

/// What one source counts on one model, a line for each kind of answer.
fn cell(on: &OnSource) -> String {
    let events = |counted: bool| {
        let of = on.events.iter().filter(|event| event.counted == counted);
        of.map(|event| event.name).collect::<Vec<_>>()
    };
    let fixed = |state: State| {
        let of = on.fixed.iter().filter(|fixed| fixed.state == state);
        of.map(|Fixed { counter, event, .. }| format!("{counter} ({event})"))
            .collect::<Vec<_>>()
    };
    let mut lines = Vec::new();
    for (what, list) in [
        ("counts", events(true).join(", ")),
        ("", fixed(State::Counts).join(", ")),
        ("stands still", fixed(State::StandsStill).join(", ")),
        ("is not there", fixed(State::Absent).join(", ")),
    ] {
        if !list.is_empty() {
            lines.push(format!("{what:<13}{list}"));
        }
    }
    let not = events(false);
    for (at, pair) in not.chunks(3).enumerate() {
        let what = if at == 0 { "not counted" } else { "" };
        lines.push(format!("{what:<13}{}", pair.join(", ")));
    }
    lines.join("\n")
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
        let sources: [listing::Candidate<'_>; 1] =
            [("made-up", "made-up: of this test", &supports)];
        render(&Listing::new(Vendor::Amd, &sources))
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
            "amd-k7 4 48 all bits counts cycles not counted instructions, micro-ops, branches \
             branch-misses, taken-branches"
        );
        let intel = row_of(&text, "intel-v2");
        assert!(
            intel.starts_with(
                "intel-v2 4 + 3 fixed 48 bits 31:0 counts cycles, ref-cycles FIXED_CTR1 (cycles), \
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

    struct Never;
    impl vpmu::GuestClock for Never {
        fn cycles(&mut self) -> u64 {
            0
        }
    }
    use vpmu::CounterSource as _;
}
