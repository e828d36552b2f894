// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Events are opened, read and closed on the task all the time, while its vCPU goes and comes: the
//! asker may find the vCPU there, and be refused by it a moment later.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rt::sched::Tid;
use rt::sched::port::{self, EventNumber, Open};
use rt::tap::Outcome;
use rt::{check, diag, smp, time};

use crate::stuck::{Gone, blocks_on, end_all, plug_in, runs, unplug};
use crate::{INSTALLER, STUCK, asker};

const TRIPS: u64 = 12;
/// Events that are opened at least while the vCPU is gone, and while it is there.
const EACH_TIME: u64 = 3;
/// How long those may take.
const PATIENCE_MS: u64 = 20_000;

static TASK: AtomicU64 = AtomicU64::new(0);
static OPENED: AtomicU64 = AtomicU64::new(0);
static OVER: AtomicBool = AtomicBool::new(false);

pub(crate) fn trips() -> Outcome {
    let task = blocks_on(STUCK)?;
    TASK.store(task.0 as u64, Relaxed);
    OVER.store(false, Relaxed);
    smp::start(INSTALLER, installer);
    let moved = (0..TRIPS).try_for_each(|trip| {
        unplug(if trip % 2 == 0 {
            Gone::Tidy
        } else {
            Gone::AsItWas
        })?;
        some_more()?;
        plug_in()?;
        some_more()?;
        // The task has run there since, or where it is stuck would be old news.
        runs(task, STUCK)
    });
    OVER.store(true, Relaxed);
    if !smp::is_online(STUCK) {
        // Whoever waits for it, against the rules, is not to hold the run up.
        plug_in()?;
    }
    // Its own reason, if it has one.
    let own = smp::finish(INSTALLER);
    own.and(moved)?;
    diag!("{TRIPS} trips, {} events opened", OPENED.load(Relaxed));
    end_all()
}

fn some_more() -> Outcome {
    let before = OPENED.load(Relaxed);
    let enough = || OPENED.load(Relaxed) >= before + EACH_TIME;
    let opened = time::wait_ms(PATIENCE_MS, enough);
    check!(
        opened,
        "{} events opened, not {EACH_TIME}, in {PATIENCE_MS} ms",
        OPENED.load(Relaxed) - before
    );
    Ok(())
}

/// The work of the installer: the first event of a task, again and again.
fn installer() -> Outcome {
    let task = Tid(rt::index(TASK.load(Relaxed)));
    let open = Open::new(EventNumber::PortTick, asker::target(task));
    port::visit(|| {
        while !OVER.load(Relaxed) {
            let opened = port::must("open", |port| port.open(&open))?;
            let reading = port::must("read", |port| port.read(opened.event))?;
            check!(reading.is_some(), "end of file: not pinned, and in error");
            port::must("close", |port| port.close(opened.event))?;
            OPENED.fetch_add(1, Relaxed);
        }
        Ok(())
    })
}
