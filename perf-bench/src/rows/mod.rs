// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The rows: what is measured beside what, a family a file.

mod events;
mod kicks;
mod registers;
mod running;
mod scale;
mod switches;

use crate::linux::{self, Keepalive};
use crate::measure::{Failure, Method, Side, medians};
use crate::row::{Kind, Row};
use crate::threads::{self, Cpus};

/// What all rows are measured with. Made on the measuring thread, which it pins.
#[derive(Debug)]
pub struct Setting {
    method: Method,
    cpus: Cpus,
    /// Without it there are no events on this machine, and each row says so for itself.
    _keepalive: Option<Keepalive>,
}

impl Setting {
    /// Pins the calling thread and keeps Linux's switching of perf events on.
    ///
    /// # Errors
    /// When the thread cannot be pinned.
    pub fn new(method: Method) -> Result<Self, Failure> {
        let cpus = Cpus::allowed()?;
        threads::pin(cpus.ours)?;
        Ok(Self {
            method,
            cpus,
            _keepalive: Keepalive::new(cpus.ours).ok(),
        })
    }

    /// The CPU for what runs at the same time as the measuring thread.
    fn other(&self) -> Result<usize, Failure> {
        Ok(self.cpus.other.ok_or("this row needs two CPUs")?)
    }
}

/// Something that can be measured.
#[derive(Clone, Copy, Debug)]
pub struct Bench {
    /// The name of its row.
    pub name: &'static str,
    run: fn(&'static str, &Setting) -> Result<Row, Failure>,
}

impl Bench {
    /// Measures it.
    ///
    /// # Errors
    /// When this machine cannot do what is to be measured. A missing peer is no error.
    pub fn run(&self, setting: &Setting) -> Result<Row, Failure> {
        (self.run)(self.name, setting)
    }
}

/// Everything, in the order of the table.
pub const ALL: &[Bench] = &[
    Bench {
        name: "bare-kick",
        run: kicks::bare,
    },
    Bench {
        name: "kick-asleep",
        run: kicks::asleep,
    },
    Bench {
        name: "open-close-own",
        run: events::open_close_own,
    },
    Bench {
        name: "open-close-blocked",
        run: events::open_close_blocked,
    },
    Bench {
        name: "open-close-running",
        run: running::open_close,
    },
    Bench {
        name: "open-close-apart",
        run: running::open_close_apart,
    },
    Bench {
        name: "enable-disable-blocked",
        run: events::enable_disable,
    },
    Bench {
        name: "refresh-own",
        run: events::refresh_own,
    },
    Bench {
        name: "read-own",
        run: events::read_own,
    },
    Bench {
        name: "overflow-to-trap",
        run: events::overflow_to_trap,
    },
    Bench {
        name: "switch-0",
        run: switches::without_events,
    },
    Bench {
        name: "switch-1",
        run: switches::with_one,
    },
    Bench {
        name: "switch-8",
        run: switches::with_eight,
    },
    Bench {
        name: "scale-tasks",
        run: scale::tasks,
    },
    Bench {
        name: "scale-vcpus",
        run: scale::vcpus,
    },
    Bench {
        name: "rdmsr",
        run: registers::rdmsr,
    },
    Bench {
        name: "rdmsr-bare",
        run: registers::rdmsr_bare,
    },
    Bench {
        name: "wrmsr-counter",
        run: registers::wrmsr_counter,
    },
    Bench {
        name: "wrmsr-counter-bare",
        run: registers::wrmsr_counter_bare,
    },
    Bench {
        name: "wrmsr-select",
        run: registers::wrmsr_select,
    },
    Bench {
        name: "wrmsr-select-bare",
        run: registers::wrmsr_select_bare,
    },
    Bench {
        name: "entry-exit",
        run: registers::entry_exit,
    },
    Bench {
        name: "entry-exit-bare",
        run: registers::entry_exit_bare,
    },
];

/// Ours in turn with Linux doing the same, if it does that here.
fn beside_linux(
    name: &'static str,
    setting: &Setting,
    ours: Side<'_>,
    theirs: Result<Side<'_>, linux::Error>,
    against: &str,
) -> Result<Row, Failure> {
    let (value, peer) = match theirs {
        Ok(theirs) => {
            let [value, peer] = medians(setting.method, &mut [ours, theirs])?;
            (value, Ok(peer))
        }
        Err(why) => {
            let [value] = medians(setting.method, &mut [ours])?;
            (value, Err(why.to_string()))
        }
    };
    Ok(Row::new(name, value, peer, against, Kind::SystemCall))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Not what the figures are, but that every row can be measured here.
    #[test]
    fn every_row_is_measured() {
        let method = Method {
            blocks: 1,
            samples: 2,
        };
        let setting = Setting::new(method).unwrap();
        for bench in ALL {
            match bench.run(&setting) {
                Ok(row) => {
                    assert_eq!(row.name, bench.name);
                    assert!(row.value > 0.0, "{row:?}");
                }
                Err(why) => assert!(setting.cpus.other.is_none(), "{}: {why}", bench.name),
            }
        }
    }
}
