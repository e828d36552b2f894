// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One thread speaks for a vCPU.

use vcpu_call::{Calls, ClaimError, NotRun, VcpuId};

use crate::rig::{Numbers, ONE, ZERO, ends, online};

#[test]
fn a_vcpu_has_one_end_at_a_time() {
    let calls = Numbers::new(2, |_| ());
    let first = calls.vcpu(ZERO).unwrap();
    assert_eq!(calls.vcpu(ZERO).unwrap_err(), ClaimError::Claimed(ZERO));
    assert_eq!(
        calls.clone().vcpu(ZERO).unwrap_err(),
        ClaimError::Claimed(ZERO)
    );
    assert_eq!(calls.vcpu(ONE).unwrap().id(), ONE);
    drop(first);
    assert_eq!(calls.vcpu(ZERO).unwrap().id(), ZERO);
}

#[test]
fn numbers_end_where_they_should() {
    let calls = Numbers::new(2, |_| ());
    assert_eq!((calls.len(), calls.is_empty()), (2, false));
    let beyond = VcpuId(2);
    assert_eq!(
        calls.vcpu(beyond).unwrap_err(),
        ClaimError::NoSuchVcpu(beyond)
    );
    assert!(!calls.is_online(beyond));
    assert!(Numbers::new(0, |_| ()).is_empty());
}

#[test]
fn it_begins_and_ends_offline() {
    ends(|| {
        let calls = Numbers::new(1, |_| ());
        let mut vcpu = calls.vcpu(ZERO).unwrap();
        assert!(!vcpu.is_online() && !calls.is_online(ZERO));
        vcpu.go_online();
        assert!(vcpu.is_online() && calls.is_online(ZERO));
        drop(vcpu);
        assert!(!calls.is_online(ZERO));
        assert!(!calls.vcpu(ZERO).unwrap().is_online());
        assert_eq!(calls.outside().call(ZERO, 1), Err(NotRun::Offline));
    });
}

#[test]
fn errors_say_what_is_wrong() {
    let text = |error: &dyn std::error::Error| error.to_string();
    assert_eq!(
        text(&ClaimError::NoSuchVcpu(VcpuId(7))),
        "There is no vCPU 7"
    );
    assert_eq!(
        text(&ClaimError::Claimed(ONE)),
        "vCPU 1 has its thread already"
    );
    assert_eq!(text(&NotRun::Offline), "The vCPU is offline");
    assert_eq!(
        text(&NotRun::Lost),
        "The vCPU's thread ended without an answer"
    );
}

#[test]
fn functions_may_be_closures() {
    ends(|| {
        type Job = Box<dyn FnOnce(&mut Vec<u32>) -> usize + Send>;
        let calls: Calls<Job, usize> = Calls::new(1, |_| ());
        let mut vcpu = online(&calls, ZERO);
        let mut state = vec![1];
        let job: Job = Box::new(|state| {
            state.push(2);
            state.len()
        });
        assert_eq!(vcpu.call(ZERO, job, |job| job(&mut state)), Ok(2));
        assert_eq!(state, [1, 2]);
    });
}
