// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What `perfvisor ctl` is told.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use clap::builder::RangedU64ValueParser;

use super::super::size::{parse_limit, parse_seconds};
use super::super::status;
use crate::control::{self, OpenEvent};

/// Talk to a running VM.
///
/// It is one that `perfvisor run --control SOCK` started. A command is one request; what came of
/// it goes to stdout. docs/control.md describes the requests for programs.
#[derive(Debug, clap::Args)]
#[command(after_help = status::ctl_help(), arg_required_else_help = true)]
pub(in super::super) struct Args {
    /// The VM's control socket
    #[arg(short, long, value_name = "SOCK")]
    pub(super) socket: PathBuf,

    /// Print the answer as one JSON document
    #[arg(long, global = true, display_order = 100)]
    pub(super) json: bool,

    /// Give up after so many seconds without an answer [default: 10 more than the VM may take]
    #[arg(
        long,
        global = true,
        display_order = 101,
        value_name = "SECONDS",
        value_parser = parse_seconds
    )]
    pub(super) timeout: Option<Duration>,

    #[command(subcommand)]
    pub(super) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    #[command(flatten)]
    Request(Verb),
    Stat(Stat),
}

/// What to do by one request.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Show the VM: its vCPUs with their states, its PMU, how long it has run
    Info,
    /// Add vCPUs, or remove one
    #[command(subcommand)]
    Cpus(Cpus),
    /// Make all vCPUs stand still, and their counters with them
    Pause,
    /// Let all vCPUs run again
    Resume,
    /// End the run
    Stop,
    /// Show the guest's tasks, of a guest that tells of them by the perf port
    Tasks,
    /// Count on a vCPU or a task from the host's side
    #[command(subcommand)]
    Events(Events),
    Wait(Wait),
}

/// What to do with vCPUs.
#[derive(Debug, Subcommand)]
pub(super) enum Cpus {
    /// Add the lowest vCPUs that are not there, up to the `max` of `perfvisor run --cpus`
    Add {
        /// How many
        #[arg(value_name = "N", default_value_t = 1, value_parser = counts())]
        count: u32,
    },
    /// Ask the guest to give a vCPU back; it is never taken by force
    Remove {
        /// Which; vCPU 0 cannot be removed
        #[arg(value_name = "ID")]
        vcpu: u32,

        /// How many seconds to wait for the guest, up to 600; it may still give it back later
        #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = parse_remove_limit)]
        limit: Duration,
    },
}

/// What to do with events.
#[derive(Debug, Subcommand)]
pub(super) enum Events {
    Open(Open),
    /// Let an event count
    Enable(EventId),
    /// Stop an event
    Disable(EventId),
    /// Enable an event for so many more overflows
    Refresh {
        #[command(flatten)]
        event: EventId,

        /// How many; 0 just enables
        #[arg(value_name = "N")]
        overflows: u64,
    },
    /// Set the count of an event to 0
    Reset(EventId),
    /// Show what an event has counted
    Read(EventId),
    /// Close an event
    Close(EventId),
    /// Show the events that are open
    List,
}

/// An open event.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct EventId {
    /// Which: the number that `events open` gave it
    #[arg(value_name = "ID", value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    pub(super) event: u64,
}

/// What is counted on.
#[derive(Clone, Copy, Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(super) struct Target {
    /// The vCPU to count on; with --task, only while the task runs there
    #[arg(long, value_name = "ID")]
    pub(super) vcpu: Option<u32>,

    /// The task to count on, wherever it runs: its number in `ctl tasks`
    #[arg(long, value_name = "ID", value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    pub(super) task: Option<u64>,
}

impl Target {
    /// An event there that counts and nothing more.
    pub(super) fn event(self, event: &str) -> OpenEvent {
        OpenEvent {
            vcpu: self.vcpu,
            task: self.task,
            ..OpenEvent::counting(0, event)
        }
    }
}

/// Open an event on a vCPU or a task.
///
/// It stays open when the command has ended: until `events close`, or the end of the run.
#[derive(Debug, clap::Args)]
pub(super) struct Open {
    #[command(flatten)]
    pub(super) target: Target,

    /// What to count, by its name in `perfvisor pmu list`, such as cycles
    #[arg(short, long, value_name = "EVENT")]
    pub(super) event: String,

    /// Overflow each time it has counted so much
    #[arg(long, value_name = "N", value_parser = periods())]
    pub(super) period: Option<u64>,

    /// Disable it after so many overflows
    #[arg(
        long,
        value_name = "N",
        requires = "period",
        value_parser = RangedU64ValueParser::<u64>::new().range(1..)
    )]
    pub(super) limit: Option<u64>,

    /// Keep it on a counter always; without a free one it is in error, and does not wait
    #[arg(long)]
    pub(super) pinned: bool,

    /// Open it disabled: it counts from `events enable` on
    #[arg(long)]
    pub(super) disabled: bool,

    /// Make each overflow a SIGTRAP to the task, with this number in it [default: 0]. The event ends
    /// when the task executes another program. The guest's kernel must have a gate 28 for traps, or the
    /// first one is its end
    #[arg(
        long,
        value_name = "DATA",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "0",
        requires_all = ["task", "period"]
    )]
    pub(super) sigtrap: Option<u64>,

    /// Count the tasks as well that the task forks from now on
    #[arg(long, requires = "task")]
    pub(super) inherit: bool,
}

/// Count until Ctrl-C, --for, or the end of the run, and print it as `perf stat` does.
///
/// On all vCPUs that are there now, summed, unless there is a --vcpu or a --task.
#[derive(Debug, clap::Args)]
pub(super) struct Stat {
    /// What to count, by names in `perfvisor pmu list`, with commas between them [default: cycles,
    /// ref-cycles, instructions, branches and branch-misses]
    #[arg(short, long = "event", value_name = "EVENTS", value_delimiter = ',')]
    pub(super) events: Vec<String>,

    /// On this vCPU; with --task, only while the task runs there
    #[arg(long, value_name = "ID")]
    pub(super) vcpu: Option<u32>,

    /// On this task, wherever it runs
    #[arg(long, value_name = "ID", value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    pub(super) task: Option<u64>,

    /// Print every so many milliseconds what was counted since
    #[arg(
        short = 'I',
        long = "interval-print",
        value_name = "MS",
        value_parser = RangedU64ValueParser::<u32>::new().range(1..)
    )]
    pub(super) interval: Option<u32>,

    /// Print fields with this between them: count, unit, event, nanoseconds on a counter, percentage
    #[arg(short = 'x', long = "field-separator", value_name = "SEP")]
    pub(super) separator: Option<String>,

    /// Count for so many seconds
    #[arg(long = "for", value_name = "SECONDS", value_parser = parse_seconds)]
    pub(super) time: Option<Duration>,
}

/// Wait until the VM, or one of its vCPUs, is in a state.
#[derive(Debug, clap::Args)]
pub(super) struct Wait {
    /// The VM's: running, paused or ended. A vCPU's: absent, offline, starting, running, paused or
    /// stopping
    #[arg(value_name = "STATE")]
    pub(super) state: String,

    /// Of this vCPU, not of the VM
    #[arg(long, value_name = "ID")]
    pub(super) vcpu: Option<u32>,

    /// How many seconds, up to 86400; 0 only looks
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = parse_wait_limit)]
    pub(super) limit: Duration,
}

fn counts() -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(1..=u64::from(control::Verb::MAX_COUNT))
}

fn periods() -> RangedU64ValueParser<u64> {
    RangedU64ValueParser::new().range(1..=i64::MAX.cast_unsigned())
}

fn parse_remove_limit(text: &str) -> Result<Duration, String> {
    parse_limit(text, Duration::from_millis(control::Verb::MAX_REMOVE_MS))
}

fn parse_wait_limit(text: &str) -> Result<Duration, String> {
    parse_limit(text, Duration::from_millis(control::Verb::MAX_WAIT_MS))
}
