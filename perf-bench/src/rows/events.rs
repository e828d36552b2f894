// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What is done to an event, beside Linux's price for the same.

use std::hint::black_box;

use vcpu_call::VcpuId;
use vpmu::context::Attr;

use super::Setting;
use crate::engine::{Engine, Overflowing, cycles};
use crate::linux::{self, Target, acts};
use crate::measure::{Failure, Side, medians};
use crate::row::{Kind, Row};
use crate::threads::Blocked;

/// Tens of nanoseconds and more: the clock is small beside so many.
const BATCH: u32 = 32;

/// What the limits on the ratio are: the least that makes doing it in the VMM worth while.
const TENTH: f64 = 0.1;

const VCPU: VcpuId = VcpuId(0);

/// On the current task of the vCPU whose thread opens it.
pub(super) fn open_close_own(name: &'static str, setting: &Setting) -> Result<Row, Failure> {
    let engine = quiet();
    let mut vcpu = engine.vcpu(VCPU)?;
    let task = engine.current(&mut vcpu)?;
    let ours = Side::new(BATCH, || Ok(engine.open_close(&task, &mut vcpu)?));
    let theirs = acts::open_close(Target::Own);
    let against = "Linux: open and close on the calling thread";
    let row = super::beside_linux(name, setting, ours, theirs, against)?;
    Ok(row.ratio_at_most(TENTH))
}

/// On a task that is blocked, on a vCPU that is online.
pub(super) fn open_close_blocked(name: &'static str, setting: &Setting) -> Result<Row, Failure> {
    let engine = quiet();
    let mut vcpu = engine.vcpu(VCPU)?;
    let task = engine.blocked(&mut vcpu)?;
    let mut host = engine.host();
    let ours = Side::new(BATCH, || Ok(engine.open_close(&task, &mut host)?));
    let against = "Linux: open and close on a thread that is blocked";
    let row = beside_blocked(name, setting, ours, acts::open_close, against)?;
    Ok(row.ratio_at_most(TENTH))
}

/// On an event of a blocked task.
pub(super) fn enable_disable(name: &'static str, setting: &Setting) -> Result<Row, Failure> {
    let engine = quiet();
    let mut vcpu = engine.vcpu(VCPU)?;
    let task = engine.blocked(&mut vcpu)?;
    let mut host = engine.host();
    let event = engine.open(sampling(), &task, &mut host)?;
    let ours = Side::new(BATCH, || {
        engine.perf().enable(&event, &mut host)?;
        engine.perf().disable(&event, &mut host)?;
        Ok(())
    });
    let against = "Linux: enable and disable, of a thread that is blocked";
    let row = beside_blocked(name, setting, ours, acts::enable_disable, against)?;
    Ok(row.ratio_at_most(TENTH))
}

/// On an event of the current task of the calling vCPU, which is disabled again.
pub(super) fn refresh_own(name: &'static str, setting: &Setting) -> Result<Row, Failure> {
    let engine = quiet();
    let mut vcpu = engine.vcpu(VCPU)?;
    let task = engine.current(&mut vcpu)?;
    let event = engine.open(sampling(), &task, &mut vcpu)?;
    let ours = Side::new(BATCH, || {
        engine.perf().refresh(&event, 1, &mut vcpu)?;
        engine.perf().disable(&event, &mut vcpu)?;
        Ok(())
    });
    let against = "Linux: refresh and disable, of the calling thread";
    super::beside_linux(name, setting, ours, acts::refresh_disable(), against)
}

/// An event that is on a counter of the calling vCPU.
pub(super) fn read_own(name: &'static str, setting: &Setting) -> Result<Row, Failure> {
    let engine = quiet();
    let mut vcpu = engine.vcpu(VCPU)?;
    let task = engine.current(&mut vcpu)?;
    let event = engine.open(Attr::counting(cycles()), &task, &mut vcpu)?;
    let ours = Side::new(BATCH, || {
        black_box(engine.perf().read(&event, &mut vcpu)?);
        Ok(())
    });
    let against = "Linux: read, of the calling thread";
    super::beside_linux(name, setting, ours, acts::read(), against)
}

/// From the exit in which an event overflows to the entry after the guest took the trap.
pub(super) fn overflow_to_trap(name: &'static str, setting: &Setting) -> Result<Row, Failure> {
    let mut overflowing = Overflowing::trapping()?;
    let ours = Side::new(BATCH, || {
        overflowing.overflow();
        let trap = overflowing.to_user()?;
        black_box(trap.ok_or("an overflow without a trap")?);
        Ok(())
    });
    let (theirs, against) = match acts::overflow_to_trap() {
        Ok((side, trigger)) => (Ok(side), trigger.describe()),
        Err(error) => (Err(error), "Linux: an overflow, SIGTRAP's handler and back"),
    };
    super::beside_linux(name, setting, ours, theirs, against)
}

/// An engine whose vCPUs nobody has to kick.
fn quiet() -> Engine {
    Engine::new(1, |_| ())
}

/// What the peer samples with: it never overflows here.
fn sampling() -> Attr {
    Attr {
        disabled: true,
        ..Attr::sampling(cycles(), linux::PERIOD)
    }
}

/// Beside Linux doing `act` to a thread that is blocked on another CPU, as one that somebody else
/// watches mostly is. Linux asks that CPU, at the price of an interrupt; so what it pays for a
/// thread on the asking CPU is told as well.
fn beside_blocked<'a>(
    name: &'static str,
    setting: &Setting,
    ours: Side<'_>,
    act: fn(Target) -> Result<Side<'a>, linux::Error>,
    against: &str,
) -> Result<Row, Failure> {
    let near = Blocked::on(setting.cpus.ours)?;
    let near_act = act(Target::Thread(near.id()));
    let Some(cpu) = setting.cpus.other else {
        let against = format!("{against} on the only CPU");
        return super::beside_linux(name, setting, ours, near_act, &against);
    };
    let far = Blocked::on(cpu)?;
    let against = format!("{against} on another CPU");
    match (act(Target::Thread(far.id())), near_act) {
        (Ok(far_act), Ok(near_act)) => {
            let mut sides = [ours, far_act, near_act];
            let [value, far, near] = medians(setting.method, &mut sides)?;
            let against = format!("{against}; on this CPU it takes {near:.0} ns");
            Ok(Row::new(name, value, Ok(far), &against, Kind::SystemCall))
        }
        (Err(why), _) | (_, Err(why)) => {
            super::beside_linux(name, setting, ours, Err(why), &against)
        }
    }
}
