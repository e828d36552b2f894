// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The words of the protocol for what something is doing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An enum of states, each with its word.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $state:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name {
            $($(#[$about])* $state,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$state),*];

            /// The word for it.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$state => $word,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }

        /// The error says nothing: whoever asked knows what is known.
        impl FromStr for $name {
            type Err = ();

            fn from_str(word: &str) -> Result<Self, ()> {
                let known = Self::ALL.iter().find(|state| state.word() == word);
                known.copied().ok_or(())
            }
        }
    };
}

words! {
    /// What a whole VM is doing.
    RunState {
        /// Its vCPUs run, or will in a moment.
        Running = "running",
        /// Its vCPUs stand still until they are resumed.
        Paused = "paused",
        /// Its run is over.
        Ended = "ended",
    }
}

words! {
    /// What a vCPU is doing.
    CpuState {
        /// It was never added.
        Absent = "absent",
        /// It was removed; it can be added again.
        Offline = "offline",
        /// It is being brought up.
        Starting = "starting",
        /// It runs guest code or handles an exit.
        Running = "running",
        /// It waits to be resumed.
        Paused = "paused",
        /// It is leaving the guest.
        Stopping = "stopping",
        /// The run is over.
        Finished = "finished",
    }
}

words! {
    /// What an event is doing.
    EventNow {
        /// It is on a counter.
        Active = "active",
        /// It wants to count and waits for a counter.
        Inactive = "inactive",
        /// It is disabled.
        Off = "off",
        /// It is pinned and found no counter; enabling it tries again.
        Error = "error",
        /// Its vCPU or its task went away: it can be read for ever, and never counts again.
        Exit = "exit",
    }
}

words! {
    /// What a guest task is doing, as far as the host knows.
    TaskState {
        /// It is the current task of its vCPU.
        Running = "running",
        /// It can run, and does not.
        Queued = "queued",
        /// It waits for something.
        Blocked = "blocked",
        /// It is over; its number is not used again.
        Exited = "exited",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_written_and_read_by_its_word() {
        for state in CpuState::ALL {
            let word = serde_json::to_value(state).unwrap();
            assert_eq!(word, state.word());
            assert_eq!(state.to_string().parse(), Ok(*state));
        }
        for state in RunState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.word());
        }
        for state in EventNow::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.word());
        }
        for state in TaskState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.word());
        }
        assert_eq!("Running".parse::<RunState>(), Err(()));
    }
}
