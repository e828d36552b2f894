// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How far to look, and whether it was looked at all.

#![allow(
    clippy::disallowed_types,
    reason = "these count across executions: no model is to see them"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Runs `scenario` in every interleaving with at most `preemptions` involuntary switches.
///
/// With `PERFVISOR_NIGHTLY` set to 1 there is no such bound but a time limit, of
/// `PERFVISOR_SEARCH_SECONDS` (300 if not set). Says how many executions there were, and whether
/// that was all of them.
pub(crate) fn search(name: &str, preemptions: usize, scenario: impl Fn() + Sync + Send + 'static) {
    let nightly = std::env::var("PERFVISOR_NIGHTLY").is_ok_and(|value| value == "1");
    let limit = nightly.then(|| Duration::from_secs(search_seconds()));
    let executions = Arc::new(AtomicUsize::new(0));

    let mut model = loom::model::Builder::new();
    model.preemption_bound = (!nightly).then_some(preemptions);
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
    let bound = if nightly {
        "without a bound".to_owned()
    } else {
        format!("with at most {preemptions} preemptions")
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

fn search_seconds() -> u64 {
    match std::env::var("PERFVISOR_SEARCH_SECONDS") {
        Ok(value) => value
            .parse()
            .expect("PERFVISOR_SEARCH_SECONDS is a number of seconds"),
        Err(_) => 300,
    }
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

    pub(crate) fn assert_seen(&self, what: &str) {
        assert_ne!(self.0.load(Ordering::Relaxed), 0, "never seen: {what}");
    }
}
