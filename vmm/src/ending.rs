// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How a run ended: once, whoever ends it first.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::report::Exit;

/// How a run ended, and when.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) exit: Exit,
    pub(crate) at: Instant,
}

/// The end of a run, as all its threads see it. The first end is the end.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    end: Mutex<Option<End>>,
    ended: Condvar,
}

impl Ending {
    /// How the run ended, once it has.
    pub(crate) fn get(&self) -> Option<End> {
        self.lock().clone()
    }

    /// Ends the run, unless it has ended already.
    pub(crate) fn set(&self, exit: Exit) {
        self.lock().get_or_insert_with(|| End {
            exit,
            at: Instant::now(),
        });
        self.ended.notify_all();
    }

    /// Waits until the run has ended, for `limit` at most; false if it has not.
    pub(crate) fn wait(&self, limit: Duration) -> bool {
        let (end, _) = self
            .ended
            .wait_timeout_while(self.lock(), limit, |end| end.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        end.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<End>> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
