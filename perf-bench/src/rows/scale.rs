// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The same among many as among few.

use vcpu_call::VcpuId;
use vpmu::context::{Attr, Leaves, Task};

use super::Setting;
use crate::engine::{Engine, Vcpu, cycles};
use crate::measure::{Failure, Side, medians};
use crate::row::{Kind, Row};

/// Full rounds over ten tasks on each of two vCPUs.
const BATCH: u32 = 40;

/// How many tasks take part, however many there are.
const TASKS: usize = 10;

/// What there may be more among many: noise, and the caches' part.
const LIMIT: f64 = 1.2;

/// Ten tasks while 100,000 exist, each of the others with an event.
pub(super) fn tasks(name: &'static str, setting: &Setting) -> Result<Row, Failure> {
    let against = "the same while no other tasks exist";
    beside(
        name,
        setting,
        Crowd::new(1, 100_000)?,
        Crowd::new(1, TASKS)?,
        against,
    )
}

/// Two vCPUs while 256 are online.
pub(super) fn vcpus(name: &'static str, setting: &Setting) -> Result<Row, Failure> {
    let against = "the same while no other vCPUs exist";
    beside(
        name,
        setting,
        Crowd::new(256, TASKS)?,
        Crowd::new(2, TASKS)?,
        against,
    )
}

fn beside(
    name: &'static str,
    setting: &Setting,
    mut many: Crowd,
    mut few: Crowd,
    against: &str,
) -> Result<Row, Failure> {
    let mut sides = [&mut many, &mut few].map(|crowd| Side::new(BATCH, || crowd.step()));
    let [value, peer] = medians(setting.method, &mut sides)?;
    let row = Row::new(name, value, Ok(peer), against, Kind::LibraryCall);
    Ok(row.ratio_at_most(LIMIT))
}

/// Tasks and vCPUs, of which a few take part and the others just are.
struct Crowd {
    engine: Engine,
    /// The first vCPU and the last one; one only if there are no more.
    vcpus: Vec<Vcpu>,
    tasks: Vec<Task>,
    steps: usize,
    _other_vcpus: Vec<Vcpu>,
    _other_tasks: Vec<Task>,
}

impl Crowd {
    /// The tasks that take part are evenly spread among all.
    fn new(vcpus: u32, tasks: usize) -> Result<Self, Failure> {
        let engine = Engine::new(vcpus, |_| ());
        let ids = (0..vcpus).map(VcpuId);
        let mut all = ids
            .map(|id| engine.vcpu(id))
            .collect::<Result<Vec<_>, _>>()?;
        let mut part = vec![all.remove(0)];
        part.extend(all.pop());
        let mut host = engine.host();
        let (mut taking_part, mut others) = (Vec::new(), Vec::new());
        for number in 0..tasks {
            let task = engine.perf().create_task(VcpuId(0))?;
            if number.is_multiple_of(tasks / TASKS) {
                taking_part.push(task);
            } else {
                engine.open(Attr::counting(cycles()), &task, &mut host)?;
                others.push(task);
            }
        }
        Ok(Self {
            engine,
            vcpus: part,
            tasks: taking_part,
            steps: 0,
            _other_vcpus: all,
            _other_tasks: others,
        })
    }

    /// An event is opened on the next task, which does not run, a switch puts it onto a counter, and
    /// there it is closed. After the last task it is the next vCPU's turn.
    fn step(&mut self) -> Result<(), Failure> {
        let (pass, at) = (self.steps / TASKS, self.steps % TASKS);
        self.steps += 1;
        let turn = pass % self.vcpus.len();
        let vcpu = &mut self.vcpus[turn];
        let task = &self.tasks[at];
        let prev = at.checked_sub(1).map(|prev| &self.tasks[prev]);
        let event = self.engine.open(Attr::counting(cycles()), task, vcpu)?;
        let cpu = vcpu.cpu_mut();
        cpu.switch(prev, Leaves::Queued, Some(task.clone()))?;
        self.engine.perf().close(&event, vcpu)?;
        if at + 1 == TASKS {
            let cpu = vcpu.cpu_mut();
            cpu.switch(Some(task), Leaves::Queued, None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use vpmu::context::order::Place;

    use super::*;

    #[test]
    fn the_same_few_take_part_in_any_crowd() {
        for (vcpus, tasks) in [(1, TASKS), (1, 40), (2, TASKS), (5, TASKS)] {
            let mut crowd = Crowd::new(vcpus, tasks).unwrap();
            assert_eq!(crowd.tasks.len(), TASKS);
            assert_eq!(crowd._other_tasks.len(), tasks - TASKS);
            assert_eq!(crowd.vcpus.len() + crowd._other_vcpus.len(), vcpus as usize);
            for _ in 0..2 * TASKS {
                crowd.step().unwrap();
            }
            let last = Place::Queued(crowd.vcpus.last().unwrap().cpu().id());
            assert!(crowd.tasks.iter().all(|task| task.place() == last));
        }
    }
}
