// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Where a thread's records wait for the writer.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_queue::ArrayQueue;

use super::record::{Record, What};

/// Places beyond the limit that are never used up: the writer holds one place while it takes a
/// record out, and who wants that very place would have to wait for it. Each thread that passed the
/// check at the same time needs one as well.
const SPARE: usize = 64;

/// A bounded queue of records. Any thread adds to it, and never waits or allocates; the writer alone
/// takes from it.
#[derive(Debug)]
pub(super) struct Ring {
    queue: ArrayQueue<Record>,
    limit: usize,
    /// What found no room, until the next record says so.
    lost: AtomicU64,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// It is in.
    Yes,
    /// It is in, and the ring is half full: the writer should come.
    HalfFull,
    /// There was no room, and it is counted.
    Lost,
}

impl Ring {
    /// A ring for so many records, at least one. The room for them is taken here.
    pub(super) fn new(limit: usize) -> Self {
        let limit = limit.max(1);
        Self {
            queue: ArrayQueue::new(limit + SPARE),
            limit,
            lost: AtomicU64::new(0),
        }
    }

    pub(super) fn add(&self, time: u64, what: What) -> Added {
        let waiting = self.queue.len();
        if waiting >= self.limit {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return Added::Lost;
        }
        // Mostly nothing was lost, and then this is a read.
        let lost = match self.lost.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.lost.swap(0, Ordering::Relaxed),
        };
        if let Err(back) = self.queue.push(Record { time, lost, what }) {
            self.lost.fetch_add(1 + back.lost, Ordering::Relaxed);
            return Added::Lost;
        }
        if waiting == self.limit / 2 {
            Added::HalfFull
        } else {
            Added::Yes
        }
    }

    pub(super) fn take(&self) -> Option<Record> {
        self.queue.pop()
    }

    /// How many records wait.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// How many records were lost that no record tells of yet.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn drained(ring: &Ring) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| ring.take())
            .map(|record| (record.time, record.lost))
            .collect()
    }

    #[test]
    fn what_finds_no_room_is_counted_and_told_where_it_is_missing() {
        let ring = Ring::new(4);
        let added: Vec<_> = (0..7).map(|time| ring.add(time, What::Enter)).collect();
        use Added::{HalfFull, Lost, Yes};
        assert_eq!(added, [Yes, Yes, HalfFull, Yes, Lost, Lost, Lost]);
        assert_eq!((ring.len(), ring.lost()), (4, 3));
        assert_eq!(ring.take().unwrap().time, 0);
        assert_eq!(ring.add(7, What::Enter), Yes);
        assert_eq!(ring.lost(), 0);
        assert_eq!(drained(&ring), [(1, 0), (2, 0), (3, 0), (7, 3)]);
    }

    #[test]
    fn there_is_room_for_one_at_least() {
        let ring = Ring::new(0);
        assert_ne!(ring.add(1, What::Enter), Added::Lost);
        assert_eq!(ring.add(2, What::Enter), Added::Lost);
    }

    #[test]
    fn of_many_threads_nothing_is_lost_uncounted_and_each_keeps_its_order() {
        const THREADS: u64 = 4;
        const EACH: u64 = 20_000;
        let ring = Ring::new(32);
        let mut seen = Vec::new();
        let mut lost = 0;
        thread::scope(|threads| {
            let adders: Vec<_> = (0..THREADS)
                .map(|who| {
                    let ring = &ring;
                    threads.spawn(move || {
                        for n in 0..EACH {
                            ring.add(who << 32 | n, What::Enter);
                        }
                    })
                })
                .collect();
            while !adders.iter().all(thread::ScopedJoinHandle::is_finished) || ring.len() > 0 {
                while let Some(record) = ring.take() {
                    seen.push(record.time);
                    lost += record.lost;
                }
                thread::yield_now();
            }
        });
        lost += ring.lost();
        assert_eq!(u64::try_from(seen.len()).unwrap() + lost, THREADS * EACH);
        for who in 0..THREADS {
            let mine: Vec<_> = seen.iter().filter(|time| *time >> 32 == who).collect();
            assert!(mine.is_sorted(), "thread {who}");
        }
    }
}
