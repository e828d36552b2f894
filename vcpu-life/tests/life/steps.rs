// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The ways through a life, one at a time.

use vcpu_life::{Goal, Life, Next, Plug, Refused, VcpuState};

/// One that was added in a VM whose goal is `goal`, and came up.
pub(crate) fn up(goal: Goal) -> Life {
    let mut life = Life::absent();
    life.ask(goal);
    assert_eq!(life.plug(), Ok(Plug::Create));
    assert_eq!(life.advance(), Next::Plug);
    life.plugged();
    life
}

/// One that was up and was removed.
pub(crate) fn offline(goal: Goal) -> Life {
    let mut life = up(goal);
    assert_eq!(life.unplug(), Ok(()));
    assert_eq!(life.advance(), Next::Unplug);
    life.unplugged();
    life
}

#[test]
fn a_vcpu_is_held_until_the_vm_starts() {
    let mut life = Life::absent();
    life.plug().unwrap();
    assert_eq!(life.state(), VcpuState::Starting);
    assert!(!life.settled(Goal::Pause));
    assert_eq!(life.advance(), Next::Plug);
    life.plugged();
    assert_eq!(life.advance(), Next::Wait);
    assert!(life.settled(Goal::Pause));
    life.ask(Goal::Run);
    assert!(!life.settled(Goal::Run));
    assert_eq!(life.advance(), Next::Enter);
    assert!(life.settled(Goal::Run));
}

#[test]
fn c5_a_goal_is_that_of_a_vcpu_that_is_added_later_too() {
    for (goal, state) in [
        (Goal::Run, VcpuState::Running),
        (Goal::Pause, VcpuState::Paused),
    ] {
        assert_eq!(up(goal).state(), state);
        let mut again = offline(goal);
        again.plug().unwrap();
        assert_eq!(again.advance(), Next::Plug);
        again.plugged();
        assert_eq!(again.state(), state);
    }
}

#[test]
fn whoever_waits_for_a_goal_that_was_replaced_is_let_go() {
    let mut life = up(Goal::Pause);
    life.ask(Goal::Run);
    assert!(life.settled(Goal::Pause));
    life.ask(Goal::Stop);
    assert!(life.settled(Goal::Run));
    assert!(!life.settled(Goal::Stop));
    assert_eq!(life.advance(), Next::Leave);
    assert!(!life.settled(Goal::Stop));
    life.finish();
    assert!(life.settled(Goal::Stop));
}

#[test]
fn a_goal_waits_for_whoever_comes_or_goes_and_not_for_who_is_away() {
    for goal in [Goal::Run, Goal::Pause] {
        let mut comes = Life::absent();
        comes.ask(goal);
        assert!(comes.settled(goal), "absent");
        comes.plug().unwrap();
        assert!(!comes.settled(goal), "starting");

        let mut goes = up(goal);
        assert!(goes.settled(goal), "up");
        goes.unplug().unwrap();
        goes.advance();
        assert!(!goes.settled(goal), "stopping");
        goes.unplugged();
        assert!(goes.settled(goal), "offline");
    }
}

/// It has a thread, which has to end with the VM.
#[test]
fn c4_an_offline_vcpu_stops_with_the_vm() {
    let mut life = offline(Goal::Run);
    life.ask(Goal::Stop);
    assert!(!life.settled(Goal::Stop));
    assert_eq!(life.advance(), Next::Leave);
    assert_eq!(life.state(), VcpuState::Stopping);
    life.finish();
    assert!(life.settled(Goal::Stop));
}

#[test]
fn c4_a_vcpu_that_comes_up_while_the_vm_stops_leaves() {
    let mut life = Life::absent();
    life.plug().unwrap();
    assert_eq!(life.advance(), Next::Plug);
    life.ask(Goal::Stop);
    life.ask(Goal::Run);
    life.plugged();
    assert_eq!(life.advance(), Next::Leave);
}

#[test]
fn c1_one_that_cannot_be_made_is_absent_and_can_be_added_again() {
    let mut life = Life::absent();
    life.plug().unwrap();
    life.not_made();
    assert_eq!(life.state(), VcpuState::Absent);
    assert_eq!(life.unplug(), Err(Refused::NotPresent));
    assert_eq!(life.plug(), Ok(Plug::Create));
    assert_eq!(life.advance(), Next::Plug);
    life.not_made();
    assert_eq!(life.state(), VcpuState::Starting, "it has a thread");
}

/// Whoever made it absent would have a second thread made for it.
#[test]
fn c1_one_that_has_a_thread_is_made() {
    let mut life = offline(Goal::Run);
    assert_eq!(life.plug(), Ok(Plug::Wake));
    life.not_made();
    assert_eq!(life.state(), VcpuState::Starting);
}

/// What is taken offline was online: the one that wires it up need not ask.
#[test]
fn one_that_is_to_go_before_it_came_comes_first() {
    let mut life = Life::absent();
    life.ask(Goal::Run);
    life.plug().unwrap();
    assert_eq!(life.unplug(), Ok(()));
    assert_eq!(life.advance(), Next::Plug);
    life.plugged();
    assert_eq!(life.advance(), Next::Unplug);
    life.unplugged();
    assert_eq!(life.state(), VcpuState::Offline);
}

#[test]
fn states_and_goals_have_names() {
    let names = VcpuState::ALL.map(|state| state.to_string());
    assert_eq!(
        names.join(" "),
        "absent starting running paused stopping offline finished"
    );
    let goals = [Goal::Run, Goal::Pause, Goal::Stop].map(|goal| goal.to_string());
    assert_eq!(goals.join(" "), "run pause stop");
}
