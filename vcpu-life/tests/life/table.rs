// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Every state and every request: what it does there.

use vcpu_life::VcpuState::{Absent, Finished, Offline, Paused, Running, Starting, Stopping};
use vcpu_life::{Goal, Life, Next, Plug, Refused, VcpuState};

use crate::steps::{offline, up};

/// A life, and what each request and step is answered there.
struct Row {
    life: Life,
    state: VcpuState,
    plug: Result<Plug, Refused>,
    unplug: Result<(), Refused>,
    /// In a VM that runs, and in one that stops.
    next: [(Next, VcpuState); 2],
}

fn rows() -> Vec<Row> {
    use Next::{Enter, Leave, Plug as Bring, Unplug, Wait};
    use Refused::{Ended, Leaving, NotPresent, Present};

    let with = |mut life: Life, step: &dyn Fn(&mut Life)| {
        step(&mut life);
        life
    };
    let absent = with(Life::absent(), &|life| life.ask(Goal::Run));
    let starting = with(absent, &|life| assert!(life.plug().is_ok()));
    let running = up(Goal::Run);
    let offline = offline(Goal::Run);
    let leaves = |life| with(life, &|life| assert!(life.unplug().is_ok()));
    let row = |life, state, plug, unplug, next| Row {
        life,
        state,
        plug,
        unplug,
        next: [next, (Leave, Stopping)],
    };
    vec![
        row(
            absent,
            Absent,
            Ok(Plug::Create),
            Err(NotPresent),
            (Wait, Absent),
        ),
        row(starting, Starting, Err(Present), Ok(()), (Bring, Starting)),
        row(
            leaves(starting),
            Starting,
            Err(Leaving),
            Err(Leaving),
            (Bring, Starting),
        ),
        row(running, Running, Err(Present), Ok(()), (Enter, Running)),
        row(
            leaves(running),
            Running,
            Err(Leaving),
            Err(Leaving),
            (Unplug, Stopping),
        ),
        row(
            up(Goal::Pause),
            Paused,
            Err(Present),
            Ok(()),
            (Enter, Running),
        ),
        row(
            leaves(up(Goal::Pause)),
            Paused,
            Err(Leaving),
            Err(Leaving),
            (Unplug, Stopping),
        ),
        row(
            with(leaves(running), &|life| assert_eq!(life.advance(), Unplug)),
            Stopping,
            Err(Leaving),
            Err(Leaving),
            (Unplug, Stopping),
        ),
        row(
            offline,
            Offline,
            Ok(Plug::Wake),
            Err(NotPresent),
            (Wait, Offline),
        ),
        Row {
            next: [(Leave, Finished); 2],
            ..row(
                with(running, &Life::finish),
                Finished,
                Err(Ended),
                Err(Ended),
                (Leave, Finished),
            )
        },
    ]
}

#[test]
fn every_state_has_a_row() {
    for state in VcpuState::ALL {
        assert!(rows().iter().any(|row| row.state == state), "{state}");
    }
    for row in rows() {
        assert_eq!(row.life.state(), row.state, "{:?}", row.life);
    }
}

#[test]
fn each_request_is_answered_as_its_state_says() {
    for row in rows() {
        let (mut plugged, mut unplugged) = (row.life, row.life);
        assert_eq!(plugged.plug(), row.plug, "{:?}", row.life);
        let starts = row.plug.is_ok();
        let state = if starts { Starting } else { row.state };
        assert_eq!(plugged.state(), state, "{:?}", row.life);

        assert_eq!(unplugged.unplug(), row.unplug, "{:?}", row.life);
        assert_eq!(unplugged.state(), row.state, "C1: {:?}", row.life);
    }
}

#[test]
fn c4_what_stops_takes_no_request() {
    for row in rows() {
        let mut life = row.life;
        life.ask(Goal::Stop);
        for goal in [Goal::Pause, Goal::Run] {
            assert_eq!(life.plug(), Err(Refused::Ended), "{:?}", row.life);
            assert_eq!(life.unplug(), Err(Refused::Ended), "{:?}", row.life);
            assert_eq!(life.state(), row.state, "C1: {:?}", row.life);
            life.ask(goal);
        }
        assert_eq!(life.advance(), Next::Leave);
    }
}

#[test]
fn each_step_is_what_its_state_says() {
    for row in rows() {
        for (goal, (next, state)) in [Goal::Run, Goal::Stop].into_iter().zip(row.next) {
            let mut life = row.life;
            life.ask(goal);
            assert_eq!(life.state(), row.state, "C1: {:?}", row.life);
            for _again in 0..2 {
                assert_eq!(
                    (life.advance(), life.state()),
                    (next, state),
                    "{:?}",
                    row.life
                );
            }
        }
    }
}

/// Steps of a thread that are none in the state it is in.
#[test]
fn steps_out_of_place_change_nothing() {
    for row in rows() {
        let (mut plugged, mut unplugged) = (row.life, row.life);
        plugged.plugged();
        let starts = row.state == Starting;
        assert_eq!(plugged.state() != row.state, starts, "{:?}", row.life);
        unplugged.unplugged();
        let stops = row.state == Stopping;
        assert_eq!(unplugged.state() != row.state, stops, "{:?}", row.life);
    }
}
