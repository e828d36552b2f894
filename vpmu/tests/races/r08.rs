// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! R8: exit, close and an ioctl of the same event at once. The context's gate puts them in an order;
//! the event leaves its context once, whichever it is.

use vpmu::context::{Event, PerfError, Task};

use crate::other::*;
use crate::rig::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Does {
    Exit,
    Close,
    Disable,
}

use Does::{Close, Disable, Exit};

const ORDERS: [[Does; 3]; 6] = [
    [Exit, Close, Disable],
    [Exit, Disable, Close],
    [Close, Exit, Disable],
    [Close, Disable, Exit],
    [Disable, Exit, Close],
    [Disable, Close, Exit],
];

fn act(does: Does, task: &Task, event: &Event) -> Act<Result<(), PerfError>> {
    let (task, event) = (task.clone(), event.clone());
    match does {
        Exit => Box::new(move |perf, by| perf.exit(&task, by)),
        Close => Box::new(move |perf, by| perf.close(&event, by)),
        Disable => Box::new(move |perf, by| perf.disable(&event, by)),
    }
}

/// 1. t is current on vCPU 0; its event has a trap on its way.
/// 2. The first of exit, close and disable is inside the gate and calls vCPU 0.
/// 3. The second and the third come to the gate, in this order.
/// 4. They go through it one after the other. Only the ioctl that comes after close is refused.
///
/// In all six orders the event left its counter once, the trap was sent or dropped once, and a
/// second event of t is as the exit left it.
#[test]
fn r08_exit_close_and_ioctl_in_every_order() {
    for order in ORDERS {
        let mut rig = Rig::new(1, 4);
        let task = rig.task(0);
        let event = rig.open_task(trapping(10, 5), &task);
        let beside = rig.open_task(trapping(1_000, 6), &task);
        rig.run_task(0, &task);
        rig.happen(0, 12);
        rig.log.clear();
        let others = order[1..].iter().map(|does| act(*does, &task, &event));
        let queue = Queue::while_called(&mut rig, others.collect());
        let mut results = vec![match order[0] {
            Exit => rig.exit(&task),
            Close => rig.close(&event),
            Disable => rig.disable(&event),
        }];
        results.extend(queue.finish(&mut rig));

        let closed_at = order.iter().position(|does| *does == Close);
        for (at, (does, result)) in order.iter().zip(&results).enumerate() {
            let late = *does == Disable && Some(at) > closed_at;
            let expected = if late { Err(PerfError::Closed) } else { Ok(()) };
            assert_eq!(*result, expected, "{does:?} of {order:?}");
        }
        assert_eq!(rig.moves(&event), (0, 1), "{order:?}");
        assert_eq!(rig.moves(&beside), (0, 1), "{order:?}");
        let traps = event.traps();
        assert_eq!((traps.queued, traps.merged, traps.refused), (1, 0, 0));
        assert_eq!((traps.sent, traps.dropped), (0, 1), "{order:?}");
        assert_eq!(rig.drain_traps(0), []);
        assert_eq!(rig.perf.status(&event), Err(PerfError::Closed));
        assert_eq!(rig.close(&event), Err(PerfError::Closed));
        assert_eq!(rig.count_of(&beside), 12, "{order:?}");
        rig.close(&beside).unwrap();
    }
}
