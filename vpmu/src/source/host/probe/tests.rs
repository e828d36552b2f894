// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

use super::super::test_host::TestHost;
use super::*;
use crate::EventSelect;
use perf_event_open_sys::bindings::{PERF_COUNT_HW_CACHE_MISSES, PERF_TYPE_HARDWARE};

const INTEL: Option<Vendor> = Some(Vendor::Intel);

/// A host where every event counts.
fn host() -> TestHost {
    let host = TestHost::default();
    host.world().moves = Some(|_| 3);
    host
}

fn probe(host: &TestHost, vendor: Option<Vendor>) -> Result<Probe, HostError> {
    Probe::run(&mut host.clone(), vendor)
}

/// Whether an Intel guest may count `select`.
fn lends(probe: &Probe, select: u64) -> bool {
    let config = EventSelect(select).decode();
    probe.request(&config, Vendor::Intel).is_some()
}

#[test]
fn a_host_that_counts_everything_lends_everything() {
    let host = host();
    let probe = probe(&host, INTEL).unwrap();
    assert_eq!(probe.events().len(), 7);
    for row in probe.events().iter().chain([probe.by_number()]) {
        assert!(row.everywhere.is_ok() && row.user.is_ok(), "{row:?}");
    }
    for select in [0x3_003C, 0x1_00C0, 0x2_412E, 0x3_0187, 0x7_00C0] {
        assert!(lends(&probe, select), "{select:#x}");
    }
    assert!(
        host.world().events.iter().all(|event| !event.open),
        "a probe keeps nothing open"
    );
}

#[test]
fn s4_a_counter_that_does_not_move_is_not_lent() {
    let host = host();
    host.world().moves = Some(|request| {
        let misses = u64::from(PERF_COUNT_HW_CACHE_MISSES);
        u64::from((request.kind, request.config) != (PERF_TYPE_HARDWARE, misses))
    });
    let probe = probe(&host, INTEL).unwrap();
    assert!(!lends(&probe, 0x3_412E));
    assert!(lends(&probe, 0x3_4F2E));
    let stands = |row: &&Probed| matches!(row.everywhere, Err(HostError::StandsStill));
    let still: Vec<_> = probe.events().iter().filter(stands).collect();
    assert_eq!(still.len(), 1);
    assert_eq!(still[0].event, Event::LlcMisses);
}

#[test]
fn s4_events_without_a_name_need_one_that_counts_by_its_number() {
    let host = host();
    host.world().moves = Some(|request| u64::from(request.kind == PERF_TYPE_HARDWARE));
    let probe = probe(&host, INTEL).unwrap();
    assert!(lends(&probe, 0x3_00C0));
    for select in [0x3_0187, 0x7_00C0] {
        assert!(!lends(&probe, select), "{select:#x}");
    }
}

#[test]
fn without_the_permission_for_the_kernel_user_mode_is_lent() {
    let host = host();
    host.world().refuses = Some(|request| request.os.then_some(libc::EACCES));
    let probe = probe(&host, INTEL).unwrap();
    assert!(lends(&probe, 0x1_00C0) && lends(&probe, 0x1_0187));
    for select in [0x3_00C0, 0x2_00C0, 0x3_0187] {
        assert!(!lends(&probe, select), "{select:#x}");
    }
    assert!(probe.events()[0].everywhere.is_err());
}

#[test]
fn a_host_that_counts_nothing_says_why() {
    let host = host();
    host.world().refuses = Some(|_| Some(libc::ENOENT));
    assert!(matches!(probe(&host, INTEL), Err(HostError::NoCounter)));
    host.world().refuses = None;
    host.world().moves = None;
    assert!(matches!(probe(&host, INTEL), Err(HostError::StandsStill)));
    host.world().taken = true;
    assert!(matches!(probe(&host, INTEL), Err(HostError::Busy)));
}

#[test]
fn a_host_that_cannot_leave_itself_out_lends_nothing() {
    let host = host();
    host.world().refuses = Some(|request| request.guest_only.then_some(libc::EINVAL));
    assert!(matches!(probe(&host, INTEL), Err(HostError::NotGuestOnly)));
}

#[test]
fn an_unknown_cpu_lends_what_has_a_name() {
    let probe = probe(&host(), None).unwrap();
    assert!(lends(&probe, 0x3_00C0) && !lends(&probe, 0x3_412E) && !lends(&probe, 0x3_0187));
    assert!(probe.by_number().user.is_err());
}
