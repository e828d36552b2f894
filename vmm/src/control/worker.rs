// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The thread on which one client's requests are worked on, so that none of them holds up another
//! client, or the server.

use std::any::Any;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use nix::sys::eventfd::EventFd;

use super::dispatch::obey;
use super::{ClientId, Done, ErrorKind, Host, Refusal, Verb};

/// What a worker tells the server.
#[derive(Debug)]
pub(super) enum News {
    /// The client's request was worked on.
    Finished(ClientId, Box<Result<Done, Refusal>>),
    /// A client is gone, and its events are closed.
    Left,
}

/// Where workers put their news.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    pub(super) news: Sender<News>,
    /// Readable when there is some.
    pub(super) bell: Arc<EventFd>,
}

impl Outbox {
    fn tell(&self, news: News) {
        // The server may have ended without waiting for it.
        if self.news.send(news).is_ok() {
            // Only fails when it has rung 2^64 times.
            let _ = self.bell.write(1);
        }
    }
}

/// A client's worker, as the server has it. Dropped, it closes the client's events once it is done
/// with what it works on, and ends.
#[derive(Debug)]
pub(super) struct Worker {
    requests: Sender<Verb>,
    given_up: Arc<AtomicBool>,
}

impl Worker {
    pub(super) fn start<H: Host>(
        host: Arc<H>,
        client: ClientId,
        outbox: Outbox,
    ) -> io::Result<Self> {
        let (requests, received) = mpsc::channel();
        let given_up = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&given_up);
        let body = move || {
            work(&*host, client, &received, &flag, &outbox);
            // First: a server that has ended has let go of its host.
            drop(host);
            outbox.tell(News::Left);
        };
        thread::Builder::new()
            .name(format!("control{client}"))
            .spawn(body)?;
        Ok(Self { requests, given_up })
    }

    /// Gives it a request; false if its thread is gone.
    pub(super) fn ask(&self, verb: Verb) -> bool {
        self.requests.send(verb).is_ok()
    }

    /// Nobody waits any more for what it works on.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.give_up();
    }
}

fn work<H: Host>(
    host: &H,
    client: ClientId,
    requests: &Receiver<Verb>,
    given_up: &AtomicBool,
    outbox: &Outbox,
) {
    for verb in requests {
        let given_up = || given_up.load(Ordering::Relaxed);
        let result = guarded(|| obey(host, client, &verb, given_up)).unwrap_or_else(|why| {
            let message = format!("{} failed inside: {why}", verb.name());
            Err(Refusal::new(ErrorKind::Internal, message))
        });
        outbox.tell(News::Finished(client, Box::new(result)));
    }
    let leave = || {
        if let Some(events) = host.events() {
            events.leave(client);
        }
    };
    // A host that panics there has said so on its standard error.
    let _ = guarded(leave);
}

/// A host that panics at one request takes neither the server nor its client along.
fn guarded<R>(body: impl FnOnce() -> R) -> Result<R, String> {
    panic::catch_unwind(AssertUnwindSafe(body)).map_err(|panic| message(&*panic))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    // Of one line, as all messages.
    let line = text.and_then(|text| text.lines().next());
    line.unwrap_or("a panic").to_owned()
}
