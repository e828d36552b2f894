// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest that says anything to its perf port, from all its vCPUs: commands, words in its pages,
//! registers, ticks and hotplug, with a host that opens events beside it. Whatever it says, the laws
//! of `Laws` hold, and in the end nothing is left.

mod laws;
#[path = "../../../perf-port-host/tests/port/rig.rs"]
mod rig;
mod step;

use arbitrary::{Arbitrary, Result, Unstructured};
use perf_port::{Command, Id, Op, decode_result, io, page};
use vcpu_call::VcpuId;
use vpmu::context::{self, Attr, TaskId};
use vpmu::{Event, EventConfig};

use self::laws::Laws;
use self::rig::{World, base, frame};
use self::step::Step;

const VCPUS: u32 = 3;

struct Guest {
    world: World,
    laws: Laws,
    /// The vCPUs that are online.
    online: [bool; VCPUS as usize],
    /// The event that the host has open.
    hosts: Option<context::Event>,
}

/// Takes what a guest does from the bytes.
pub fn run(bytes: &[u8]) {
    let _ = traffic(&mut Unstructured::new(bytes));
}

fn traffic(bytes: &mut Unstructured<'_>) -> Result<()> {
    let limits = step::limits(bytes)?;
    let mut guest = Guest {
        world: World::with(VCPUS, limits),
        laws: Laws::new(limits, VCPUS),
        online: [true; VCPUS as usize],
        hosts: None,
    };
    while !bytes.is_empty() {
        let vcpu = u32::from(u8::arbitrary(bytes)?) % VCPUS;
        let step = Step::arbitrary(bytes)?;
        guest.step(vcpu, step, bytes)?;
        guest.laws.check(&guest.world);
    }
    guest.end();
    Ok(())
}

impl Guest {
    fn step(&mut self, vcpu: u32, step: Step, bytes: &mut Unstructured<'_>) -> Result<()> {
        if !self.online[vcpu as usize] && !matches!(step, Step::Hotplug | Step::Time(_)) {
            return Ok(());
        }
        let world = &mut self.world;
        match step {
            Step::Command | Step::Another => {
                let (op, reserved, args) = step::block(bytes, self.laws.given())?;
                self.command(vcpu, op, reserved, &args);
            }
            Step::Current => {
                let current = Id::new(self.laws.given().task(bytes)?);
                world.set_current(vcpu, current);
            }
            Step::Ticks(ticks, user) => {
                for _ in 0..ticks & 15 {
                    world.tick(vcpu, user);
                }
            }
            Step::Enter(user) => {
                world.enter(vcpu, user);
            }
            Step::Happen(counts) => {
                let cpu = world.cpu(vcpu);
                cpu.source_mut().inner_mut().count(counts.into());
                cpu.count(None);
                world.enter(vcpu, false);
            }
            Step::Rotate => world.cpu(vcpu).rotate(),
            Step::Word(offset) => {
                let offset = u64::from(offset) & (page::SIZE - 1) & !7;
                let word = step::word(bytes)?;
                // Half of them where something is.
                let offset = if offset < page::SIZE / 2 {
                    offset & 0xFF
                } else {
                    offset
                };
                world.ram.put(base(vcpu) + offset, word);
            }
            Step::Access(offset, length) => {
                let data = [0xFF; 9];
                // What would run a command is done above, where its result is looked at.
                let length = usize::from(length) % data.len();
                let (port, thread) = world.vcpu(vcpu);
                if length != 4 {
                    port.write(offset.into(), &data[..length], thread);
                }
                port.read(offset.into(), &mut [0; 9][..length]);
            }
            Step::Page(other) => {
                let other = if other < 128 {
                    frame(vcpu)
                } else {
                    u32::from(other & 31)
                };
                world.register(vcpu, other);
                // The rest looks for it in its place.
                if world.read(vcpu, io::PAGE) != 0 && other != frame(vcpu) {
                    world.register(vcpu, 0);
                }
            }
            Step::Hotplug => self.hotplug(vcpu),
            Step::Time(ms) => {
                world.pass(u64::from(ms) * 1_000_000);
                self.laws.pass(u64::from(ms) * 1_000_000);
            }
            Step::Host => {
                let task = self.laws.given().task(bytes)?;
                self.host(task);
            }
        }
        Ok(())
    }

    fn command(&mut self, vcpu: u32, op: u32, reserved: u32, args: &[u64]) {
        let world = &mut self.world;
        world.write_block(vcpu, op, reserved, args);
        world.out(vcpu, io::COMMAND, 0);
        if world.status(vcpu) != 0 {
            assert_eq!(world.read(vcpu, io::PAGE), 0, "what was registered is RAM");
            return;
        }
        let result = world.ram.get(base(vcpu) + page::RESULT).cast_signed();
        let result = decode_result(result);
        self.laws.answered(vcpu, Op::from_number(op), args, result);
    }

    fn hotplug(&mut self, vcpu: u32) {
        let world = &mut self.world;
        let perf = world.perf.clone();
        let online = &mut self.online[vcpu as usize];
        if *online && vcpu != 0 {
            let (port, thread) = world.vcpu(vcpu);
            port.unplug(thread);
            perf.offline(VcpuId(vcpu), world.host()).expect("it can go");
        } else if !*online {
            perf.online(VcpuId(vcpu), world.host())
                .expect("it can come");
            world.register(vcpu, frame(vcpu));
        }
        *online ^= vcpu != 0;
    }

    /// The host opens an event on a task, or closes the one that it has.
    fn host(&mut self, task: u64) {
        let perf = self.world.perf.clone();
        if let Some(event) = self.hosts.take() {
            perf.close(&event, self.world.host()).expect("it is open");
        } else if let Some(task) = self.world.port.task(TaskId(task)) {
            let attr = Attr::counting(EventConfig::everywhere(Event::PortTick));
            let open = context::Open::new(attr, context::Target::Task(&task));
            self.hosts = perf.open(&open, self.world.host()).ok();
        }
    }

    /// The law of traps, for all events; then everything ends, and nothing is left.
    fn end(mut self) {
        if self.hosts.is_some() {
            self.host(0);
        }
        self.laws.patience(&mut self.world);
        self.world.register(0, frame(0));
        for event in self.laws.open_events() {
            self.laws.account(&mut self.world, event);
        }
        for task in self.world.port.tasks() {
            let task = Id::new(task.id.0).expect("tasks have numbers");
            self.must(Command::Exit { task });
        }
        for event in self.laws.open_events() {
            self.laws.account(&mut self.world, event);
            self.must(Command::Close { event });
        }
        assert_eq!(self.world.port.events(), 0, "nothing is left");
        assert!(self.world.port.tasks().is_empty(), "nothing is left");
        assert!(!self.world.perf.announces(), "I17: nobody wants to know");
    }

    fn must(&mut self, command: Command) {
        self.laws.patience(&mut self.world);
        assert_eq!(self.world.command(0, command), Ok(0), "{command:?}");
    }
}
