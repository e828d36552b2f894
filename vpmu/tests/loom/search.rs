// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How far to look, and whether it was looked at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Runs `scenario` in every interleaving with at most `preemptions` involuntary switches; in every
/// single one if there is no such bound.
///
/// With `PERFVISOR_NIGHTLY` set to 1 there never is, but a time limit, of
/// `PERFVISOR_SEARCH_SECONDS` (300 if not set). Says how many executions there were, and whether
/// that was all of them.
pub(crate) fn search(
    name: &str,
    preemptions: impl Into<Option<usize>>,
    scenario: impl Fn() + Sync + Send + 'static,
) {
    search_within(search_time(), name, preemptions.into(), scenario);
}

fn search_within(
    limit: Option<Duration>,
    name: &str,
    preemptions: Option<usize>,
    scenario: impl Fn() + Sync + Send + 'static,
) {
    let preemptions = preemptions.filter(|_| limit.is_none());
    let executions = Arc::new(AtomicUsize::new(0));

    let mut model = loom::model::Builder::new();
    model.preemption_bound = preemptions;
    model.max_duration = limit;
    // Deadlocks are found by themselves; this is for those who spin.
    model.max_branches = 10_000;
    let start = Instant::now();
    let counted = Arc::clone(&executions);
    model.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        scenario();
    });

    let took = start.elapsed();
    let exhausted = limit.is_none_or(|limit| took < limit);
    let bound = match preemptions {
        None => "without a bound".to_owned(),
        Some(preemptions) => format!("with at most {preemptions} preemptions"),
    };
    let verdict = if exhausted {
        "exhausted"
    } else {
        "NOT exhausted"
    };
    println!(
        "{name}: {verdict} {bound}, {} executions in {took:.1?}",
        executions.load(Ordering::Relaxed)
    );
}

/// Which of two parties gets ahead by itself; the other one does so only where the search has a
/// reason.
#[derive(Clone, Copy, Debug)]
pub(crate) enum First {
    A,
    B,
}

/// [`search`] with each of two parties in front, for half of the time if that is limited.
///
/// Loom looks for a reason in the last access to a word only, so a thread's own load hides an
/// earlier one of another thread from its read-modify-write. What one order misses that way, the
/// other one has by itself.
pub(crate) fn search_both(
    name: &str,
    preemptions: usize,
    scenario: impl Fn(First) + Copy + Sync + Send + 'static,
) {
    for first in [First::A, First::B] {
        let name = format!("{name}, {first:?} first");
        let limit = search_time().map(|limit| limit / 2);
        search_within(limit, &name, Some(preemptions), move || scenario(first));
    }
}

/// How long a test may search at night.
fn search_time() -> Option<Duration> {
    let nightly = std::env::var("PERFVISOR_NIGHTLY").is_ok_and(|value| value == "1");
    nightly.then(|| {
        let seconds = std::env::var("PERFVISOR_SEARCH_SECONDS").map_or(300, |value| {
            value
                .parse()
                .expect("PERFVISOR_SEARCH_SECONDS is a number of seconds")
        });
        Duration::from_secs(seconds)
    })
}

/// Counts how often something happened over all executions, so that a test can tell that it was
/// there to be seen.
#[derive(Default)]
pub(crate) struct Seen(AtomicUsize);

impl Seen {
    pub(crate) const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_if(&self, happened: bool) {
        self.0.fetch_add(usize::from(happened), Ordering::Relaxed);
    }

    pub(crate) fn assert_seen(&self, what: &str) {
        assert_ne!(self.0.load(Ordering::Relaxed), 0, "never seen: {what}");
    }
}
