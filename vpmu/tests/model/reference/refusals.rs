// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Every reason to refuse something.

use vpmu::context::Attr;

use super::{Reference, Task, Vcpu, Whereabouts};
use crate::world::{Deed, Place};

const ESRCH: i32 = 3;
const EBADF: i32 = 9;
const EBUSY: i32 = 16;
const ENODEV: i32 = 19;
const EINVAL: i32 = 22;

impl Reference {
    /// Every reason to refuse it.
    pub(super) fn refusals(&self, deed: &Deed) -> Vec<i32> {
        let mut errnos = Vec::new();
        let mut unless = |fine: bool, errno| {
            if !fine {
                errnos.push(errno);
            }
        };
        match *deed {
            Deed::Switch(vcpu, prev, _, next) => {
                let Vcpu {
                    online, current, ..
                } = self.vcpus[vcpu as usize];
                unless(online, ENODEV);
                unless(prev == current, EINVAL);
                if let Some(next) = next {
                    let Task { at, exited, .. } = self.tasks[next];
                    unless(!exited, ESRCH);
                    unless(!matches!(at, Whereabouts::Current(_)), EBUSY);
                    unless(!matches!(at, Whereabouts::Blocked(_)), EINVAL);
                }
            }
            Deed::Migrate(task, _) => {
                let Task { at, exited, .. } = self.tasks[task];
                unless(!exited, ESRCH);
                unless(!matches!(at, Whereabouts::Current(_)), EBUSY);
            }
            Deed::Wake(task, _) => {
                let Task { at, exited, .. } = self.tasks[task];
                unless(!exited, ESRCH);
                unless(matches!(at, Whereabouts::Blocked(_)), EINVAL);
            }
            Deed::Fork(task) | Deed::Exec(task) | Deed::Exit(task) => {
                unless(!self.tasks[task].exited, ESRCH);
            }
            Deed::Open(attr, place, group) => {
                unless(self.goes_together(&attr, &place, group.is_some()), EINVAL);
                match place {
                    Place::Task(task, _) => unless(!self.tasks[task].exited, ESRCH),
                    Place::Vcpu(vcpu) => unless(self.vcpus[vcpu as usize].online, ENODEV),
                }
                if let Some(leader) = group {
                    unless(!self.is_closed(leader), EBADF);
                    unless(self.may_join(&attr, &place, leader), EINVAL);
                }
            }
            Deed::Close(file)
            | Deed::Enable(file)
            | Deed::Disable(file)
            | Deed::Reset(file)
            | Deed::EnableGroup(file)
            | Deed::DisableGroup(file)
            | Deed::ResetGroup(file) => unless(!self.is_closed(file), EBADF),
            Deed::Refresh(file, _) => {
                let Attr {
                    inherit, period, ..
                } = self.files[file].attr;
                unless(!self.is_closed(file), EBADF);
                unless(!inherit && period > 0, EINVAL);
            }
            Deed::Period(file, period) => {
                unless(!self.is_closed(file), EBADF);
                unless(self.files[file].attr.period > 0 && period > 0, EINVAL);
            }
            Deed::TrapDone(vcpu) => {
                let current = self.vcpus[vcpu as usize].current;
                unless(current.is_some_and(|task| self.tasks[task].trapped), EINVAL);
            }
            Deed::Online(_)
            | Deed::Offline(_)
            | Deed::Create(_)
            | Deed::Happen(..)
            | Deed::IrqWork(_)
            | Deed::Rotate(_)
            | Deed::Enter(_)
            | Deed::Pass(_) => {}
        }
        errnos
    }

    pub(super) fn goes_together(&self, attr: &Attr, place: &Place, grouped: bool) -> bool {
        let traps = attr.sigtrap.is_some();
        let follows_a_task = traps || attr.inherit || attr.remove_on_exec;
        (!traps || (attr.period > 0 && attr.remove_on_exec))
            && !(follows_a_task && matches!(place, Place::Vcpu(_)))
            && !(grouped && attr.pinned)
    }

    /// The leader leads, in the very set that the event would be in, with the same filter.
    pub(super) fn may_join(&self, attr: &Attr, place: &Place, leader: usize) -> bool {
        let file = &self.files[leader];
        let own = &self.members[file.own];
        let (set, only_on) = match *place {
            Place::Vcpu(vcpu) => (Some(self.vcpus[vcpu as usize].set), None),
            Place::Task(task, only_on) => (self.tasks[task].set, only_on),
        };
        set == Some(own.set)
            && own.listed
            && own.leader.is_none()
            && file.only_on == only_on
            && file.attr.inherit == attr.inherit
    }
}
