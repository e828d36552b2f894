// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The thread that empties the rings into the sink. The only one that waits for the sink.

use std::io::{self, Write};
use std::sync::atomic::Ordering;

use super::TraceConfig;
use super::hub::{Feed, Hub};
use super::timeline::Timeline;

/// How much text is handed to the sink at a time, in bytes, give or take an event.
const BATCH: usize = 64 << 10;

struct Writer<'a> {
    hub: &'a Hub,
    sink: &'a mut dyn Write,
    timeline: Timeline,
}

/// Writes until the end of the trace, or until the sink fails.
pub(super) fn run(hub: &Hub, config: &TraceConfig, sink: &mut dyn Write) -> io::Result<()> {
    let mut writer = Writer {
        hub,
        sink,
        timeline: Timeline::new(&config.name, hub.origin),
    };
    loop {
        // Before the look at the rings: whatever was recorded before the end is still written.
        let ending = hub.ending.load(Ordering::Acquire);
        writer.round()?;
        if ending {
            return writer.end();
        }
        hub.rest(config.period);
    }
}

impl Writer<'_> {
    /// Empties all rings of what is in them now.
    fn round(&mut self) -> io::Result<()> {
        let hub = self.hub;
        // A vCPU's thread comes after what the host did to start it: what is here by now is not
        // drawn before that.
        let waiting: Vec<_> = hub
            .feeds()
            .map(|(vcpu, feed)| (vcpu, feed, feed.ring.len()))
            .collect();
        self.empty(None, &hub.host, hub.host.ring.len())?;
        for (vcpu, feed, count) in waiting {
            self.empty(Some(vcpu), feed, count)?;
        }
        self.hand_on()
    }

    fn empty(&mut self, vcpu: Option<u32>, feed: &Feed, count: usize) -> io::Result<()> {
        let tally = &self.hub.tally;
        for record in (0..count).map_while(|_| feed.ring.take()) {
            tally.taken.fetch_add(1, Ordering::Relaxed);
            tally.lost.fetch_add(record.lost, Ordering::Relaxed);
            self.timeline.add(vcpu, &record);
            if self.timeline.json().text().len() >= BATCH {
                self.hand_on()?;
            }
        }
        Ok(())
    }

    fn hand_on(&mut self) -> io::Result<()> {
        let hub = self.hub;
        if hub.abandoned.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let json = self.timeline.json();
        self.sink.write_all(json.text().as_bytes())?;
        self.sink.flush()?;
        json.clear();
        let taken = hub.tally.taken.load(Ordering::Relaxed);
        hub.tally.written.store(taken, Ordering::Release);
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        let written = self.hub.tally.written.load(Ordering::Relaxed);
        self.timeline.end(written, self.hub.dropped());
        self.hand_on()
    }
}
