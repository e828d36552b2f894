// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which MSRs of a real guest the PMU answers.

use kvm_ioctls::VcpuExit;
use vpmu::PmuModel;
use vpmu_kvm::{Exit, Handled, VcpuPmuKvm, kick};

mod real_mode;
mod watchdog;

use real_mode::{CODE, SPIN, out, rdmsr_to, with_pmu, wrmsr};
use watchdog::Watchdog;

const DEBUGCTL: u32 = 0x1d9;
const FREEZE_PERFMON_ON_PMI: u32 = 1 << 12;
/// Ports: a value, #GP, the end.
const VALUE: u16 = 0x10;
const FAULT: u16 = 0x13;
const END: u16 = 0x18;

/// What came of the guest's accesses.
#[derive(Debug, PartialEq, Eq)]
enum Saw {
    /// An MSR's low half, as the guest read it.
    Value(u32),
    /// The guest took #GP, which ends it.
    Fault,
}

/// Runs a guest on `model`; what it saw, and how many MSR accesses the PMU served.
fn run(model: PmuModel, code: &[Vec<u8>]) -> (Vec<Saw>, usize) {
    let _watchdog = Watchdog::new();
    let mut code = [&code.concat()[..], &out(0x18), SPIN].concat();
    let handler = u32::try_from(CODE).unwrap() + u32::try_from(code.len()).unwrap();
    code.extend([&out(0x13)[..], SPIN].concat());
    let mut guest = with_pmu(&code, Some(model));
    guest.ram.set_vector(13, handler);
    let options = guest.options(model);
    let guard = kick::bind(&mut guest.vcpu).unwrap();
    let mut pmu = VcpuPmuKvm::new(guest.vm.clone(), &guard, &options).unwrap();
    let (mut saw, mut served) = (Vec::new(), 0);
    loop {
        guard.clear();
        match pmu.run(&mut guest.vcpu, &guest.ram).unwrap() {
            Exit::Handled(Handled::ReadMsr | Handled::WriteMsr) => served += 1,
            Exit::Handled(_) | Exit::Kicked => {}
            Exit::Vcpu(VcpuExit::IoOut(VALUE, data)) => {
                saw.push(Saw::Value(u32::from_le_bytes(data.try_into().unwrap())));
            }
            Exit::Vcpu(VcpuExit::IoOut(FAULT, _)) => {
                saw.push(Saw::Fault);
                return (saw, served);
            }
            Exit::Vcpu(VcpuExit::IoOut(END, _)) => return (saw, served),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn debugctl_is_the_pmus_where_it_can_freeze() {
    let code = [
        wrmsr(DEBUGCTL, FREEZE_PERFMON_ON_PMI),
        rdmsr_to(0x10, DEBUGCTL),
    ];
    for model in [PmuModel::INTEL_V2, PmuModel::INTEL_V3, PmuModel::INTEL_V5] {
        let saw = vec![Saw::Value(FREEZE_PERFMON_ON_PMI)];
        assert_eq!(run(model, &code), (saw, 2), "{model}");
    }
    // 1 << 11 is nobody's.
    let code = [wrmsr(DEBUGCTL, 1 << 11), rdmsr_to(0x10, DEBUGCTL)];
    assert_eq!(run(PmuModel::INTEL_V2, &code), (vec![Saw::Fault], 1));
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn debugctl_is_kvms_where_it_cannot() {
    // LBR: KVM takes it or it does not; the PMU is not asked.
    let code = [rdmsr_to(0x10, DEBUGCTL)];
    for model in [PmuModel::INTEL_V1, PmuModel::AMD_V2] {
        let (_, served) = run(model, &code);
        assert_eq!(served, 0, "{model}");
    }
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn each_models_own_counters_are_there_and_the_other_vendors_are_not() {
    // Written to the number of counter 0, read back; the value is sign-extended or not, above bit 31.
    let intel = [wrmsr(0xc1, 0x1234), rdmsr_to(0x10, 0xc1)];
    let k7 = [wrmsr(0xc001_0004, 0x1234), rdmsr_to(0x10, 0xc001_0004)];
    let core = [wrmsr(0xc001_0201, 0x1234), rdmsr_to(0x10, 0xc001_0004)];
    let there = || (vec![Saw::Value(0x1234)], 2);
    let absent = || (vec![Saw::Fault], 1);
    for model in PmuModel::ALL {
        let of = |code: &[Vec<u8>]| run(*model, code);
        let (on_intel, on_k7, on_core) = match model.name() {
            "amd-k7" => (absent(), there(), absent()),
            "amd-core" | "amd-v2" => (absent(), there(), there()),
            _ => (there(), absent(), absent()),
        };
        assert_eq!(of(&intel), on_intel, "{model}");
        assert_eq!(of(&k7), on_k7, "{model}");
        assert_eq!(of(&core), on_core, "{model}");
    }
}
