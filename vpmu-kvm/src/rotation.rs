// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! When the events that wait for a counter get their turn.

/// How long an event keeps a counter that others wait for, in nanoseconds: a tick of Linux' timer,
/// on which its perf rotates.
const TURN_NS: u64 = 4_000_000;

/// The end of the present turn, while anything waits.
#[derive(Debug, Default)]
pub(crate) struct Rotation {
    ends: Option<u64>,
}

impl Rotation {
    /// Whether a turn is on: whoever asks [`is_over`](Self::is_over) needs the time then.
    pub(crate) fn is_on(&self) -> bool {
        self.ends.is_some()
    }

    /// Whether the turn is over at `now`; if so the next one has to be asked for.
    pub(crate) fn is_over(&mut self, now: u64) -> bool {
        let over = self.ends.is_some_and(|ends| ends <= now);
        if over {
            self.ends = None;
        }
        over
    }

    /// Events wait, or none does, at `now`: when the turn ends.
    pub(crate) fn waiting(&mut self, now: u64, waits: bool) -> Option<u64> {
        self.ends = waits.then(|| self.ends.unwrap_or(now.saturating_add(TURN_NS)));
        self.ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_has_its_length_however_often_the_guest_exits() {
        let mut rotation = Rotation::default();
        assert_eq!(rotation.waiting(1_000, true), Some(1_000 + TURN_NS));
        assert_eq!(rotation.waiting(900_000, true), Some(1_000 + TURN_NS));
        assert!(!rotation.is_over(TURN_NS));
        assert!(rotation.is_over(1_000 + TURN_NS));
        assert!(
            !rotation.is_on(),
            "the next turn begins when something still waits"
        );
        assert_eq!(rotation.waiting(5_000_000, true), Some(5_000_000 + TURN_NS));
    }

    #[test]
    fn without_anybody_waiting_there_are_no_turns() {
        let mut rotation = Rotation::default();
        assert_eq!(rotation.waiting(0, true), Some(TURN_NS));
        assert_eq!(rotation.waiting(1, false), None);
        assert!(!rotation.is_over(u64::MAX));
    }
}
