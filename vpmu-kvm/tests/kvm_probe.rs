// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The start-up probe on a real KVM.

use kvm_ioctls::Kvm;
use vpmu_kvm::probe::{Access, probe};

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn the_probe_finds_a_host_that_can_offer_a_pmu() {
    let report = probe(&Kvm::new().unwrap()).unwrap();
    println!("{report:#?}");
    assert!(
        report
            .rdpmc
            .iter()
            .all(|fault| fault.access == Access::Faults)
    );
    assert!(report.breakpoint.iter().all(|breakpoint| breakpoint.fires));
    assert!(report.checks.iter().all(|check| check.works));
    assert!(report.pmu.offered);
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn probing_again_finds_the_same() {
    let kvm = Kvm::new().unwrap();
    let first = probe(&kvm).unwrap();
    let second = probe(&kvm).unwrap();
    assert_eq!(first.rdpmc, second.rdpmc);
    assert_eq!(first.checks, second.checks);
    assert_eq!(first.pmu, second.pmu);
}
