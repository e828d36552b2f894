// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `perfvisor ctl`: one request to a VM that runs, or the counting of `stat`.

mod args;
mod connection;
mod failure;
mod link;
mod request;
mod show;
mod stat;

use serde::de::DeserializeOwned;

use self::args::{Command, Cpus, Events, Verb};
use super::Failure;
use super::output::{self, Stream};
use super::status::Status;
use crate::control::{Answer, Refusal, Request};

pub(super) use self::args::Args;

/// Has the VM do what was asked for, and says what came of it.
pub(super) fn run(args: &Args) -> Result<Status, Failure> {
    match &args.command {
        Command::Request(verb) => request(args, verb),
        Command::Stat(stat) => stat::run(args, stat),
    }
}

fn request(args: &Args, verb: &Verb) -> Result<Status, Failure> {
    let request = request::of(verb)?;
    let limit = args.timeout.unwrap_or_else(|| request::patience(&request));
    let line = Request::new(request).line();
    let line =
        connection::ask(&args.socket, line, limit).map_err(|error| failure::unanswered(&error))?;
    let answer = read(&line).map_err(|why| failure::foreign(&args.socket, &why))?;
    let text = if args.json {
        let done = answer.result.as_ref().map_err(failure::refused)?;
        let text = serde_json::to_string_pretty(done)
            .map_err(|error| Failure::of(Status::HostIo, &error))?;
        text + "\n"
    } else {
        let text = say(verb, &answer).map_err(|refusal| failure::refused(&refusal))?;
        tame(&text)
    };
    Stream::Stdout.write(&text).map_err(output::to_failure)?;
    Ok(Status::Guest(0))
}

fn read(line: &[u8]) -> Result<Answer, String> {
    let text = str::from_utf8(line).map_err(|error| error.to_string())?;
    Answer::read(text).map_err(|error| error.to_string())
}

/// What came of `verb`, for people.
fn say(verb: &Verb, answer: &Answer) -> Result<String, Refusal> {
    fn with<T: DeserializeOwned>(
        answer: &Answer,
        show: impl FnOnce(&T) -> String,
    ) -> Result<String, Refusal> {
        answer.read_as().map(|done| show(&done))
    }
    match verb {
        Verb::Info => with(answer, show::info),
        Verb::Cpus(Cpus::Add { .. }) => with(answer, show::added),
        Verb::Cpus(Cpus::Remove { .. }) => with(answer, show::removed),
        Verb::Pause | Verb::Resume | Verb::Stop => with(answer, show::now_is),
        Verb::Wait(_) => with(answer, show::reached),
        Verb::Tasks => with(answer, show::tasks),
        Verb::Events(events) => match events {
            Events::Open(_) => with(answer, show::opened),
            Events::Enable(_) => with(answer, |event| show::changed("Enabled", event)),
            Events::Disable(_) => with(answer, |event| show::changed("Disabled", event)),
            Events::Refresh { .. } => with(answer, |event| show::changed("Refreshed", event)),
            Events::Reset(_) => with(answer, |event| show::changed("Reset", event)),
            Events::Read(_) => with(answer, show::read),
            Events::Close(_) => with(answer, show::closed),
            Events::List => with(answer, show::list),
        },
    }
}

/// The text without what would steer a terminal: it may be another user's process that sent it.
fn tame(text: &str) -> String {
    let mut tamed = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' {
            tamed.extend(c.escape_default());
        } else {
            tamed.push(c);
        }
    }
    tamed
}
