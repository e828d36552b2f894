// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How long to look, from where, and what to do with a schedule that failed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

use crate::watch::Totals;

/// Where the searches of the day start.
const SEED: u64 = 0x5EED_0003;

/// How threads take turns.
#[derive(Clone, Copy)]
pub(crate) enum Turns {
    /// Anybody next, at every step.
    Random,
    /// By priorities that change so many times (PCT).
    Preemptions(usize),
}

/// What `scenario` goes through in so many executions, or in a night.
pub(crate) fn search(
    name: &str,
    turns: Turns,
    executions: usize,
    scenario: impl Fn(&Arc<Totals>) + Send + Sync + 'static,
) -> Arc<Totals> {
    let Some(night) = night() else {
        return explore(name, turns, executions, scenario);
    };
    let mut config = config();
    config.max_time = Some(night);
    match turns {
        Turns::Random => run(name, RandomScheduler::new(usize::MAX), config, scenario),
        Turns::Preemptions(n) => run(name, PctScheduler::new(n, usize::MAX), config, scenario),
    }
}

/// What `scenario` goes through in so many executions, always the same.
pub(crate) fn explore(
    name: &str,
    turns: Turns,
    executions: usize,
    scenario: impl Fn(&Arc<Totals>) + Send + Sync + 'static,
) -> Arc<Totals> {
    match turns {
        Turns::Random => {
            let scheduler = RandomScheduler::new_from_seed(SEED, executions);
            run(name, scheduler, config(), scenario)
        }
        Turns::Preemptions(n) => {
            let scheduler = PctScheduler::new_from_seed(SEED, n, executions);
            run(name, scheduler, config(), scenario)
        }
    }
}

/// Plays the schedule in the file that `SHUTTLE_REPLAY` names.
pub(crate) fn replay(scenario: impl Fn(&Arc<Totals>) + Send + Sync + 'static) {
    let file = std::env::var_os("SHUTTLE_REPLAY").expect("SHUTTLE_REPLAY names no file");
    let schedule = ReplayScheduler::new_from_file(file).expect("SHUTTLE_REPLAY cannot be read");
    run("replay", schedule, config(), scenario);
}

fn run(
    name: &str,
    scheduler: impl Scheduler + 'static,
    config: Config,
    scenario: impl Fn(&Arc<Totals>) + Send + Sync + 'static,
) -> Arc<Totals> {
    let totals = Arc::new(Totals::default());
    let seen = Arc::clone(&totals);
    let start = Instant::now();
    let executions = Runner::new(scheduler, config).run(move || scenario(&seen));
    println!(
        "{name}: {executions} executions in {:.1?}, {totals}",
        start.elapsed()
    );
    totals
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = 256 << 10;
    config.failure_persistence =
        FailurePersistence::File(Some(PathBuf::from(env!("CARGO_TARGET_TMPDIR"))));
    // Deadlocks are found by themselves; this is for those who go round in circles.
    config.max_steps = MaxSteps::FailAfter(1_000_000);
    config.silence_warnings = true;
    config
}

/// How long to search at night; nothing by day.
pub(crate) fn night() -> Option<Duration> {
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
