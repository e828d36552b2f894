// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Whatever guests and host do, the controller does what a reference does that is told in sets.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::CpuHotplugError;
use super::tests::{Heard, Rig};

/// One thing that happens. The guest's vCPUs share the registers, so accesses of several are just
/// accesses in some order.
#[derive(Clone, Debug)]
enum Step {
    /// Bytes from an offset on.
    Write(u16, Vec<u8>),
    Read(u16),
    Insert(u8),
    Request(u8),
    Withdraw(u8),
}

fn step(max: u8) -> impl Strategy<Value = Step> {
    // Numbers just in and just out of what there is.
    let cpu = prop_oneof![9 => 0..max.saturating_add(2), 1 => any::<u8>()].boxed();
    let byte = prop_oneof![4 => 0..8_u8, 1 => any::<u8>()];
    let wild = (any::<u16>(), proptest::collection::vec(any::<u8>(), 0..6));
    prop_oneof![
        6 => cpu.clone().prop_map(|cpu| Step::Write(0, vec![cpu])),
        8 => (1..4_u16, byte.clone()).prop_map(|(offset, byte)| Step::Write(offset, vec![byte])),
        2 => (0..4_u16, proptest::collection::vec(byte, 1..5))
            .prop_map(|(offset, bytes)| Step::Write(offset, bytes)),
        1 => wild.prop_map(|(offset, bytes)| Step::Write(offset, bytes)),
        4 => (0..6_u16).prop_map(Step::Read),
        4 => cpu.clone().prop_map(Step::Insert),
        4 => cpu.clone().prop_map(Step::Request),
        1 => cpu.prop_map(Step::Withdraw),
    ]
}

fn story() -> impl Strategy<Value = (u8, u8, Vec<Step>)> {
    let max = prop_oneof![8 => 1..6_u8, 1 => 1..=u8::MAX];
    max.prop_flat_map(|max| {
        let steps = proptest::collection::vec(step(max), 0..80);
        (1..=max, Just(max), steps)
    })
}

struct Reference {
    max: u8,
    selected: u8,
    present: BTreeSet<u8>,
    asked: BTreeSet<u8>,
    added_events: BTreeSet<u8>,
    remove_events: BTreeSet<u8>,
    interrupts: usize,
}

impl Reference {
    fn new(boot: u8, max: u8) -> Self {
        Self {
            max,
            selected: 0,
            present: (0..boot).collect(),
            asked: BTreeSet::new(),
            added_events: BTreeSet::new(),
            remove_events: BTreeSet::new(),
            interrupts: 0,
        }
    }

    fn events(&self) -> BTreeSet<u8> {
        &self.added_events | &self.remove_events
    }

    fn read(&self, register: u16) -> u8 {
        let bit = |set: &BTreeSet<u8>, bit| u8::from(set.contains(&self.selected)) << bit;
        match register {
            0 => self.selected,
            1 => bit(&self.present, 0) | bit(&self.added_events, 1) | bit(&self.remove_events, 2),
            2 => self.events().first().copied().unwrap_or(0xff),
            3 => self.max,
            _ => 0xff,
        }
    }

    fn write(&mut self, register: u16, byte: u8) -> Option<Heard> {
        let cpu = self.selected;
        match (register, byte) {
            (0, byte) => self.selected = byte,
            (1, byte) => {
                if byte & 2 != 0 {
                    self.added_events.remove(&cpu);
                }
                if byte & 4 != 0 {
                    self.remove_events.remove(&cpu);
                }
            }
            (2, 1) if cpu != 0 && self.present.remove(&cpu) => {
                self.added_events.remove(&cpu);
                self.remove_events.remove(&cpu);
                return Some(Heard::Ejected(cpu, self.asked.remove(&cpu)));
            }
            (2, 2) => {
                let events = self.events();
                let behind = events.iter().find(|&&event| event > cpu);
                if let Some(&next) = behind.or(events.first()) {
                    self.selected = next;
                }
            }
            (2, 3) if self.asked.remove(&cpu) => {
                self.remove_events.remove(&cpu);
                return Some(Heard::Refused(cpu));
            }
            _ => {}
        }
        None
    }

    fn insert(&mut self, cpu: u8) -> Result<(), CpuHotplugError> {
        let max = self.max;
        if cpu >= max {
            return Err(CpuHotplugError::NoSuchVcpu { cpu, max });
        }
        if !self.present.insert(cpu) {
            return Err(CpuHotplugError::Present(cpu));
        }
        self.added_events.insert(cpu);
        self.interrupts += 1;
        Ok(())
    }

    fn request(&mut self, cpu: u8) -> Result<(), CpuHotplugError> {
        let max = self.max;
        match cpu {
            cpu if cpu >= max => return Err(CpuHotplugError::NoSuchVcpu { cpu, max }),
            0 => return Err(CpuHotplugError::BootVcpu),
            cpu if !self.present.contains(&cpu) => return Err(CpuHotplugError::Absent(cpu)),
            _ => {}
        }
        self.asked.insert(cpu);
        self.remove_events.insert(cpu);
        self.interrupts += 1;
        Ok(())
    }

    fn withdraw(&mut self, cpu: u8) -> bool {
        self.remove_events.remove(&cpu);
        self.asked.remove(&cpu)
    }
}

proptest! {
    #[test]
    fn traffic_agrees_with_the_reference((boot, max, steps) in story()) {
        let rig = Rig::new(boot, max);
        let mut reference = Reference::new(boot, max);
        for step in steps {
            let mut expected = Vec::new();
            match step {
                Step::Write(offset, bytes) => {
                    rig.access(offset, &bytes);
                    for (byte, register) in bytes.into_iter().zip(u32::from(offset)..) {
                        let register = u16::try_from(register).unwrap_or(u16::MAX);
                        expected.extend(reference.write(register, byte));
                    }
                }
                Step::Read(offset) => {
                    prop_assert_eq!(rig.read(offset), reference.read(offset));
                }
                Step::Insert(cpu) => {
                    prop_assert_eq!(rig.host.insert(cpu), reference.insert(cpu));
                }
                Step::Request(cpu) => {
                    prop_assert_eq!(rig.host.request_removal(cpu), reference.request(cpu));
                }
                Step::Withdraw(cpu) => {
                    prop_assert_eq!(rig.host.withdraw_removal(cpu), reference.withdraw(cpu));
                }
            }
            prop_assert_eq!(rig.take_heard(), expected);
            for register in 0..5 {
                prop_assert_eq!(rig.read(register), reference.read(register));
            }
            prop_assert_eq!(rig.interrupts(), reference.interrupts);
            for cpu in (0..8).chain(250..=u8::MAX) {
                prop_assert_eq!(rig.host.is_present(cpu), reference.present.contains(&cpu));
                prop_assert_eq!(rig.host.removal_requested(cpu), reference.asked.contains(&cpu));
            }
        }
        prop_assert!(!rig.was_called_under_lock());
    }
}
