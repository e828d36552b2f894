// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Each register, each bit, each command, each answer to the host.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use super::*;

const SELECTOR: u16 = 0;
const STATUS: u16 = 1;
const COMMAND: u16 = 2;
const COUNT: u16 = 3;

const EJECT: u8 = 1;
const NEXT: u8 = 2;
const REFUSE: u8 = 3;

const PRESENT: u8 = 1;
const ADDED: u8 = 2;
const REMOVE: u8 = 4;

/// What the VMM heard, what the guest could see when it was interrupted, and whether a lock was held
/// around either.
#[derive(Default)]
pub(super) struct Vmm {
    heard: Mutex<Vec<Heard>>,
    interrupts: AtomicUsize,
    /// What the command register had at each interrupt.
    commands: Mutex<Vec<u8>>,
    broken: AtomicBool,
    handle: OnceLock<CpuHotplugHandle>,
    under_lock: AtomicBool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Ejected(u8, bool),
    Refused(u8),
}

impl Vmm {
    /// The command register, unless the lock is held.
    fn look(&self) -> Option<u8> {
        let machine = self.handle.get()?.shared.machine.try_lock();
        if machine.is_err() {
            self.under_lock.store(true, SeqCst);
        }
        machine.ok().map(|machine| machine.read(COMMAND.into()))
    }

    fn hear(&self, heard: Heard) {
        self.look();
        self.heard.lock().unwrap().push(heard);
    }
}

impl CpuHotplugEvents for Vmm {
    fn ejected(&self, cpu: u8, asked: bool) {
        self.hear(Heard::Ejected(cpu, asked));
    }

    fn refused(&self, cpu: u8) {
        self.hear(Heard::Refused(cpu));
    }
}

struct TestLine(Arc<Vmm>);

impl Trigger for TestLine {
    type E = &'static str;

    fn trigger(&self) -> Result<(), Self::E> {
        self.0.commands.lock().unwrap().extend(self.0.look());
        if self.0.broken.load(SeqCst) {
            return Err("broken");
        }
        self.0.interrupts.fetch_add(1, SeqCst);
        Ok(())
    }
}

/// A controller with its host and its guest.
pub(super) struct Rig {
    device: CpuHotplug,
    pub(super) host: CpuHotplugHandle,
    vmm: Arc<Vmm>,
}

impl Rig {
    pub(super) fn new(boot: u8, max: u8) -> Self {
        let vmm = Arc::new(Vmm::default());
        let (device, host) =
            CpuHotplug::new(boot, max, TestLine(Arc::clone(&vmm)), Arc::clone(&vmm) as _).unwrap();
        assert!(vmm.handle.set(host.clone()).is_ok());
        Self { device, host, vmm }
    }

    pub(super) fn read(&self, register: u16) -> u8 {
        let mut data = [0];
        self.device.read(register, &mut data);
        data[0]
    }

    pub(super) fn write(&self, register: u16, byte: u8) {
        self.device.write(register, &[byte]);
    }

    pub(super) fn access(&self, offset: u16, data: &[u8]) {
        self.device.write(offset, data);
    }

    pub(super) fn take_heard(&self) -> Vec<Heard> {
        std::mem::take(&mut *self.vmm.heard.lock().unwrap())
    }

    pub(super) fn interrupts(&self) -> usize {
        self.vmm.interrupts.load(SeqCst)
    }

    pub(super) fn was_called_under_lock(&self) -> bool {
        self.vmm.under_lock.load(SeqCst)
    }

    fn select(&self, cpu: u8) {
        self.write(SELECTOR, cpu);
    }

    fn status_of(&self, cpu: u8) -> u8 {
        self.select(cpu);
        self.read(STATUS)
    }

    fn command(&self, cpu: u8, command: u8) {
        self.select(cpu);
        self.write(COMMAND, command);
    }
}

#[test]
fn the_machine_has_vcpu_0_and_no_more_than_it_can() {
    let counts = |boot, max| {
        let vmm = Arc::new(Vmm::default());
        CpuHotplug::new(boot, max, TestLine(vmm.clone()), vmm).map(|_| ())
    };
    for (boot, max) in [(0, 0), (0, 4), (5, 4), (255, 254)] {
        let refused = CpuHotplugError::Count { boot, max };
        assert_eq!(counts(boot, max), Err(refused));
    }
    for (boot, max) in [(1, 1), (1, 255), (255, 255)] {
        assert_eq!(counts(boot, max), Ok(()));
    }
}

#[test]
fn the_vcpus_of_the_start_are_present_without_an_event() {
    let rig = Rig::new(2, 4);
    assert_eq!(rig.read(SELECTOR), 0);
    assert_eq!(rig.read(COUNT), 4);
    assert_eq!(rig.read(COMMAND), 0xff);
    let status: Vec<u8> = (0..4).map(|cpu| rig.status_of(cpu)).collect();
    assert_eq!(status, [PRESENT, PRESENT, 0, 0]);
    assert_eq!(rig.interrupts(), 0);
}

#[test]
fn the_selector_reads_back_whatever_was_written() {
    let rig = Rig::new(1, 2);
    for cpu in 0..=u8::MAX {
        rig.select(cpu);
        assert_eq!(rig.read(SELECTOR), cpu);
    }
}

#[test]
fn a_vcpu_that_comes_is_present_with_an_event_and_an_interrupt() {
    let rig = Rig::new(1, 4);
    rig.host.insert(2).unwrap();
    assert!(rig.host.is_present(2));
    assert_eq!(rig.interrupts(), 1);
    assert_eq!(rig.read(COMMAND), 2);
    assert_eq!(rig.status_of(2), PRESENT | ADDED);
    assert_eq!(rig.status_of(1), 0);
}

#[test]
fn what_cannot_come_is_refused_and_nothing_changes() {
    let rig = Rig::new(1, 2);
    assert_eq!(rig.host.insert(0), Err(CpuHotplugError::Present(0)));
    let beyond = CpuHotplugError::NoSuchVcpu { cpu: 2, max: 2 };
    assert_eq!(rig.host.insert(2), Err(beyond));
    assert!(!rig.host.is_present(2));
    assert_eq!((rig.read(COMMAND), rig.interrupts()), (0xff, 0));
}

#[test]
fn the_last_vcpu_of_255_is_one_like_the_others() {
    let rig = Rig::new(1, 255);
    assert_eq!(rig.read(COUNT), 255);
    rig.host.insert(254).unwrap();
    assert_eq!(rig.read(COMMAND), 254);
    rig.command(0, NEXT);
    assert_eq!(rig.read(SELECTOR), 254);
    assert_eq!(rig.read(STATUS), PRESENT | ADDED);
}

#[test]
fn a_request_is_an_event_with_an_interrupt() {
    let rig = Rig::new(2, 2);
    rig.host.request_removal(1).unwrap();
    assert!(rig.host.removal_requested(1));
    assert_eq!(rig.interrupts(), 1);
    assert_eq!(rig.read(COMMAND), 1);
    assert_eq!(rig.status_of(1), PRESENT | REMOVE);
    assert!(rig.host.is_present(1));
}

#[test]
fn what_cannot_go_is_not_asked_for() {
    let rig = Rig::new(1, 2);
    let asked = |cpu| rig.host.request_removal(cpu);
    assert_eq!(asked(0), Err(CpuHotplugError::BootVcpu));
    assert_eq!(asked(1), Err(CpuHotplugError::Absent(1)));
    let beyond = CpuHotplugError::NoSuchVcpu { cpu: 2, max: 2 };
    assert_eq!(asked(2), Err(beyond));
    assert!((0..3).all(|cpu| !rig.host.removal_requested(cpu)));
    assert_eq!((rig.read(COMMAND), rig.interrupts()), (0xff, 0));
}

#[test]
fn an_acknowledgement_clears_its_own_event_only() {
    let rig = Rig::new(1, 3);
    rig.host.insert(1).unwrap();
    rig.host.request_removal(1).unwrap();
    assert_eq!(rig.status_of(1), PRESENT | ADDED | REMOVE);
    rig.write(STATUS, 0);
    assert_eq!(rig.read(STATUS), PRESENT | ADDED | REMOVE);
    rig.write(STATUS, ADDED);
    assert_eq!(rig.read(STATUS), PRESENT | REMOVE);
    rig.write(STATUS, !REMOVE);
    assert_eq!(rig.read(STATUS), PRESENT | REMOVE);
    rig.write(STATUS, REMOVE);
    assert_eq!(rig.read(STATUS), PRESENT);
    assert_eq!(rig.read(COMMAND), 0xff);
}

#[test]
fn an_acknowledgement_is_of_the_selected_vcpu_only() {
    let rig = Rig::new(1, 3);
    rig.host.insert(1).unwrap();
    rig.host.insert(2).unwrap();
    rig.select(2);
    rig.write(STATUS, 0xff);
    assert_eq!(rig.status_of(2), PRESENT);
    assert_eq!(rig.status_of(1), PRESENT | ADDED);
}

#[test]
fn a_request_outlives_its_acknowledgement() {
    let rig = Rig::new(2, 2);
    rig.host.request_removal(1).unwrap();
    rig.select(1);
    rig.write(STATUS, REMOVE);
    assert!(rig.host.removal_requested(1));
    rig.write(COMMAND, EJECT);
    assert_eq!(rig.take_heard(), [Heard::Ejected(1, true)]);
    assert!(!rig.host.removal_requested(1));
}

#[test]
fn asking_again_raises_the_event_again() {
    let rig = Rig::new(2, 2);
    rig.host.request_removal(1).unwrap();
    rig.select(1);
    rig.write(STATUS, REMOVE);
    rig.host.request_removal(1).unwrap();
    assert_eq!(rig.read(STATUS), PRESENT | REMOVE);
    assert_eq!(rig.interrupts(), 2);
}

#[test]
fn an_ejected_vcpu_is_gone_at_once_with_its_events() {
    let rig = Rig::new(1, 2);
    rig.host.insert(1).unwrap();
    rig.host.request_removal(1).unwrap();
    rig.command(1, EJECT);
    assert_eq!(rig.read(STATUS), 0);
    assert_eq!(rig.read(COMMAND), 0xff);
    assert!(!rig.host.is_present(1));
    assert!(!rig.host.removal_requested(1));
    assert_eq!(rig.take_heard(), [Heard::Ejected(1, true)]);
}

#[test]
fn a_guest_may_eject_what_nobody_asked_for() {
    let rig = Rig::new(2, 2);
    rig.command(1, EJECT);
    assert!(!rig.host.is_present(1));
    assert_eq!(rig.take_heard(), [Heard::Ejected(1, false)]);
}

#[test]
fn vcpu_0_cannot_be_ejected() {
    let rig = Rig::new(2, 2);
    rig.command(0, EJECT);
    assert!(rig.host.is_present(0));
    assert_eq!(rig.status_of(0), PRESENT);
    assert_eq!(rig.take_heard(), []);
}

#[test]
fn an_absent_vcpu_cannot_be_ejected() {
    let rig = Rig::new(2, 3);
    rig.command(1, EJECT);
    rig.command(1, EJECT);
    rig.command(2, EJECT);
    assert_eq!(rig.take_heard(), [Heard::Ejected(1, false)]);
}

#[test]
fn an_impossible_vcpu_reads_absent_and_takes_no_writes() {
    let rig = Rig::new(2, 2);
    rig.host.request_removal(1).unwrap();
    for cpu in 2..=u8::MAX {
        assert_eq!(rig.status_of(cpu), 0);
        rig.write(STATUS, 0xff);
        rig.write(COMMAND, EJECT);
        rig.write(COMMAND, REFUSE);
        assert_eq!(rig.read(SELECTOR), cpu);
    }
    assert_eq!(rig.take_heard(), []);
    assert_eq!(rig.status_of(1), PRESENT | REMOVE);
}

#[test]
fn next_goes_round_through_all_that_have_an_event() {
    let rig = Rig::new(2, 6);
    for cpu in [2, 3, 5] {
        rig.host.insert(cpu).unwrap();
    }
    let mut seen = Vec::new();
    for _ in 0..5 {
        rig.write(COMMAND, NEXT);
        seen.push(rig.read(SELECTOR));
    }
    assert_eq!(seen, [2, 3, 5, 2, 3]);
}

#[test]
fn next_finds_the_selected_one_last() {
    let rig = Rig::new(1, 4);
    rig.host.insert(2).unwrap();
    rig.command(2, NEXT);
    assert_eq!(rig.read(SELECTOR), 2);
    rig.host.insert(1).unwrap();
    rig.write(COMMAND, NEXT);
    assert_eq!(rig.read(SELECTOR), 1);
}

#[test]
fn next_starts_below_from_an_impossible_selection() {
    let rig = Rig::new(1, 254);
    for event in [253, 1] {
        rig.host.insert(event).unwrap();
        for cpu in [254, 255] {
            rig.command(cpu, NEXT);
            assert_eq!(rig.read(SELECTOR), event);
        }
    }
}

#[test]
fn next_leaves_the_selector_where_there_is_no_event() {
    let rig = Rig::new(1, 4);
    for cpu in [0, 3, 4, 255] {
        rig.command(cpu, NEXT);
        assert_eq!(rig.read(SELECTOR), cpu);
    }
}

#[test]
fn a_refusal_answers_the_request_and_keeps_the_vcpu() {
    let rig = Rig::new(2, 2);
    rig.host.request_removal(1).unwrap();
    rig.command(1, REFUSE);
    assert_eq!(rig.take_heard(), [Heard::Refused(1)]);
    assert_eq!(rig.read(STATUS), PRESENT);
    assert!(!rig.host.removal_requested(1));
    assert!(rig.host.is_present(1));
}

#[test]
fn what_nobody_asked_for_cannot_be_refused() {
    let rig = Rig::new(2, 3);
    rig.host.request_removal(1).unwrap();
    rig.command(1, REFUSE);
    for cpu in 0..3 {
        rig.command(cpu, REFUSE);
    }
    assert_eq!(rig.take_heard(), [Heard::Refused(1)]);
}

#[test]
fn an_unknown_command_does_nothing() {
    let rig = Rig::new(2, 3);
    rig.host.request_removal(1).unwrap();
    rig.host.insert(2).unwrap();
    rig.select(1);
    for command in (0..=u8::MAX).filter(|byte| ![EJECT, NEXT, REFUSE].contains(byte)) {
        rig.write(COMMAND, command);
    }
    assert_eq!(rig.take_heard(), []);
    assert_eq!(rig.read(SELECTOR), 1);
    assert_eq!(rig.read(STATUS), PRESENT | REMOVE);
}

#[test]
fn the_count_cannot_be_written() {
    let rig = Rig::new(1, 3);
    rig.write(COUNT, 9);
    assert_eq!(rig.read(COUNT), 3);
}

#[test]
fn a_request_can_be_withdrawn() {
    let rig = Rig::new(2, 3);
    rig.host.request_removal(1).unwrap();
    assert!(rig.host.withdraw_removal(1));
    assert!(!rig.host.removal_requested(1));
    assert_eq!(rig.read(COMMAND), 0xff);
    rig.command(1, REFUSE);
    rig.command(1, EJECT);
    assert_eq!(rig.take_heard(), [Heard::Ejected(1, false)]);
}

#[test]
fn without_a_request_there_is_nothing_to_withdraw() {
    let rig = Rig::new(1, 2);
    rig.host.insert(1).unwrap();
    assert!((0..4).all(|cpu| !rig.host.withdraw_removal(cpu)));
    assert_eq!(rig.status_of(1), PRESENT | ADDED);
}

#[test]
fn a_vcpu_that_comes_again_comes_fresh() {
    let rig = Rig::new(1, 2);
    for _ in 0..3 {
        rig.host.insert(1).unwrap();
        assert_eq!(rig.status_of(1), PRESENT | ADDED);
        assert!(!rig.host.removal_requested(1));
        assert_eq!(rig.host.insert(1), Err(CpuHotplugError::Present(1)));
        rig.host.request_removal(1).unwrap();
        rig.command(1, EJECT);
        assert_eq!(rig.take_heard(), [Heard::Ejected(1, true)]);
    }
}

#[test]
fn a_broken_interrupt_is_told_and_the_event_waits() {
    let rig = Rig::new(1, 2);
    rig.vmm.broken.store(true, SeqCst);
    assert_eq!(rig.host.insert(1), Err(CpuHotplugError::Interrupt(1)));
    assert_eq!(rig.status_of(1), PRESENT | ADDED);
    let asked = rig.host.request_removal(1);
    assert_eq!(asked, Err(CpuHotplugError::Interrupt(1)));
    assert_eq!(rig.read(STATUS), PRESENT | ADDED | REMOVE);
    assert!(rig.host.removal_requested(1));
}

#[test]
fn the_event_is_there_when_the_interrupt_comes() {
    let rig = Rig::new(2, 3);
    rig.host.insert(2).unwrap();
    rig.host.request_removal(1).unwrap();
    assert_eq!(*rig.vmm.commands.lock().unwrap(), [2, 1]);
}

#[test]
fn no_lock_is_held_around_what_is_called() {
    let rig = Rig::new(2, 3);
    rig.host.insert(2).unwrap();
    rig.host.request_removal(2).unwrap();
    rig.host.request_removal(1).unwrap();
    rig.command(2, EJECT);
    rig.command(1, REFUSE);
    assert_eq!(rig.interrupts(), 3);
    assert_eq!(rig.take_heard().len(), 2);
    assert!(!rig.was_called_under_lock());
}

#[test]
fn a_wide_access_is_one_byte_a_port() {
    let rig = Rig::new(2, 3);
    let mut data = [0; 4];
    rig.device.write(SELECTOR, &[1, 0xff, EJECT, 0xff]);
    assert_eq!(rig.take_heard(), [Heard::Ejected(1, false)]);
    rig.host.insert(2).unwrap();
    rig.device.write(COMMAND, &[NEXT, 0]);
    rig.device.read(SELECTOR, &mut data);
    assert_eq!(data, [2, PRESENT | ADDED, 2, 3]);
}

#[test]
fn what_lies_behind_its_ports_reads_ones_and_takes_nothing() {
    let rig = Rig::new(2, 2);
    let mut data = [0; 3];
    rig.device.read(COUNT, &mut data);
    assert_eq!(data, [2, 0xff, 0xff]);
    rig.device.read(u16::MAX, &mut data);
    assert_eq!(data, [0xff; 3]);
    rig.device.write(u16::MAX, &[1, 1, 1, 1]);
    assert_eq!((rig.read(SELECTOR), rig.take_heard()), (0, vec![]));
}
