// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! All orders of events, held against the model.

use proptest::prelude::*;
use vcpu_life::{Goal, Life, Next, VcpuState};

use crate::model::{Event, Model};

/// How many events all orders are made of.
const DEPTH: u32 = 7;

/// A life and what it has to be.
#[derive(Clone, Copy, Debug)]
struct Pair {
    life: Life,
    model: Model,
}

impl Pair {
    const fn new() -> Self {
        Self {
            life: Life::absent(),
            model: Model::new(),
        }
    }

    fn happens(&mut self, event: Event) {
        let before = self.life.state();
        let Self { life, model } = self;
        match event {
            Event::Ask(goal) => {
                life.ask(goal);
                model.ask(goal);
                assert_eq!(life.state(), before, "C1");
            }
            Event::Plug => assert_eq!(life.plug(), model.plug()),
            Event::Unplug => {
                assert_eq!(life.unplug(), model.unplug());
                assert_eq!(life.state(), before, "C1");
            }
            Event::NotMade => {
                life.not_made();
                model.not_made();
            }
            Event::Thread if model.has_thread() => self.thread(),
            Event::Dies if model.has_thread() => {
                life.finish();
                model.dies();
                model.told = None;
            }
            Event::Thread | Event::Dies => {}
        }
        assert_eq!(self.life.state(), self.model.state());
        if before == VcpuState::Finished {
            assert_eq!(self.life.state(), before);
        }
    }

    fn thread(&mut self) {
        let Self { life, model } = self;
        match model.told.take() {
            Some(Next::Plug) => {
                life.plugged();
                model.came();
            }
            Some(Next::Unplug) => {
                life.unplugged();
                model.went();
            }
            Some(Next::Leave) => {
                life.finish();
                model.dies();
            }
            Some(Next::Enter | Next::Wait) | None => {
                let next = life.advance();
                assert_eq!(next, model.look());
                model.told = Some(next);
            }
        }
    }

    /// Lets the thread go on until it has nothing left to do.
    fn settle(&mut self) {
        for _ in 0..8 {
            self.happens(Event::Thread);
        }
    }
}

#[test]
fn all_short_orders_of_events_are_as_the_model_says() {
    fn go_on(pair: Pair, depth: u32) {
        for event in Event::ALL {
            let mut pair = pair;
            pair.happens(event);
            if depth > 1 {
                go_on(pair, depth - 1);
            }
        }
    }
    go_on(Pair::new(), DEPTH);
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        2 => prop::sample::select(&[Goal::Run, Goal::Pause][..]).prop_map(Event::Ask),
        6 => Just(Event::Thread),
        2 => Just(Event::Plug),
        2 => Just(Event::Unplug),
        1 => Just(Event::NotMade),
    ];
    prop::collection::vec(event, 0..64)
}

proptest! {
    #[test]
    fn long_orders_of_events_are_as_the_model_says(
        events in events(),
        end in prop::sample::select(&[Event::Ask(Goal::Stop), Event::Dies][..]),
        more in events(),
    ) {
        let mut pair = Pair::new();
        for event in events {
            pair.happens(event);
        }
        pair.happens(end);
        for event in more {
            pair.happens(event);
        }
    }

    /// Whatever went before, a goal is reached by the thread's steps alone.
    #[test]
    fn every_goal_is_settled_on(
        events in events(),
        goal in prop::sample::select(&[Goal::Run, Goal::Pause, Goal::Stop][..]),
    ) {
        let mut pair = Pair::new();
        for event in events {
            pair.happens(event);
        }
        pair.happens(Event::Ask(goal));
        pair.settle();
        prop_assert!(pair.life.settled(goal), "{:?}", pair);
        let state = pair.life.state();
        let there = match goal {
            Goal::Run => VcpuState::Running,
            Goal::Pause => VcpuState::Paused,
            Goal::Stop => VcpuState::Finished,
        };
        let away = [VcpuState::Absent, VcpuState::Offline];
        let away = away.contains(&state) && (goal != Goal::Stop || state == VcpuState::Absent);
        prop_assert!(state == there || away, "{:?}", pair);
    }
}
