// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The format: a JSON object whose `traceEvents` are slices, instants and the names of tracks.
//!
//! All that is written is numbers and words from this file, so nothing has to be escaped.

use core::fmt;
use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};

use super::slices::{End, Slice, Track};
use crate::Nanos;
use crate::context::{Detail, EventId, Lane, Record, Step, TaskId};
use crate::source::MAX_SLOTS;

/// A trace that is being written.
pub(super) struct Json<W: Write> {
    out: BufWriter<W>,
    first: bool,
    /// What to name at the end; `None` is the threads that are no vCPU's.
    used: BTreeSet<Option<Track>>,
}

/// A word, and a number that belongs to it.
#[derive(Clone, Copy)]
struct Name(&'static str, Option<u64>);

/// A time in microseconds.
struct Micros(Nanos);

/// What an event tells beside its name.
#[derive(Clone, Copy)]
enum Arg {
    Absent,
    Number(u64),
    Word(Name),
    True,
}

type Field = (&'static str, Arg);

const NOTHING: Field = ("", Arg::Absent);

impl<W: Write> Json<W> {
    pub(super) fn begin(out: W) -> io::Result<Self> {
        let mut out = BufWriter::new(out);
        out.write_all(b"{\"traceEvents\":[")?;
        Ok(Self {
            out,
            first: true,
            used: BTreeSet::new(),
        })
    }

    pub(super) fn slice(&mut self, slice: &Slice) -> io::Result<()> {
        let (task, event) = (task(slice.task), event(slice.event));
        let name = match slice.track.1 {
            Lane::Task => Name("task", slice.task.map(|task| task.0)),
            Lane::Counter(_) => match slice.event.and_then(EventId::guest_counter) {
                Some((_, counter)) => Name("guest counter", Some(wide(counter))),
                None => Name("event", slice.event.map(|event| event.0)),
            },
        };
        let ended = match slice.end {
            End::Open(_) => ("open", Arg::True),
            End::Left(_, how) => detail(Step::SwitchOut(how)),
            End::Off(_) => NOTHING,
        };
        let begin = Micros(slice.begin);
        let lasted = slice.end.time().0.saturating_sub(slice.begin.0);
        let lasted = Micros(Nanos(lasted));
        let head = format_args!(r#""name":"{name}","ph":"X","ts":{begin},"dur":{lasted}"#);
        let track = Some(slice.track);
        self.used.insert(track);
        self.event(head, track, &[task, event, ended])
    }

    /// Writes a step that takes no time. Those that begin or end a slice are none.
    pub(super) fn instant(&mut self, record: &Record) -> io::Result<()> {
        let step = record.step;
        if step.edge().is_some() {
            return Ok(());
        }
        let (name, time) = (step.name(), Micros(record.time));
        let head = format_args!(r#""name":"{name}","ph":"i","s":"t","ts":{time}"#);
        let track = record.vcpu.map(|vcpu| (vcpu, Lane::Task));
        self.used.insert(track);
        self.event(
            head,
            track,
            &[task(record.task), event(record.event), detail(step)],
        )
    }

    pub(super) fn finish(mut self, dropped: u64) -> io::Result<()> {
        let mut named = 0;
        for track in core::mem::take(&mut self.used) {
            let process = process_id(track);
            if named != process {
                named = process;
                let name = match track {
                    None => Name("host", None),
                    Some((vcpu, _)) => Name("vCPU", Some(u64::from(vcpu.0))),
                };
                self.meta("process_name", track, ("name", Arg::Word(name)))?;
                let place = ("sort_index", Arg::Number(process));
                self.meta("process_sort_index", track, place)?;
            }
            let name = match track {
                None => Name("threads", None),
                Some((_, Lane::Task)) => Name("task", None),
                Some((_, Lane::Counter(slot))) => Name("counter", Some(wide(slot))),
            };
            self.meta("thread_name", track, ("name", Arg::Word(name)))?;
            let place = ("sort_index", Arg::Number(lane(track)));
            self.meta("thread_sort_index", track, place)?;
        }
        writeln!(
            self.out,
            "\n],\"displayTimeUnit\":\"ns\",\"otherData\":{{\"dropped\":{dropped}}}}}"
        )?;
        self.out.flush()
    }

    fn meta(&mut self, what: &str, track: Option<Track>, field: Field) -> io::Result<()> {
        let head = format_args!(r#""name":"{what}","ph":"M""#);
        self.event(head, track, &[field])
    }

    /// One event a line.
    fn event(
        &mut self,
        head: fmt::Arguments<'_>,
        track: Option<Track>,
        fields: &[Field],
    ) -> io::Result<()> {
        let between = if self.first { "" } else { "," };
        self.first = false;
        let (pid, tid) = (process_id(track), thread_id(track));
        write!(
            self.out,
            "{between}\n{{{head},\"pid\":{pid},\"tid\":{tid},\"args\":{{"
        )?;
        let mut between = "";
        for (key, arg) in fields {
            match arg {
                Arg::Absent => continue,
                Arg::Number(number) => write!(self.out, r#"{between}"{key}":{number}"#)?,
                Arg::Word(word) => write!(self.out, r#"{between}"{key}":"{word}""#)?,
                Arg::True => write!(self.out, r#"{between}"{key}":true"#)?,
            }
            between = ",";
        }
        self.out.write_all(b"}}")
    }
}

/// Every vCPU is a process. Perfetto takes number 0 for the idle one.
fn process_id(track: Option<Track>) -> u64 {
    match track {
        None => 1,
        Some((vcpu, _)) => u64::from(vcpu.0) + 2,
    }
}

/// Viewers take it for unique among all processes, so it is.
fn thread_id(track: Option<Track>) -> u64 {
    process_id(track) * (wide(MAX_SLOTS) + 1) + lane(track)
}

/// A track among those of its process.
fn lane(track: Option<Track>) -> u64 {
    match track {
        None | Some((_, Lane::Task)) => 0,
        Some((_, Lane::Counter(slot))) => wide(slot) + 1,
    }
}

fn task(id: Option<TaskId>) -> Field {
    id.map_or(NOTHING, |id| ("task", Arg::Number(id.0)))
}

fn event(id: Option<EventId>) -> Field {
    match id.map(|id| (id, id.guest_counter())) {
        None => NOTHING,
        // Its name is more than the numbers of JavaScript hold.
        Some((_, Some((_, counter)))) => ("guest counter", Arg::Number(wide(counter))),
        Some((id, None)) => ("event", Arg::Number(id.0)),
    }
}

fn word(word: &'static str) -> Arg {
    Arg::Word(Name(word, None))
}

fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn detail(of: Step) -> Field {
    match of.detail() {
        None => NOTHING,
        Some((key, Detail::Number(number))) => (key, Arg::Number(number)),
        Some((key, Detail::Word(this))) => (key, word(this)),
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)?;
        self.1.map_or(Ok(()), |number| write!(f, " {number}"))
    }
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Nanos(nanos) = self.0;
        write!(f, "{}.{:03}", nanos / 1_000, nanos % 1_000)
    }
}
