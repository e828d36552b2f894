// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `perfvisor run`: one guest, from its kernel to its report.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::control::{ControlError, ControlSocket, VmHost};
use crate::{RunReport, TraceSummary, VmBuilder};
use vpmu::{EventFilter, ModelError, PmuModel};

use super::cpus::Cpus;
use super::events::{self, failed};
use super::filter;
use super::outfile;
use super::output::{self, Patient, Stream};
use super::port::PerfPort;
use super::signals::Signals;
use super::size::{parse_seconds, parse_size};
use super::status::{self, Status};
use super::{Failure, table};

/// Run a guest until it ends.
///
/// The guest's serial port (COM1) goes to stdout, the report to stderr as a table. A write to port
/// 0xF4 ends the run; the value is the guest's exit code.
#[derive(Debug, clap::Args)]
#[command(after_help = status::help())]
pub(super) struct Args {
    /// The kernel: a 64-bit ELF image with a PVH entry note
    #[arg(long, value_name = "FILE")]
    kernel: PathBuf,

    /// How many vCPUs the guest starts with and, where it can have more later, how many at most.
    /// More are added with `perfvisor ctl cpus add`
    #[arg(long, value_name = "boot=N[,max=M]", default_value = "boot=1")]
    cpus: Cpus,

    /// How much RAM the guest has: a number with K, M, G or T
    #[arg(long, value_name = "SIZE", default_value = "128M", value_parser = parse_size)]
    memory: u64,

    /// The PMU the guest finds: none, or MODEL[,counters=N][,fixed=N][,width=N][,full-width=on|off]
    /// with a model of `perfvisor pmu list`. One of another vendor than the host CPU's brings a CPU
    /// of that vendor. [default: amd-v2 or intel-v2, as the host's CPU is, where it can be offered]
    #[arg(long, value_name = "MODEL", value_parser = parse_pmu)]
    pmu: Option<Pmu>,

    /// Let the guest count only what the event filter in FILE allows: a line `allow` or `deny`, then
    /// lines `event NUMBER umask VALUE[/MASK]` (or `umask any`), `except ...` and `fixed NUMBER...`
    #[arg(long, value_name = "FILE")]
    pmu_filter: Option<PathBuf>,

    /// The kernel's command line
    #[arg(
        long,
        value_name = "STRING",
        default_value = "",
        allow_hyphen_values = true
    )]
    cmdline: String,

    /// The perf port, where the guest's kernel tells of its tasks and opens events on them: `none`, or
    /// what it may ask for, such as `tasks=100,events=64,calls=50000` [default:
    /// tasks=4096,events=1024,calls=0]
    #[arg(long, value_name = "PORT")]
    perf_port: Option<PerfPort>,

    /// End the run after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    timeout: Option<Duration>,

    /// Send the guest's serial output to FILE, which is replaced
    #[arg(long, value_name = "FILE")]
    serial: Option<PathBuf>,

    /// Let `perfvisor ctl -s SOCK` and other programs of this user talk to the VM through a socket at
    /// SOCK, which a run that was killed may have left
    #[arg(long, value_name = "SOCK")]
    control: Option<PathBuf>,

    /// Record what the vCPUs and their counters do in FILE, which is replaced: a trace for
    /// ui.perfetto.dev
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// Report as one JSON document on stdout; serial output goes to stderr then, unless --serial
    /// is given
    #[arg(long)]
    json: bool,
}

/// What `--pmu` says.
#[derive(Clone, Copy, Debug)]
struct Pmu(Option<PmuModel>);

fn parse_pmu(text: &str) -> Result<Pmu, ModelError> {
    match text {
        "none" => Ok(Pmu(None)),
        model => model.parse().map(|model| Pmu(Some(model))),
    }
}

impl Args {
    /// The settings in one line.
    #[cfg(test)]
    pub(super) fn settings(&self) -> String {
        let pmu = match self.pmu {
            None => "the host's".to_owned(),
            Some(Pmu(model)) => model.map_or("none".to_owned(), |model| model.to_string()),
        };
        let by = |path: &PathBuf| format!(" by {}", path.display());
        let to = |word: &str, path: &Option<PathBuf>| {
            let path = path
                .as_ref()
                .map(|path| format!(", {word} {}", path.display()));
            path.unwrap_or_default()
        };
        format!(
            "{} of {} vCPUs, {} bytes, {pmu}{}, {:?}{}{}{}",
            self.cpus.boot,
            self.cpus.max,
            self.memory,
            self.pmu_filter.as_ref().map(by).unwrap_or_default(),
            self.timeout.unwrap_or_default(),
            if self.json { ", json" } else { "" },
            to("at", &self.control),
            to("into", &self.trace),
        )
    }

    /// What `--pmu-filter` says.
    fn filter(&self) -> Result<Option<EventFilter>, Failure> {
        match (&self.pmu_filter, self.pmu) {
            (None, _) => Ok(None),
            (Some(_), Some(Pmu(None))) => Err(Failure::new(
                Status::Usage,
                "There is no PMU for --pmu-filter: leave out `--pmu none` or the filter",
            )),
            (Some(path), _) => filter::read(path).map(Some),
        }
    }

    /// Where serial output goes; a file still has what was in it.
    fn sink(&self) -> Result<File, Failure> {
        let Some(path) = &self.serial else {
            let stream = if self.json {
                Stream::Stderr
            } else {
                Stream::Stdout
            };
            return stream.file().map_err(output::to_failure);
        };
        outfile::open("--serial", path, &[(&self.kernel, "the kernel")])
    }

    /// Where the trace goes; the file still has what was in it.
    fn trace_file(&self) -> Result<Option<File>, Failure> {
        let Some(path) = &self.trace else {
            return Ok(None);
        };
        let mut others = vec![(&*self.kernel, "the kernel")];
        others.extend(
            self.serial
                .as_deref()
                .map(|path| (path, "that of --serial")),
        );
        outfile::open("--trace", path, &others).map(Some)
    }
}

/// Runs the guest; gives the status that says how it ended.
pub(super) fn run(args: &Args) -> Result<Status, Failure> {
    let sink = args.sink()?;
    let trace = args.trace_file()?;
    // Before any thread starts, so that no thread takes a signal.
    let signals = Signals::block().map_err(|error| {
        Failure::new(
            Status::HostIo,
            format!("Cannot wait for SIGINT and SIGTERM: {error}"),
        )
    })?;
    // Before anything runs or is overwritten: the path may be another run's.
    let control = match &args.control {
        Some(path) => Some(ControlSocket::bind(path).map_err(|error| not_served(&error))?),
        None => None,
    };
    let output = sink.try_clone().map_err(output::to_failure)?;
    let builder = VmBuilder::new()
        .kernel_file(&args.kernel)
        .vcpus(args.cpus.boot)
        .max_vcpus(args.cpus.max)
        .memory(args.memory)
        .cmdline(&args.cmdline)
        .serial(Box::new(Patient(output)));
    let builder = match args.pmu {
        Some(Pmu(model)) => builder.pmu(model),
        None => builder.pmu_if_offered(),
    };
    let builder = match args.filter()? {
        Some(filter) => builder.pmu_filter(filter),
        None => builder,
    };
    let builder = match args.perf_port {
        Some(PerfPort(Some(limits))) => builder.perf_port(limits),
        Some(PerfPort(None)) => builder.without_perf_port(),
        None => builder,
    };
    let builder = match &trace {
        Some(file) => {
            let file = file.try_clone().map_err(output::to_failure)?;
            builder.trace(Box::new(outfile::Cleared::new(file)))
        }
        None => builder,
    };
    let vm = builder.build().map_err(|error| failed(&error))?;
    if args.serial.is_some() {
        outfile::clear(&sink).map_err(output::to_failure)?;
    }
    drop(sink);
    if let Some(reason) = vm.pmu_refused() {
        Stream::Stderr.say(&format!(
            "{reason} (see `perfvisor doctor`): the guest runs without"
        ));
    }
    if let Some(warning) = vm.pmu_warning() {
        Stream::Stderr.say(warning);
    }
    let running = vm.start().map_err(|error| failed(&error))?;
    let control = match control {
        Some(socket) => {
            let host = Arc::new(VmHost::new(running.handle()));
            let server = socket.serve(host);
            Some(server.map_err(|error| not_served(&error))?)
        }
        None => None,
    };
    let report = events::wait(running, args.timeout, signals)?;
    drop(control);
    show(&report, args.json)?;
    Ok(Status::of_exit(&report.exit))
}

/// The failure for a control socket that cannot be served.
fn not_served(error: &ControlError) -> Failure {
    let status = match error {
        ControlError::Host(_) => Status::HostIo,
        _ => Status::Usage,
    };
    Failure::of(status, error)
}

fn show(report: &RunReport, json: bool) -> Result<(), Failure> {
    if let Some(line) = report.trace.as_ref().and_then(TraceSummary::complaint) {
        Stream::Stderr.say(&line);
    }
    if !json {
        // Whoever closed stderr does not want it.
        let _ = Stream::Stderr.write(&table::render(report));
        return Ok(());
    }
    let text = serde_json::to_string_pretty(report)
        .map_err(|error| Failure::of(Status::HostIo, &error))?;
    Stream::Stdout
        .write(&(text + "\n"))
        .map_err(output::to_failure)?;
    if report.exit.message.is_some() {
        Stream::Stderr.say(&report.exit.to_string());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_and_none_can_be_asked_for() {
        assert!(parse_pmu("none").is_ok_and(|pmu| pmu.0.is_none()));
        for model in PmuModel::ALL {
            assert!(parse_pmu(model.name()).is_ok_and(|pmu| pmu.0 == Some(*model)));
        }
        let text = "intel-v4,counters=6,fixed=2,width=40,full-width=off";
        let pmu = parse_pmu(text).unwrap();
        assert_eq!(pmu.0.unwrap().to_string(), text);
    }

    #[test]
    fn a_model_that_cannot_be_is_refused_in_the_models_own_words() {
        for text in [
            "Intel",
            "none,counters=1",
            "amd-k7,counters=5",
            "intel-v2,width=x",
            "",
        ] {
            let told = parse_pmu(text).unwrap_err();
            assert_eq!(text.parse::<PmuModel>().unwrap_err(), told);
        }
    }
}
