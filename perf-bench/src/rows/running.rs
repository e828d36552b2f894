// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Opening an event on a task that runs on another vCPU, beside Linux's price and the kick's.

use vcpu_call::VcpuId;
use vpmu::context::Task;

use super::Setting;
use crate::engine::{self, Engine};
use crate::kick::Signals;
use crate::linux::{Target, acts};
use crate::measure::{Failure, Side, medians};
use crate::row::{Kind, Row};
use crate::running::{Running, Wait};

/// Dear enough to be timed alone.
const BATCH: u32 = 1;

/// Opening takes a kick, closing takes another, and a microsecond is for all the rest.
const KICKS: f64 = 2.0;
const REST: f64 = 1_000.0;

const VCPU: VcpuId = VcpuId(0);

const AGAINST: &str = "Linux: open and close on a thread that runs on another CPU";

/// All sides reach the same thread in its guest: it takes the engine's calls, it is Linux's target,
/// and it acknowledges bare kicks.
pub(super) fn open_close(name: &'static str, setting: &Setting) -> Result<Row, Failure> {
    let (engine, task, vcpu) = vcpu(setting)?;
    let mut host = engine.host();
    let ours = Side::new(BATCH, || Ok(engine.open_close(&task, &mut host)?));
    let asleep = Side::new(BATCH, || Ok(vcpu.kick(Wait::Asleep)?));
    let spinning = Side::new(BATCH, || Ok(vcpu.kick(Wait::Spinning)?));
    let (value, asleep, spinning, peer) = match acts::open_close(Target::Thread(vcpu.id())) {
        Ok(theirs) => {
            let mut sides = [ours, asleep, spinning, theirs];
            let [value, asleep, spinning, peer] = medians(setting.method, &mut sides)?;
            (value, asleep, spinning, Ok(peer))
        }
        Err(why) => {
            let mut sides = [ours, asleep, spinning];
            let [value, asleep, spinning] = medians(setting.method, &mut sides)?;
            (value, asleep, spinning, Err(why.to_string()))
        }
    };
    let because = format!(
        "{KICKS} bare kicks of {spinning:.0} ns and 1 us; whoever kicks looks for the \
         acknowledgement, as a caller does; one that sleeps waits {asleep:.0} ns"
    );
    let row = Row::new(name, value, peer, AGAINST, Kind::SystemCall);
    Ok(row.value_at_most(KICKS * spinning + REST, because))
}

/// A vCPU in its guest, and its current task.
fn vcpu(setting: &Setting) -> Result<(Engine, Task, Running), Failure> {
    let signals = Signals::new(1);
    let engine = Engine::new(1, signals.clone());
    let mut vcpu = engine.vcpu(VCPU)?;
    let task = engine.current(&mut vcpu)?;
    let running = Running::start(setting.other()?, move |thread| {
        signals.bind(VCPU, thread);
        move || engine::before_entry(&mut vcpu)
    })?;
    Ok((engine, task, running))
}
