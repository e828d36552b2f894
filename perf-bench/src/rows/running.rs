// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Opening an event on a task that runs on another vCPU, beside Linux's price and the kick's.
//!
//! Each act begins when that vCPU is in its guest, so that it takes a kick.

use std::time::Duration;

use vcpu_call::VcpuId;
use vpmu::context::{Attr, Task};

use super::Setting;
use crate::engine::{self, Engine};
use crate::kick::Signals;
use crate::linux::{Target, acts};
use crate::measure::{Failure, Side, medians};
use crate::row::{Kind, Row};
use crate::running::{Running, Wait};

/// What two acts may take that are sent one by one, and a microsecond for all the rest.
const KICKS: f64 = 2.0;
const REST: f64 = 1_000.0;

const VCPU: VcpuId = VcpuId(0);

const AGAINST: &str = "Linux: open and close on a thread that runs on another CPU";

/// Opens and closes at once: the vCPU that left its guest for the one is found outside by the other.
pub(super) fn open_close(name: &'static str, setting: &Setting) -> Result<Row, Failure> {
    let target = RunningTask::new(setting)?;
    let mut host = target.engine.host();
    let ours = target
        .vcpu
        .side(|| Ok(target.engine.open_close(&target.task, &mut host)?));
    let measured = target.measure(ours, setting)?;
    let limit = KICKS * measured.spinning + REST;
    let because = format!("{KICKS} {} and 1 us", measured.kick());
    let row = Row::new(
        name,
        measured.value,
        measured.peer,
        AGAINST,
        Kind::SystemCall,
    );
    Ok(row.value_at_most(limit, because))
}

/// Opens, and closes when the vCPU is back in its guest: two kicks.
pub(super) fn open_close_apart(name: &'static str, setting: &Setting) -> Result<Row, Failure> {
    let target = RunningTask::new(setting)?;
    let RunningTask { engine, task, vcpu } = &target;
    let mut host = engine.host();
    let ours = Side::timing_itself(1, move |times| {
        let mut took = Duration::ZERO;
        for _ in 0..times {
            let attr = Attr::counting(engine::cycles());
            let (event, opened) = vcpu.time(|| Ok(engine.open(attr, task, &mut host)?))?;
            let ((), closed) = vcpu.time(|| Ok(engine.perf().close(&event, &mut host)?))?;
            took += opened + closed;
        }
        Ok(took)
    });
    let measured = target.measure(ours, setting)?;
    let against = format!("{AGAINST}; ours take two {}", measured.kick());
    Ok(Row::new(
        name,
        measured.value,
        measured.peer,
        &against,
        Kind::SystemCall,
    ))
}

/// A vCPU in its guest, and its current task. It takes the engine's calls, it is Linux's target, and
/// it acknowledges bare kicks.
struct RunningTask {
    engine: Engine,
    task: Task,
    vcpu: Running,
}

/// Medians in ns.
struct Measured {
    value: f64,
    peer: Result<f64, String>,
    /// A kick, acknowledged to a thread that looks for it, as a caller does; and to one that sleeps.
    spinning: f64,
    asleep: f64,
}

impl RunningTask {
    fn new(setting: &Setting) -> Result<Self, Failure> {
        let signals = Signals::new(1);
        let engine = Engine::new(1, signals.clone());
        let mut vcpu = engine.vcpu(VCPU)?;
        let task = engine.current(&mut vcpu)?;
        let vcpu = Running::start(setting.other()?, move |thread| {
            signals.bind(VCPU, thread);
            move || engine::before_entry(&mut vcpu)
        })?;
        Ok(Self { engine, task, vcpu })
    }

    /// `ours` in turn with bare kicks and with Linux, if that opens events here.
    fn measure(&self, ours: Side<'_>, setting: &Setting) -> Result<Measured, Failure> {
        let asleep = self.vcpu.side(|| Ok(self.vcpu.kick(Wait::Asleep)?));
        let spinning = self.vcpu.side(|| Ok(self.vcpu.kick(Wait::Spinning)?));
        let theirs = acts::open_close(Target::Thread(self.vcpu.id()));
        let (value, asleep, spinning, peer) = match theirs {
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
        Ok(Measured {
            value,
            peer,
            spinning,
            asleep,
        })
    }
}

impl Measured {
    fn kick(&self) -> String {
        let Self {
            spinning, asleep, ..
        } = self;
        format!("bare kicks of {spinning:.0} ns ({asleep:.0} ns to a kicker that sleeps)")
    }
}
