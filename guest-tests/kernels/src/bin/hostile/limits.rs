// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The port's limits, which are those of a machine for which nobody chose others.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rt::sched::port::{self, Errno, EventNumber, Id, Name, Open, Target};
use rt::tap::Outcome;
use rt::{check, check_eq};

const TASKS: usize = 4096;
const EVENTS: usize = 1024;

static IDS: [AtomicU64; TASKS] = [const { AtomicU64::new(0) }; TASKS];

/// As many as there may be can be made, not one more, and each that goes makes room for one.
pub(crate) fn reached() -> Outcome {
    fill(
        &IDS,
        || port::ask(|port| port.create(0, Name::new("one of many"))),
        |id| port::ask(|port| port.exit(id)),
    )?;
    let open = Open::new(EventNumber::PortTick, Target::Vcpu(0));
    fill(
        &IDS[..EVENTS],
        || port::ask(|port| port.open(&open)).map(|opened| opened.event),
        |id| port::ask(|port| port.close(id)),
    )
}

fn fill(
    ids: &[AtomicU64],
    make: impl Fn() -> Result<Id, Errno>,
    end: impl Fn(Id) -> Result<(), Errno>,
) -> Outcome {
    let most = ids.len();
    for (made, place) in ids.iter().enumerate() {
        match make() {
            Ok(id) => place.store(id.get(), Relaxed),
            Err(errno) => rt::fail!("{errno:?} after {made} of {most}"),
        }
    }
    check_eq!(make(), Err(Errno::NoMemory), "one more");
    // One that goes makes room for one.
    let first = ids.first().and_then(|place| Id::new(place.load(Relaxed)));
    let Some(first) = first else {
        rt::fail!("there was no first one");
    };
    check_eq!(end(first), Ok(()), "the end of the first");
    let again = make();
    check!(
        again.is_ok_and(|again| again > first),
        "instead of the first: {again:?}"
    );
    check_eq!(make(), Err(Errno::NoMemory), "one more again");
    let others = ids.iter().skip(1);
    let others = others.filter_map(|place| Id::new(place.load(Relaxed)));
    for id in others.chain(again) {
        check_eq!(end(id), Ok(()), "the end of one");
    }
    Ok(())
}
