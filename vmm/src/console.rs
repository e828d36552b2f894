// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The way of serial output from the vCPUs to where the user wants it.
//!
//! A vCPU only ever appends to a queue; a thread of its own writes the queue to the sink. So a
//! sink that blocks (a full pipe, a stopped terminal) blocks no vCPU inside a device: the vCPU
//! that fills the queue waits between two entries, where it can be paused and stopped.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// From here on a vCPU that writes waits. One exit can bring a page more.
const HIGH_WATER: usize = 16 * 1024;

#[derive(Debug, Default)]
struct State {
    bytes: VecDeque<u8>,
    /// Bytes taken out of the queue that the sink has not accepted.
    in_flight: usize,
    /// Nothing more will come.
    closed: bool,
    /// The rest is not wanted any more.
    abandoned: bool,
    /// The writing thread is done.
    drained: bool,
}

/// The queue between the serial port and the thread that writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Console(Arc<(Mutex<State>, Condvar)>);

impl Console {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether whoever writes should wait first.
    pub(crate) fn is_full(&self) -> bool {
        let state = self.lock();
        state.bytes.len() + state.in_flight >= HIGH_WATER && !state.abandoned
    }

    /// Says that nothing more will come.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.0.1.notify_all();
    }

    /// Waits until all output is written, `limit` at most; true if it is.
    pub(crate) fn wait_drained(&self, limit: Duration) -> bool {
        let (state, _) = self
            .0
            .1
            .wait_timeout_while(self.lock(), limit, |state| !state.drained)
            .unwrap_or_else(PoisonError::into_inner);
        state.drained
    }

    /// Whether all output is written.
    pub(crate) fn is_drained(&self) -> bool {
        self.lock().drained
    }

    /// Drops what is not written; gives how many bytes that is.
    pub(crate) fn abandon(&self) -> usize {
        let mut state = self.lock();
        let lost = state.bytes.len() + state.in_flight;
        state.bytes.clear();
        state.abandoned = true;
        drop(state);
        self.0.1.notify_all();
        lost
    }

    /// The body of the writing thread: until the console is closed and empty, or abandoned.
    ///
    /// `wake` is called whenever a full queue has room again, `failed` once if the sink fails;
    /// later output is then dropped.
    pub(crate) fn drain(
        &self,
        mut sink: Box<dyn Write + Send>,
        wake: impl Fn(),
        failed: impl FnOnce(io::Error),
    ) {
        let mut failed = Some(failed);
        let mut batch = Vec::new();
        while self.take(&mut batch) {
            if failed.is_some()
                && let Err(error) = write(&mut sink, &batch)
                && let Some(failed) = failed.take()
            {
                self.lock().abandoned = true;
                failed(error);
            }
            let mut state = self.lock();
            let was_full = state.bytes.len() + state.in_flight >= HIGH_WATER;
            state.in_flight = 0;
            drop(state);
            if was_full {
                wake();
            }
        }
        self.lock().drained = true;
        self.0.1.notify_all();
    }

    /// Moves all queued bytes to `batch`, waiting for some; false at the end.
    fn take(&self, batch: &mut Vec<u8>) -> bool {
        let mut state = self
            .0
            .1
            .wait_while(self.lock(), |state| state.bytes.is_empty() && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        batch.clear();
        batch.extend(state.bytes.drain(..));
        state.in_flight = batch.len();
        !batch.is_empty()
    }
}

/// The sink is the embedder's: if it panics, the vCPUs that wait for room must not wait forever.
fn write(sink: &mut Box<dyn Write + Send>, batch: &[u8]) -> io::Result<()> {
    // After an error of any kind the sink is not used again.
    panic::catch_unwind(AssertUnwindSafe(|| {
        sink.write_all(batch).and_then(|()| sink.flush())
    }))
    .unwrap_or_else(|_| Err(io::Error::other("The serial output sink panicked")))
}

impl Write for Console {
    /// Never blocks and never fails: see [`Console::is_full`].
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut state = self.lock();
        if !state.abandoned && !state.closed {
            state.bytes.extend(data);
        }
        drop(state);
        self.0.1.notify_all();
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::sync::mpsc::{Sender, channel};
    use std::thread;

    use super::*;

    struct Sends(Sender<Vec<u8>>);

    impl Write for Sends {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.0.send(data.to_vec()).map_err(io::Error::other)?;
            Ok(data.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn no_error(error: io::Error) {
        panic!("{error}");
    }

    #[test]
    fn everything_gets_out_in_order_and_then_it_is_drained() {
        let mut console = Console::default();
        let (sender, receiver) = channel();
        let draining = console.clone();
        let thread =
            thread::spawn(move || draining.drain(Box::new(Sends(sender)), || {}, no_error));
        for byte in 0..=255 {
            console.write_all(&[byte]).unwrap();
        }
        assert!(!console.is_drained());
        console.close();
        thread.join().unwrap();
        assert!(console.is_drained() && console.wait_drained(Duration::ZERO));
        let all: Vec<u8> = receiver.into_iter().flatten().collect();
        assert_eq!(all, (0..=255).collect::<Vec<u8>>());
    }

    #[test]
    fn a_full_queue_is_full_until_it_is_written_and_says_so() {
        let mut console = Console::default();
        console.write_all(&vec![b'x'; HIGH_WATER - 1]).unwrap();
        assert!(!console.is_full());
        console.write_all(b"x").unwrap();
        assert!(console.is_full());
        console.close();
        let woken = Cell::new(0);
        let wake = || {
            assert!(!console.is_full());
            woken.set(woken.get() + 1);
        };
        console.drain(Box::new(io::sink()), wake, no_error);
        assert_eq!(woken.get(), 1);
    }

    #[test]
    fn after_an_error_nothing_is_kept_and_nobody_waits() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _data: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut console = Console::default();
        console.write_all(&vec![b'x'; HIGH_WATER]).unwrap();
        console.close();
        let error = RefCell::new(None);
        console.drain(
            Box::new(Full),
            || {},
            |failed| *error.borrow_mut() = Some(failed),
        );
        assert_eq!(
            error.into_inner().unwrap().kind(),
            io::ErrorKind::StorageFull
        );
        console.write_all(b"more").unwrap();
        assert_eq!((console.is_full(), console.abandon()), (false, 0));
    }

    #[test]
    fn what_is_abandoned_is_counted() {
        let mut console = Console::default();
        console.write_all(b"lost").unwrap();
        assert!(!console.wait_drained(Duration::ZERO));
        assert_eq!(console.abandon(), 4);
        assert_eq!(console.abandon(), 0);
    }
}
