// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A parent and a child take turns, and one of the two has an event of its own: they are not alike,
//! so they must not trade (W2).

use rt::sched::port::OpenFlags;
use rt::sched::{self, Step};
use rt::tap::Outcome;
use rt::{check_eq, fail};

use crate::family::{Counter, at_rest, end_all, others, wake_all};

const CPU: usize = 1;
const ROUNDS: u64 = 25;
const OF_PARENT: u64 = 3;
const OF_CHILD: u64 = 5;

/// Who has an event of its own, in which order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    Parent,
    Child,
}

/// Which of the two has the context that was copied depends on how often they traded by then: so
/// each is the first once.
pub(crate) fn both_ways() -> Outcome {
    apart([Who::Parent, Who::Child])?;
    apart([Who::Child, Who::Parent])
}

fn apart(order: [Who; 2]) -> Outcome {
    let script = [
        Step::blocks(),
        Step::forks(7),
        Step::blocks(),
        Step::store(OF_PARENT),
        Step::yields(),
        Step::repeats(3, ROUNDS),
        Step::goes_to(2),
        // The child.
        Step::blocks(),
        Step::store(OF_CHILD),
        Step::yields(),
        Step::repeats(8, ROUNDS),
        Step::goes_to(7),
    ];
    let parent = sched::spawn("parent", CPU, &script)?;
    at_rest(1)?;
    let family = Counter::on(parent, OpenFlags::INHERIT)?;
    sched::wake(parent, CPU);
    at_rest(2)?;
    let Some(child) = others(parent).next() else {
        fail!("no child");
    };
    let mut counted = 0;
    for who in order {
        let (task, stores) = match who {
            Who::Parent => (parent, OF_PARENT),
            Who::Child => (child, OF_CHILD),
        };
        let own = Counter::on(task, OpenFlags::NONE)?;
        for times in 1..=2 {
            wake_all(CPU);
            at_rest(2)?;
            counted += ROUNDS * (OF_PARENT + OF_CHILD);
            family.expect(counted, "the family")?;
            own.expect(times * ROUNDS * stores, "the event of one")?;
        }
        own.close()?;
    }
    wake_all(CPU);
    at_rest(2)?;
    counted += ROUNDS * (OF_PARENT + OF_CHILD);
    family.expect(counted, "the family, when there is nothing else")?;
    end_all()?;
    family.expect(counted, "the family, dead")?;
    check_eq!(sched::tasks().count(), 0, "tasks left");
    family.close()
}
