// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! vCPUs that come and go while the guest runs.
//!
//! Adding is the host's act: the vCPU is made or made anew, and its thread has the controller tell the
//! guest, which starts it by INIT and SIPI. It is the thread's part because whoever asked may have
//! lost patience by then: a vCPU that runs and that the guest does not know of could never be removed.
//! Removing is the guest's: the
//! controller asks, the guest stops using the vCPU and ejects it, and only then it goes offline. So
//! nothing is ever taken from a guest that still uses it, and a guest that does not answer costs
//! whoever asked no more than the time that he gave.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use devices::{CpuHotplugError, CpuHotplugEvents};
use vcpu_life::{Plug, Refused, VcpuState, Watch};

use crate::shared::Shared;
use crate::trace::Tracer;
use crate::vcpu::chain;
use crate::vm::VmError;

/// Why a vCPU was not added or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HotplugError {
    /// The machine has no room for a vCPU of this number.
    #[error("There is no vCPU {vcpu}: this VM has room for 0 to {}", max - 1)]
    NoSuchVcpu {
        /// The number asked for.
        vcpu: u32,
        /// How many vCPUs there can be.
        max: u32,
    },
    /// vCPU 0 cannot be removed.
    #[error("vCPU 0 cannot be removed: it is the one the guest booted on")]
    BootVcpu,
    /// It is there already.
    #[error("vCPU {0} is there already")]
    Present(u32),
    /// All vCPUs that there can be are there.
    #[error("All {0} vCPUs are there: start the VM with a larger max for more")]
    AllPresent(u32),
    /// It is not there.
    #[error("vCPU {0} is not there")]
    NotPresent(u32),
    /// The guest stands still and cannot give a vCPU back.
    #[error("The VM is paused: resume it first")]
    Paused,
    /// The guest did not give the vCPU back in time.
    #[error(
        "The guest did not give vCPU {vcpu} back within {} ms: it goes on, and goes if the guest still ejects it",
        waited.as_millis()
    )]
    NotHonoured {
        /// Which one.
        vcpu: u32,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The guest said that it keeps the vCPU.
    #[error("The guest refused to give vCPU {0} back")]
    Refused(u32),
    /// The host could not make the vCPU.
    #[error("vCPU {vcpu} could not be made: {why}")]
    NotMade {
        /// Which one.
        vcpu: u32,
        /// What the host said, and what to do about it.
        why: String,
    },
    /// The controller could not tell the guest.
    #[error(transparent)]
    Controller(#[from] CpuHotplugError),
    /// The VM's own part failed.
    #[error(transparent)]
    Vm(#[from] VmError),
}

/// What became of removals, for those who wait for one, whoever asked for it.
pub(crate) struct Removals {
    vcpus: Box<[Removal]>,
    tracer: Tracer,
    shared: OnceLock<Weak<Shared>>,
}

#[derive(Default)]
struct Removal {
    /// How often it went offline.
    done: AtomicU64,
    /// How often the guest refused.
    refused: AtomicU64,
}

impl Removals {
    /// `tracer` is told of every state.
    pub(crate) fn new(max: u32, tracer: Tracer) -> Self {
        Self {
            vcpus: (0..max).map(|_| Removal::default()).collect(),
            tracer,
            shared: OnceLock::new(),
        }
    }

    /// What the guest's acts are done to.
    pub(crate) fn connect(&self, shared: &Arc<Shared>) {
        // A VM is connected once.
        let _ = self.shared.set(Arc::downgrade(shared));
    }

    fn done(&self, vcpu: u32) -> u64 {
        let removal = self.vcpus.get(vcpu as usize);
        removal.map_or(0, |removal| removal.done.load(Ordering::SeqCst))
    }

    fn refused(&self, vcpu: u32) -> u64 {
        let removal = self.vcpus.get(vcpu as usize);
        removal.map_or(0, |removal| removal.refused.load(Ordering::SeqCst))
    }

    fn vm(&self) -> Option<Arc<Shared>> {
        self.shared.get().and_then(Weak::upgrade)
    }
}

impl Watch for Removals {
    fn changed(&self, vcpu: u32, state: VcpuState) {
        self.tracer.changed(vcpu, state);
        if state == VcpuState::Offline
            && let Some(removal) = self.vcpus.get(vcpu as usize)
        {
            removal.done.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl CpuHotplugEvents for Removals {
    fn ejected(&self, cpu: u8, _asked: bool) {
        if let Some(vm) = self.vm() {
            // Refused only by a VM that ends: what is present is plugged.
            let _ = vm.cpus.unplug(cpu.into());
        }
    }

    fn refused(&self, cpu: u8) {
        if let Some(removal) = self.vcpus.get(usize::from(cpu)) {
            removal.refused.fetch_add(1, Ordering::SeqCst);
        }
        if let Some(vm) = self.vm() {
            vm.cpus.look_again(cpu.into());
        }
    }
}

/// Adds vCPU `id`, or the lowest that is not there; gives which it was. A vCPU on its way out is
/// waited for, and the host's part of adding it may take up to `limit` as well.
pub(crate) fn add(
    shared: &Arc<Shared>,
    id: Option<u32>,
    limit: Duration,
) -> Result<u32, HotplugError> {
    let max = max(shared);
    let Some(id) = id else {
        return add_lowest(shared, max, limit);
    };
    if id >= max {
        return Err(HotplugError::NoSuchVcpu { vcpu: id, max });
    }
    let start = Instant::now();
    loop {
        match shared.cpus.plug(id as usize) {
            Ok(plug) => return bring_up(shared, id, plug, limit).map(|()| id),
            Err(Refused::Present | Refused::NotPresent) => return Err(HotplugError::Present(id)),
            Err(Refused::Ended) => return Err(VmError::Ended.into()),
            Err(Refused::Leaving) => {
                let gone = |state| state != VcpuState::Stopping && !is_up(state);
                let left = limit.saturating_sub(start.elapsed());
                let (_, gone) = shared.cpus.wait_state(id as usize, left, gone);
                if !gone {
                    return Err(HotplugError::Present(id));
                }
            }
        }
    }
}

/// The lowest vCPU that is not there. Others may add at the same time: then it is the next one.
fn add_lowest(shared: &Arc<Shared>, max: u32, limit: Duration) -> Result<u32, HotplugError> {
    for id in 0..max {
        match add(shared, Some(id), limit) {
            Err(HotplugError::Present(_)) => {}
            result => return result,
        }
    }
    Err(HotplugError::AllPresent(max))
}

/// Does what is to be done for a vCPU that is starting, and waits until the guest is told.
fn bring_up(
    shared: &Arc<Shared>,
    id: u32,
    plug: Plug,
    limit: Duration,
) -> Result<(), HotplugError> {
    let mut failure = None;
    if plug == Plug::Create {
        let not_made = |why| {
            shared.cpus.not_made(id as usize);
            HotplugError::NotMade { vcpu: id, why }
        };
        let new = shared
            .machine
            .make(id)
            .map_err(|error| not_made(chain(&*error)))?;
        let (told, hears) = channel();
        shared
            .spawn(id, new, Some(told))
            .map_err(|error| not_made(format!("The host refused its thread: {error}")))?;
        failure = match hears.recv_timeout(limit) {
            Ok(error) => Some(chain(&*error)),
            // Tied to its thread, or too slow for it to matter here.
            Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => None,
        };
    }
    let state = shared
        .cpus
        .wait_plugged(id as usize, limit)
        .map_err(VmError::from)?;
    match state {
        state if is_up(state) => Ok(()),
        // The guest has given it back already.
        VcpuState::Stopping | VcpuState::Offline if !shared.has_ended() => Ok(()),
        VcpuState::Absent => Err(HotplugError::NotMade {
            vcpu: id,
            why: failure.unwrap_or_default(),
        }),
        _ => Err(VmError::Ended.into()),
    }
}

/// On the thread of vCPU `id`, which is ready for whatever the guest does with it: tells the guest. It
/// is not yet up for those who wait for that, so that it is up for the guest first.
pub(crate) fn tell_guest(shared: &Shared, id: u32) {
    // An error is no news, as of a vCPU that is there since the start, or that the interrupt failed:
    // then the event waits in the registers for a guest that looks.
    let _ = shared.hotplug.insert(number(id));
}

/// Asks the guest to give vCPU `id` back and waits until it has, for `limit` at most.
pub(crate) fn remove(shared: &Shared, id: u32, limit: Duration) -> Result<(), HotplugError> {
    let max = max(shared);
    if id >= max {
        return Err(HotplugError::NoSuchVcpu { vcpu: id, max });
    }
    if id == 0 {
        return Err(HotplugError::BootVcpu);
    }
    if shared.has_ended() {
        return Err(VmError::Ended.into());
    }
    if shared.cpus.state(0) == VcpuState::Paused {
        return Err(HotplugError::Paused);
    }
    let removals = &shared.removals;
    let (done, refused) = (removals.done(id), removals.refused(id));
    match shared.hotplug.request_removal(number(id)) {
        Err(CpuHotplugError::Absent(_)) => {
            // Ejected a moment ago, or never there.
            return Err(HotplugError::NotPresent(id));
        }
        // The event waits in the registers for a guest that looks.
        Ok(()) | Err(CpuHotplugError::Interrupt(_)) => {}
        Err(error) => return Err(error.into()),
    }
    shared.cpus.wait_state(id as usize, limit, |state| {
        removals.done(id) != done || removals.refused(id) != refused || state == VcpuState::Finished
    });
    if removals.done(id) != done {
        return Ok(());
    }
    if removals.refused(id) != refused {
        return Err(HotplugError::Refused(id));
    }
    if shared.has_ended() {
        return Err(VmError::Ended.into());
    }
    Err(HotplugError::NotHonoured {
        vcpu: id,
        waited: limit,
    })
}

/// How many vCPUs there can be.
pub(crate) fn max(shared: &Shared) -> u32 {
    u32::try_from(shared.cpus.max()).unwrap_or(u32::MAX)
}

fn is_up(state: VcpuState) -> bool {
    matches!(state, VcpuState::Running | VcpuState::Paused)
}

/// The controller's number of a vCPU: there are at most 255.
fn number(id: u32) -> u8 {
    u8::try_from(id).unwrap_or(u8::MAX)
}
