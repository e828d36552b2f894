// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which races are told, and by which steps they are known.

/// A race, told twice: with the code as it is, and with a mutant that takes back what decides it.
pub(crate) struct Race {
    /// The guest kernel that provokes it, after which the pictures are named.
    pub(crate) kernel: &'static str,
    /// With the code as it is.
    pub(crate) fixed: Telling,
    /// The mutant, by the name of its patch.
    pub(crate) mutant: &'static str,
    /// With it.
    pub(crate) broken: Telling,
}

/// What is to be seen in a picture.
pub(crate) struct Telling {
    /// What is written above it.
    pub(crate) title: &'static str,
    /// The steps that make it this race, all of one event or its task, in this order. Others may
    /// come between them. The shortest stretch of the trace that has them is drawn.
    pub(crate) steps: &'static [Want],
    /// What must not have happened meanwhile, by the names of the steps.
    pub(crate) without: &'static [&'static str],
}

/// A step that must have happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Want {
    /// The step's name in the trace, or `state` for a vCPU's.
    pub(crate) name: &'static str,
    /// What the trace says of it besides, if that matters.
    pub(crate) detail: Option<&'static str>,
}

/// A step of this name.
pub(crate) const fn want(name: &'static str) -> Want {
    Want { name, detail: None }
}

/// A step of this name of which the trace says this.
const fn want_that(name: &'static str, detail: &'static str) -> Want {
    Want {
        name,
        detail: Some(detail),
    }
}

/// All of them.
pub(crate) const RACES: [Race; 3] = [
    Race {
        kernel: "install-offline",
        fixed: Telling {
            title: "An event is opened on a task that is blocked on a vCPU that is away",
            steps: &[
                want_that("switch out", "blocked"),
                want_that("state", "offline"),
                want("open"),
                want("round"),
                want("slot in"),
            ],
            without: &["close"],
        },
        mutant: "install-offline-waits",
        broken: Telling {
            title: "The same, if the vCPU that the task was on is asked whether it runs or not",
            steps: &[
                want_that("state", "offline"),
                want("open"),
                want("round"),
                want("call refused"),
                want("retry"),
                want("call refused"),
                want("retry"),
                want("call refused"),
                want("retry"),
            ],
            without: &[],
        },
    },
    Race {
        kernel: "install-migrate",
        fixed: Telling {
            title: "A task leaves while the call that is to install its event is on its way",
            steps: &[
                want("open"),
                want("round"),
                want("call"),
                want("switch out"),
                want("slot in"),
            ],
            // The call came too late, and found no event to take off.
            without: &["slot out", "close"],
        },
        mutant: "install-migrate-looked-once",
        broken: Telling {
            title: "The same, if nobody looks again where the task is once the call came to nothing",
            steps: &[
                want("open"),
                want("round"),
                want("call"),
                // Uncounted all the time until then.
                want("switch out"),
            ],
            without: &["slot in", "retry", "close"],
        },
    },
    Race {
        kernel: "sigtrap",
        fixed: Telling {
            title: "A trap is on its way when its event is taken off the counter",
            steps: &[
                want("trap queued"),
                want("slot out"),
                want("slot in"),
                want("trap sent"),
            ],
            without: &[],
        },
        mutant: "sigtrap-seed2",
        broken: Telling {
            title: "The same, if an event that leaves its counter forgets the trap",
            steps: &[
                want("trap queued"),
                want("slot out"),
                want("switch out"),
                want("switch in"),
            ],
            without: &["trap sent", "slot in"],
        },
    },
];
