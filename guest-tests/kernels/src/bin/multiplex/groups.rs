// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Groups: all of their events count the same ticks.

use rt::sched::port::{self, Errno, Id, Open};
use rt::tap::Outcome;
use rt::text::Text;
use rt::{check, check_eq};

use crate::events::{COUNTERS, Events, reading, task, ticks, vcpu};
use crate::worker::Worker;

const ROUND: u64 = 1_000;
const MEMBERS: usize = 5;
/// One more than fit.
const GROUPS: usize = COUNTERS / MEMBERS + 1;
/// How many fit.
const FIT: u64 = GROUPS as u64 - 1;

type Group = [Id; MEMBERS];

fn group(events: &mut Events, open: Open) -> Result<Group, Text> {
    let leader = events.open(open)?;
    let mut group = [leader; MEMBERS];
    for member in &mut group[1..] {
        *member = events.open(Open {
            leader: Some(leader),
            ..open
        })?;
    }
    Ok(group)
}

/// What each member counted, if that is the same.
fn count(group: &Group) -> Result<u64, Text> {
    let [leader, rest @ ..] = group;
    let count = reading(*leader)?.count;
    for member in rest {
        check_eq!(reading(*member)?.count, count, "the count of a member");
    }
    Ok(count)
}

fn counts(groups: &[Group; GROUPS]) -> Result<[u64; GROUPS], Text> {
    let mut counts = [0; GROUPS];
    for (count_of, group) in counts.iter_mut().zip(groups) {
        *count_of = count(group)?;
    }
    Ok(counts)
}

pub(crate) fn whole() -> Outcome {
    let mut worker = Worker::ticking(ROUND)?;
    let on = task(worker.tid)?;
    let mut events = Events::new();
    let first = group(&mut events, ticks(on))?;
    let mut groups = [first; GROUPS];
    for more in &mut groups[1..] {
        *more = group(&mut events, ticks(on))?;
    }
    worker.rounds_until(|| Ok(counts(&groups)?.iter().all(|&count| count > 0)))?;
    let before = counts(&groups)?;
    check_eq!(
        before.iter().sum::<u64>(),
        worker.ticks() * FIT,
        "counts of all groups"
    );

    // One less, and all of the others count all the time.
    let [out, ..] = first;
    port::must("disabling a group", |vcpu| vcpu.disable_group(out))?;
    worker.round()?;
    let after = counts(&groups)?;
    let more: [u64; GROUPS] = core::array::from_fn(|group| after[group] - before[group]);
    let mut expected = [ROUND; GROUPS];
    expected[0] = 0;
    check_eq!(more, expected, "counts without the first group");

    port::must("enabling a group", |vcpu| vcpu.enable_group(out))?;
    worker.rounds_until(|| Ok(count(&first)? > after[0]))?;
    let all = worker.ticks() * FIT;
    check_eq!(
        counts(&groups)?.iter().sum::<u64>(),
        all,
        "counts with it again"
    );
    Ok(())
}

pub(crate) fn too_large() -> Outcome {
    let mut worker = Worker::ticking(ROUND)?;
    let mut events = Events::new();
    let leader = events.open(ticks(vcpu()))?;
    let member = Open {
        leader: Some(leader),
        ..ticks(vcpu())
    };
    for _ in 1..COUNTERS {
        events.open(member)?;
    }
    let refusal = events.try_open(member);
    check!(refusal == Err(Errno::Invalid), "one more: {refusal:?}");
    worker.round()?;
    events.all_counted(ROUND)
}
