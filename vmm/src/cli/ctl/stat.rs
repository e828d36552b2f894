// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `perfvisor ctl stat`: counts for a while, as `perf stat` does.
//!
//! Two connections. The one that opened the events waits for the end of the run, with the last look
//! at each event already asked for: however this program ends, the events go with it, and however
//! the run ends, it has the last counts. The other one reads them in between.

mod layout;
mod tally;
mod watch;

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use self::layout::Layout;
use self::watch::Watches;
use super::super::Failure;
use super::super::output::{self, Stream};
use super::super::signals::Signals;
use super::super::status::Status;
use super::args::{Args, Stat};
use super::link::Link;
use super::tame;
use crate::control::{CpuState, Info, Verb};

/// What is counted where nothing is said.
const USUAL: [&str; 5] = [
    "cycles",
    "ref-cycles",
    "instructions",
    "branches",
    "branch-misses",
];

/// Counts until it is told to stop, or the run is over.
pub(super) fn run(args: &Args, stat: &Stat) -> Result<Status, Failure> {
    let layout = layout_of(args, stat)?;
    let mut keeper = Link::open(&args.socket, args.timeout)?;
    let mut reader = Link::open(&args.socket, args.timeout)?;
    let vcpus = match (stat.vcpu, stat.task) {
        (None, None) => present(&mut reader)?.into_iter().map(Some).collect(),
        (vcpu, _) => vec![vcpu],
    };
    let usual = USUAL.map(str::to_owned);
    let events = if stat.events.is_empty() {
        &usual[..]
    } else {
        &stat.events
    };
    let began = Instant::now();
    let mut watches = Watches::open(&mut keeper, events, stat.task, &vcpus)?;
    watches.read(&mut reader)?;
    // From here on a signal is the way to the counts.
    let signals = Signals::block().map_err(|error| {
        let line = format!("Cannot wait for SIGINT and SIGTERM: {error}");
        Failure::new(Status::HostIo, line)
    })?;
    watches.ask_for_last_look(&mut keeper)?;
    let what = told(stat, &vcpus);
    let sources: Vec<_> = watches.sources().into_iter().map(tame).collect();
    let sources: Vec<_> = sources.iter().map(|source| &**source).collect();
    let head = layout.head(&what, &sources, stat.interval.is_some());
    let mut session = Session {
        keeper,
        reader,
        watches,
        layout,
        began,
    };
    match stat.interval {
        None => session.whole(stat.time, signals, &head),
        Some(ms) => {
            write(&head)?;
            let interval = Duration::from_millis(ms.into());
            session.intervals(interval, stat.time, signals)
        }
    }?;
    Ok(Status::Guest(0))
}

fn layout_of(args: &Args, stat: &Stat) -> Result<Layout, Failure> {
    match (&stat.separator, args.json) {
        (None, false) => Ok(Layout::Table),
        (None, true) => Ok(Layout::Json),
        // As perf has it, for shells in which a tab is hard to write.
        (Some(separator), false) if separator == "\\t" => Ok(Layout::Fields("\t".to_owned())),
        (Some(separator), false) => Ok(Layout::Fields(separator.clone())),
        (Some(_), true) => {
            let line = "Fields and JSON do not go together: give -x or --json";
            Err(Failure::new(Status::Usage, line.to_owned()))
        }
    }
}

/// The vCPUs that are there.
fn present(link: &mut Link) -> Result<Vec<u32>, Failure> {
    let info: Info = link.ask(Verb::Info)?;
    let away = [CpuState::Absent, CpuState::Offline, CpuState::Finished];
    let there = info.vcpus.iter().filter(|line| !away.contains(&line.state));
    Ok(there.map(|line| line.vcpu).collect())
}

/// On what is counted, for people.
fn told(stat: &Stat, vcpus: &[Option<u32>]) -> String {
    let names: Vec<_> = vcpus.iter().flatten().map(u32::to_string).collect();
    let many = if names.len() == 1 { "" } else { "s" };
    let vcpus = format!("vCPU{many} {}", names.join(", "));
    match (stat.task, names.is_empty()) {
        (None, _) => vcpus,
        (Some(task), true) => format!("task {task}"),
        (Some(task), false) => format!("task {task} on {vcpus}"),
    }
}

fn write(text: &str) -> Result<(), Failure> {
    Stream::Stdout.write(text).map_err(output::to_failure)
}

/// Why a wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    /// The time is up.
    Time,
    /// A signal came.
    Signal,
    /// The connection that waits for the end of the run has something.
    Keeper,
}

struct Session {
    /// Opened the events, and waits for the end of the run.
    keeper: Link,
    reader: Link,
    watches: Watches,
    layout: Layout,
    began: Instant,
}

impl Session {
    /// Counts to the end, and shows it all.
    fn whole(
        &mut self,
        time: Option<Duration>,
        mut signals: Signals,
        head: &str,
    ) -> Result<(), Failure> {
        let end = time.map(|time| self.began + time);
        while self.wait(&signals, end)? == Woken::Keeper && !self.watches.hear(&mut self.keeper)? {}
        // Who asks twice means it.
        signals.let_through();
        self.look()?;
        let read = self.watches.lost();
        let elapsed = read.map_or_else(
            || self.began.elapsed(),
            |read| read.saturating_duration_since(self.began),
        );
        let lines = self.watches.lines(None, |series| series.total());
        let lines: String = lines.iter().map(|line| self.layout.line(line)).collect();
        write(&(head.to_owned() + &lines + &self.layout.tail(elapsed)))?;
        self.complete()
    }

    /// An error if what was counted last is not in what was shown.
    fn complete(&self) -> Result<(), Failure> {
        let Some(read) = self.watches.lost() else {
            return Ok(());
        };
        let after = read.saturating_duration_since(self.began).as_secs_f64();
        let line = format!(
            "The VM was gone before it told its last counts: they were read {after:.3} s after the start \
             (-I reads them again and again)"
        );
        Err(Failure::new(Status::NoVm, line))
    }

    /// Shows each interval as it ends, and what is left of one at the end.
    fn intervals(
        &mut self,
        interval: Duration,
        time: Option<Duration>,
        mut signals: Signals,
    ) -> Result<(), Failure> {
        let end = time.map(|time| self.began + time);
        let mut next = self.began + interval;
        loop {
            let woken = self.wait(&signals, Some(end.map_or(next, |end| end.min(next))))?;
            let over = match woken {
                Woken::Keeper => self.watches.hear(&mut self.keeper)?,
                Woken::Signal => true,
                Woken::Time => end.is_some_and(|end| end <= next),
            };
            if woken == Woken::Keeper && !over {
                continue;
            }
            if over {
                // Who asks twice means it.
                signals.let_through();
            }
            let over = self.look()? || over;
            self.complete()?;
            let at = self.began.elapsed();
            let lines = self.watches.lines(Some(at), |series| series.interval());
            let lines: String = lines.iter().map(|line| self.layout.line(line)).collect();
            write(&lines)?;
            if over {
                return Ok(());
            }
            // One that was missed is not made up for.
            let now = Instant::now();
            while next <= now {
                next += interval;
            }
        }
    }

    /// Reads the events, unless the run's end has told their last counts; whether it has.
    fn look(&mut self) -> Result<bool, Failure> {
        if self.watches.are_over() {
            return Ok(true);
        }
        match self.watches.read(&mut self.reader) {
            Ok(()) => Ok(false),
            Err(unheard) if watch::is_the_end(&unheard) => {
                // The other connection knows more.
                while !self.watches.hear(&mut self.keeper)? {}
                Ok(true)
            }
            Err(unheard) => Err(unheard.into()),
        }
    }

    /// Waits for a signal, for `until` and for the end of the run.
    fn wait(&self, signals: &Signals, until: Option<Instant>) -> Result<Woken, Failure> {
        loop {
            let timeout = until.map_or(PollTimeout::NONE, |until| {
                // Rounded up: woken too early, it would only wait again.
                let left = until.saturating_duration_since(Instant::now());
                let left = left + Duration::from_micros(999);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            });
            let mut fds = [
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.keeper.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => {
                    let line = format!("Cannot wait for the VM: {errno}");
                    return Err(Failure::new(Status::HostIo, line));
                }
            }
            let ready = fds.map(|fd| fd.any().unwrap_or(true));
            match ready {
                [true, _] => return Ok(Woken::Signal),
                [_, true] => return Ok(Woken::Keeper),
                [false, false] => {}
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                return Ok(Woken::Time);
            }
        }
    }
}
