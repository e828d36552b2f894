// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Clients that send anything to a control socket, without the socket and its threads: bytes in any
//! pieces, through the cutting into lines, the parser and the host, to answers.

mod client;
mod host;
mod line;

use std::time::{Duration, Instant};

use arbitrary::{Arbitrary, Result, Unstructured};

use self::client::Client;
use self::host::Moody;

/// What happens next, and to which client.
#[derive(Clone, Copy, Debug, Arbitrary)]
enum Step {
    /// It sends these bytes.
    Bytes,
    /// It sends a request that is right but for its numbers.
    Request,
    /// It sends a lot, of a line that goes on and on.
    Filler(u8),
    /// It ends a line.
    End,
    /// What it asked for is worked on.
    Work,
    /// It reads so much.
    Read(u16),
    /// Time passes, for all.
    Time(u16),
    /// The host is in this mood from now on.
    Mood(u8),
}

/// Takes clients, what they send, and what becomes of it from the bytes.
pub fn run(bytes: &[u8]) {
    let _ = traffic(&mut Unstructured::new(bytes));
}

fn traffic(bytes: &mut Unstructured<'_>) -> Result<()> {
    let mut host = Moody::default();
    let mut now = Instant::now();
    let many = usize::from(u8::arbitrary(bytes)? & 3) + 1;
    let mut clients: Vec<_> = (1..).take(many).map(Client::new).collect();
    // Until the bytes are used up: then there is one step more, of zeros.
    while !bytes.is_empty() {
        let nth = usize::from(u8::arbitrary(bytes)?) % clients.len();
        let client = &mut clients[nth];
        match Step::arbitrary(bytes)? {
            Step::Bytes => client.send(<&[u8]>::arbitrary(bytes)?),
            Step::Request => client.send(line::request(bytes)?.as_bytes()),
            Step::Filler(pages) => client.send(&b"x".repeat(usize::from(pages) * 1024)),
            Step::End => client.send(b"\n"),
            Step::Work => client.work(&host),
            Step::Read(most) => client.read(most.into()),
            Step::Time(ms) => now += Duration::from_millis(u64::from(ms) * 16),
            Step::Mood(mood) => host.mood = mood,
        }
        for client in &mut clients {
            client.pump(now);
        }
    }
    for mut client in clients {
        client.end(&host, now);
    }
    Ok(())
}
