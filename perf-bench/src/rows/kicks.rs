// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Kicks alone: the floor under everything that has to reach a running vCPU.

use vcpu_call::{Calls, Outside, VcpuId};

use super::Setting;
use crate::kick::Signals;
use crate::measure::{Failure, medians};
use crate::row::{Kind, Row};
use crate::running::{Running, Wait};

/// A call that does nothing, beside its transport alone.
pub(super) fn bare(name: &'static str, setting: &Setting) -> Result<Row, Failure> {
    let (mut caller, vcpu) = callee(setting)?;
    let call = vcpu.side(|| Ok(caller.call(VCPU, ())?));
    let kick = vcpu.side(|| Ok(vcpu.kick(Wait::Spinning)?));
    let [value, peer] = medians(setting.method, &mut [call, kick])?;
    let against = "a signal, acknowledged to a thread that spins";
    Ok(Row::new(name, value, Ok(peer), against, Kind::LibraryCall))
}

/// What the sleep costs that a caller waits in.
pub(super) fn asleep(name: &'static str, setting: &Setting) -> Result<Row, Failure> {
    let vcpu = Running::start(setting.other()?, |_| || ())?;
    let asleep = vcpu.side(|| Ok(vcpu.kick(Wait::Asleep)?));
    let spinning = vcpu.side(|| Ok(vcpu.kick(Wait::Spinning)?));
    let [value, peer] = medians(setting.method, &mut [asleep, spinning])?;
    let against = "a signal, acknowledged to a thread that spins";
    Ok(Row::new(name, value, Ok(peer), against, Kind::LibraryCall))
}

const VCPU: VcpuId = VcpuId(0);

/// A running vCPU that takes calls of nothing, and who calls it: the very transport that the perf
/// core uses.
fn callee(setting: &Setting) -> Result<(Outside<(), ()>, Running), Failure> {
    let signals = Signals::new(1);
    let calls = Calls::new(1, signals.clone());
    let mut vcpu = calls.vcpu(VCPU)?;
    let running = Running::start(setting.other()?, move |thread| {
        signals.bind(VCPU, thread);
        vcpu.go_online();
        move || {
            vcpu.exit_guest();
            while !vcpu.enter_guest() {
                vcpu.serve(|()| ());
            }
        }
    })?;
    Ok((calls.outside(), running))
}
