// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Counts, overflows, traps and time.

use vpmu::context::{Sample, Trap};

use super::Reference;
use crate::world::Deed;

impl Reference {
    /// Counts on a vCPU, before anything else of the step. What an exit finds traps nobody.
    pub(crate) fn unseen(&mut self, vcpu: u32, counts: u64, deed: &Deed) {
        let exiting = match *deed {
            Deed::Exit(task) => self.tasks[task].set,
            _ => None,
        };
        if let Some(set) = exiting {
            self.drop_traps(set);
        }
        self.count(vcpu, counts, Sample::default(), exiting);
    }

    pub(super) fn count(&mut self, vcpu: u32, counts: u64, sample: Sample, exiting: Option<usize>) {
        let here: Vec<_> = (0..self.members.len())
            .filter(|&one| self.counts_on(one) == Some(vcpu) && !self.members[one].stopping)
            .collect();
        for one in here {
            let refuses = exiting == Some(self.members[one].set);
            self.count_one(one, counts, sample, refuses);
        }
    }

    pub(super) fn count_one(&mut self, one: usize, counts: u64, sample: Sample, refuses: bool) {
        let member = &mut self.members[one];
        let file = &mut self.files[member.file];
        member.count += counts;
        member.progress += counts;
        let Some(mut overflows) = member.progress.checked_div(member.period) else {
            return;
        };
        if overflows == 0 {
            return;
        }
        member.progress %= member.period;
        if member.limit > 0 {
            if overflows >= member.limit {
                overflows = member.limit;
                member.progress = 0;
                member.stopping = true;
                member.hups += 1;
                file.told.1 += 1;
            }
            member.limit -= overflows;
        }
        member.overflows += overflows;
        file.told.0 += overflows;
        if file.attr.sigtrap.is_none() {
            return;
        }
        if refuses {
            file.traps.refused += overflows;
        } else if member.trap.is_some() {
            file.traps.merged += overflows;
        } else {
            file.traps.queued += 1;
            file.traps.merged += overflows - 1;
            let shown = sample.user || file.attr.config.os;
            member.trap = Some(if shown { sample.addr } else { 0 });
            self.sets[member.set].queue.push_back((self.step, one));
        }
    }

    /// Whether this trap is what must be delivered on `vcpu` now. Those of one step are in no
    /// particular order.
    pub(crate) fn delivers(&mut self, vcpu: u32, trap: Option<&Trap>) -> Result<(), String> {
        let task = self.vcpus[vcpu as usize].current;
        let task = task.filter(|&task| !self.tasks[task].exited && !self.tasks[task].trapped);
        let set = task.and_then(|task| self.tasks[task].set);
        let queue = set.map(|set| self.sets[set].queue.clone());
        let queue = queue.unwrap_or_default();
        let Some(&(oldest, _)) = queue.front() else {
            return trap.map_or(Ok(()), |trap| Err(format!("{trap:?} out of nothing")));
        };
        let trap = trap.ok_or_else(|| "there is a trap on its way".to_owned())?;
        let fits = |&(step, one): &(u64, usize)| {
            let member = &self.members[one];
            let data = self.files[member.file].attr.sigtrap;
            step == oldest && data == Some(trap.data) && member.trap == Some(trap.addr)
        };
        let place = queue.iter().position(fits);
        let place = place.ok_or_else(|| format!("{trap:?} is none of the oldest"))?;
        let (_, one) = queue[place];
        if let (Some(task), Some(set)) = (task, set) {
            self.sets[set].queue.remove(place);
            self.tasks[task].trapped = true;
        }
        self.members[one].trap = None;
        self.files[self.members[one].file].traps.sent += 1;
        Ok(())
    }

    pub(super) fn pass(&mut self, nanos: u64) {
        for one in 0..self.members.len() {
            let scheduled = self.scheduled_on(self.members[one].set).is_some();
            if scheduled && self.members[one].listed && self.is_awake(one) {
                let counts = self.counts_on(one).is_some();
                let member = &mut self.members[one];
                member.enabled += nanos;
                member.running += if counts { nanos } else { 0 };
            }
        }
    }

    pub(super) fn irq_work(&mut self, vcpu: u32) {
        for one in 0..self.members.len() {
            if self.members[one].stopping && self.counts_on(one) == Some(vcpu) {
                self.turn_off(one);
            }
        }
    }

    pub(super) fn drop_traps(&mut self, set: usize) {
        while let Some((_, one)) = self.sets[set].queue.pop_front() {
            self.members[one].trap = None;
            self.files[self.members[one].file].traps.dropped += 1;
        }
    }
}
