// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest of several vCPUs, stepped by hand in one thread: its RAM, its vCPUs, and its port.

#![allow(dead_code, reason = "tests and fuzz targets use their part of it")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use perf_port::page::{self, TrapRecord};
use perf_port::{
    Command, Errno, EventNumber, Id, Leaves, Name, Open, OpenFlags, Reading, Target, TrapTotals,
    decode_result, io,
};
use perf_port_host::{Port, PortLimits, PortMemory, PortThread, PortVcpu};
use vcpu_call::{NotRun, Park, VcpuId, Waker};
use vpmu::context::{Caller, Cpu, Perf, PerfCallRef, PerfConfig, PerfReply, Sample};
use vpmu::source::script::ScriptSource;
use vpmu::source::tick::TickSource;
use vpmu::{Nanos, NoObserver};

pub(crate) type Clock = Box<dyn Fn() -> Nanos + Send + Sync>;
pub(crate) type Source = TickSource<ScriptSource>;
pub(crate) type RigCpu = Cpu<Source, Clock>;

/// Frames of RAM. Behind them is half a frame more.
pub(crate) const FRAMES: u32 = 16;

/// A frame of which only the second half is RAM.
pub(crate) const HOLE: u32 = 9;

/// What no command returns: RESULT before it is run.
const UNTOUCHED: i64 = i64::MIN;

/// RAM that knows which of its words are read, and can change one that was read.
pub(crate) struct Ram {
    words: Vec<AtomicU64>,
    loads: Mutex<Vec<u64>>,
    /// Once this word is read, another is in its place.
    changes: Mutex<Option<(u64, u64)>>,
}

impl Ram {
    pub(crate) fn new() -> Self {
        let bytes = u64::from(FRAMES) * page::SIZE + page::SIZE / 2;
        Self {
            words: (0..bytes / 8).map(|_| AtomicU64::new(0)).collect(),
            loads: Mutex::default(),
            changes: Mutex::default(),
        }
    }

    fn word(&self, gpa: u64) -> Option<&AtomicU64> {
        let hole = u64::from(HOLE) * page::SIZE;
        if (hole..hole + page::SIZE / 2).contains(&gpa) {
            return None;
        }
        self.words.get(usize::try_from(gpa / 8).ok()?)
    }

    /// As the guest reads it.
    pub(crate) fn get(&self, gpa: u64) -> u64 {
        assert_eq!(gpa % 8, 0, "aligned");
        self.word(gpa).expect("RAM").load(Ordering::SeqCst)
    }

    /// As the guest writes it.
    pub(crate) fn put(&self, gpa: u64, value: u64) {
        assert_eq!(gpa % 8, 0, "aligned");
        self.word(gpa).expect("RAM").store(value, Ordering::SeqCst);
    }

    pub(crate) fn get32(&self, gpa: u64) -> u32 {
        half(self.get(gpa & !7), gpa)
    }

    pub(crate) fn put32(&self, gpa: u64, value: u32) {
        let word = self.get(gpa & !7);
        self.put(gpa & !7, with_half(word, gpa, value));
    }

    /// Once the host has read the 64 bits at `gpa`, they are `value`.
    pub(crate) fn change_once_read(&self, gpa: u64, value: u64) {
        *self.changes.lock().unwrap() = Some((gpa, value));
    }

    /// The addresses that the host read since it was asked last.
    pub(crate) fn loads(&self) -> Vec<u64> {
        std::mem::take(&mut *self.loads.lock().unwrap())
    }

    fn host_load(&self, gpa: u64, align: u64) -> Option<u64> {
        assert_eq!(gpa % align, 0, "the host reads what is aligned");
        let word = self.word(gpa)?.load(Ordering::SeqCst);
        self.loads.lock().unwrap().push(gpa);
        let change = self
            .changes
            .lock()
            .unwrap()
            .take_if(|(at, _)| *at == gpa & !7);
        if let Some((at, value)) = change {
            self.put(at, value);
        }
        Some(word)
    }
}

fn half(word: u64, gpa: u64) -> u32 {
    let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
    u32::from_le_bytes(if gpa & 4 == 0 {
        [a, b, c, d]
    } else {
        [e, f, g, h]
    })
}

fn with_half(word: u64, gpa: u64, value: u32) -> u64 {
    let shift = 8 * (gpa & 4);
    word & !(0xFFFF_FFFF << shift) | u64::from(value) << shift
}

impl PortMemory for Ram {
    fn load32(&self, gpa: u64) -> Option<u32> {
        Some(half(self.host_load(gpa, 4)?, gpa))
    }

    fn store32(&self, gpa: u64, value: u32) -> bool {
        assert_eq!(gpa % 4, 0, "the host writes what is aligned");
        let there = self.word(gpa).is_some();
        if there {
            self.put32(gpa, value);
        }
        there
    }

    fn load64(&self, gpa: u64) -> Option<u64> {
        self.host_load(gpa, 8)
    }

    fn store64(&self, gpa: u64, value: u64) -> bool {
        let there = self.word(gpa).is_some();
        if there {
            self.put(gpa, value);
        }
        there
    }
}

/// All vCPUs, of which one is looked at.
pub(crate) struct Threads {
    pub(crate) cpus: Vec<RigCpu>,
    /// Whose thread this is; the host's, if none's.
    here: Option<VcpuId>,
    /// They take no calls.
    pub(crate) deaf: Vec<VcpuId>,
}

impl Park for Threads {
    fn waker(&self) -> Waker {
        panic!("one thread never waits for another");
    }

    fn park(&mut self) {
        panic!("one thread never waits for another");
    }
}

impl Caller for Threads {
    fn here(&self) -> Option<VcpuId> {
        self.here
    }

    fn call(&mut self, target: VcpuId, call: PerfCallRef<'_>) -> Result<PerfReply, NotRun> {
        if self.deaf.contains(&target) {
            return Err(NotRun::Offline);
        }
        let cpu = self.cpus.get_mut(target.index());
        Ok(cpu.ok_or(NotRun::Offline)?.run(call))
    }
}

impl PortThread<Clock, NoObserver> for Threads {
    type Source = Source;

    fn cpu(&self) -> &RigCpu {
        &self.cpus[self.here.expect("a vCPU's thread").index()]
    }

    fn cpu_mut(&mut self) -> &mut RigCpu {
        &mut self.cpus[self.here.expect("a vCPU's thread").index()]
    }
}

/// The guest, and the host around it.
pub(crate) struct World {
    pub(crate) perf: Perf<Clock>,
    pub(crate) port: Port<Clock>,
    pub(crate) vcpus: Vec<PortVcpu<Clock>>,
    pub(crate) threads: Threads,
    pub(crate) ram: Arc<Ram>,
    time: Arc<AtomicU64>,
}

/// The page of a vCPU.
pub(crate) fn base(vcpu: u32) -> u64 {
    u64::from(frame(vcpu)) * page::SIZE
}

/// The frame that it is in, once it is registered.
pub(crate) fn frame(vcpu: u32) -> u32 {
    vcpu + 1
}

/// Where a tick is stored to.
pub(crate) const TICK: u64 = 0xFEB0_0000;

/// Ticks of a task, wherever it runs.
pub(crate) fn ticks(task: Id) -> Open {
    Open::new(EventNumber::PortTick, Target::Task(task))
}

/// The same, with a trap every `period` ticks.
pub(crate) fn trapping(task: Id, period: u64, data: u64) -> Open {
    Open {
        flags: OpenFlags::REMOVE_ON_EXEC,
        period,
        data: Some(data),
        ..ticks(task)
    }
}

impl World {
    /// `vcpus` vCPUs that are online and have pages.
    pub(crate) fn new(vcpus: u32) -> Self {
        Self::with(vcpus, PortLimits::default())
    }

    pub(crate) fn with(vcpus: u32, limits: PortLimits) -> Self {
        let mut world = Self::without_pages(vcpus, limits);
        for vcpu in 0..vcpus {
            world.register(vcpu, frame(vcpu));
        }
        world.ram.loads();
        world
    }

    pub(crate) fn without_pages(vcpus: u32, limits: PortLimits) -> Self {
        let time = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&time);
        let clock: Clock = Box::new(move || Nanos(clock.load(Ordering::Relaxed)));
        let config = PerfConfig {
            interval: Nanos(0),
            pages: true,
            ..PerfConfig::new(vcpus)
        };
        let perf = Perf::new(config, clock);
        let ram = Arc::new(Ram::new());
        let port = Port::new(
            perf.clone(),
            Arc::clone(&ram) as Arc<dyn PortMemory>,
            limits,
        );
        let cpu = |vcpu| {
            let source = TickSource::new(ScriptSource::new());
            perf.cpu(VcpuId(vcpu), source).unwrap()
        };
        let mut world = Self {
            threads: Threads {
                cpus: (0..vcpus).map(cpu).collect(),
                here: None,
                deaf: Vec::new(),
            },
            vcpus: (0..vcpus)
                .map(|vcpu| PortVcpu::new(&port, VcpuId(vcpu)))
                .collect(),
            perf,
            port,
            ram,
            time,
        };
        for vcpu in 0..vcpus {
            let perf = world.perf.clone();
            perf.online(VcpuId(vcpu), world.host()).unwrap();
        }
        world
    }

    pub(crate) fn pass(&self, nanos: u64) {
        self.time.fetch_add(nanos, Ordering::Relaxed);
    }

    /// A thread of the host's.
    pub(crate) fn host(&mut self) -> &mut Threads {
        self.threads.here = None;
        &mut self.threads
    }

    /// The registers of a vCPU, with its thread.
    pub(crate) fn vcpu(&mut self, vcpu: u32) -> (&mut PortVcpu<Clock>, &mut Threads) {
        self.threads.here = Some(VcpuId(vcpu));
        (&mut self.vcpus[vcpu as usize], &mut self.threads)
    }

    pub(crate) fn cpu(&mut self, vcpu: u32) -> &mut RigCpu {
        &mut self.threads.cpus[vcpu as usize]
    }

    /// OUT: 32 bits to a register.
    pub(crate) fn out(&mut self, vcpu: u32, offset: u16, value: u32) {
        let (port, thread) = self.vcpu(vcpu);
        port.write(offset, &value.to_le_bytes(), thread);
    }

    /// IN: 32 bits of a register.
    pub(crate) fn read(&self, vcpu: u32, offset: u16) -> u32 {
        let mut data = [0; 4];
        self.vcpus[vcpu as usize].read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    /// What IN from COMMAND says.
    pub(crate) fn status(&self, vcpu: u32) -> u32 {
        self.read(vcpu, io::COMMAND)
    }

    pub(crate) fn register(&mut self, vcpu: u32, frame: u32) {
        self.out(vcpu, io::PAGE, frame);
    }

    /// Writes a command block without running it.
    pub(crate) fn write_block(&self, vcpu: u32, op: u32, reserved: u32, args: &[u64]) {
        let base = base(vcpu);
        self.ram.put32(base + page::OP, op);
        self.ram.put32(base + page::RESERVED, reserved);
        for (word, nth) in args.iter().zip(0..) {
            self.ram.put(base + page::ARG + 8 * nth, *word);
        }
        self.ram.put(base + page::RESULT, UNTOUCHED.cast_unsigned());
    }

    /// Runs the block that is in the vCPU's page.
    pub(crate) fn run_block(&mut self, vcpu: u32) -> Result<u64, Errno> {
        self.out(vcpu, io::COMMAND, 0);
        let result = self.ram.get(base(vcpu) + page::RESULT).cast_signed();
        assert_ne!(result, UNTOUCHED, "every command has a result");
        decode_result(result)
    }

    pub(crate) fn command(&mut self, vcpu: u32, command: Command) -> Result<u64, Errno> {
        let (op, args) = command.encode();
        self.write_block(vcpu, op.number(), 0, &args);
        self.run_block(vcpu)
    }

    /// A word of OUT.
    pub(crate) fn outs(&self, vcpu: u32) -> [u64; page::OUTS] {
        let out = base(vcpu) + page::OUT;
        std::array::from_fn(|nth| self.ram.get(out + 8 * nth as u64))
    }

    pub(crate) fn create(&mut self, vcpu: u32) -> Id {
        let name = Name::new("task");
        let task = self.command(vcpu, Command::Create { vcpu, name });
        Id::new(task.unwrap()).unwrap()
    }

    pub(crate) fn open(&mut self, vcpu: u32, open: Open) -> Id {
        let event = self.command(vcpu, Command::Open(open));
        Id::new(event.unwrap()).unwrap()
    }

    pub(crate) fn close(&mut self, vcpu: u32, event: Id) {
        assert_eq!(self.command(vcpu, Command::Close { event }), Ok(0));
    }

    pub(crate) fn reading(&mut self, vcpu: u32, event: Id) -> Reading {
        assert_eq!(self.command(vcpu, Command::Read { event }), Ok(0));
        Reading::from_words(self.outs(vcpu)).unwrap()
    }

    pub(crate) fn count_of(&mut self, event: Id) -> u64 {
        self.reading(0, event).count
    }

    pub(crate) fn traps_of(&mut self, event: Id) -> TrapTotals {
        assert_eq!(self.command(0, Command::Traps { event }), Ok(0));
        TrapTotals::from_words(self.outs(0))
    }

    /// The guest's half of a switch (U1): stores CURRENT, looks at the flag, announces if it is up.
    pub(crate) fn switch(
        &mut self,
        vcpu: u32,
        prev: Option<Id>,
        leaves: Leaves,
        next: Option<Id>,
    ) -> Option<Result<u64, Errno>> {
        self.set_current(vcpu, next);
        self.announces(vcpu)
            .then(|| self.command(vcpu, Command::Switch { prev, leaves, next }))
    }

    /// The same from nobody to `next`, which must work.
    pub(crate) fn run_task(&mut self, vcpu: u32, next: Id) {
        let said = self.switch(vcpu, None, Leaves::Queued, Some(next));
        assert!(said.is_none_or(|said| said == Ok(0)), "{said:?}");
    }

    /// The same from `prev` to nobody, which must work.
    pub(crate) fn idle(&mut self, vcpu: u32, prev: Id, leaves: Leaves) {
        let said = self.switch(vcpu, Some(prev), leaves, None);
        assert!(said.is_none_or(|said| said == Ok(0)), "{said:?}");
    }

    pub(crate) fn set_current(&self, vcpu: u32, task: Option<Id>) {
        let id = task.map_or(0, Id::get);
        self.ram.put(base(vcpu) + page::CURRENT, id);
    }

    pub(crate) fn announces(&self, vcpu: u32) -> bool {
        self.ram.get32(base(vcpu) + page::ANNOUNCE) != 0
    }

    /// The page's TRAP.
    pub(crate) fn trap(&self, vcpu: u32) -> u32 {
        self.ram.get32(base(vcpu) + page::TRAP)
    }

    pub(crate) fn record(&self, vcpu: u32) -> TrapRecord {
        let at = base(vcpu) + page::TRAP_EVENT;
        TrapRecord::from_words(std::array::from_fn(|nth| self.ram.get(at + 8 * nth as u64)))
    }

    /// A store to the tick page, and what the host does until it enters the guest again. Whether a
    /// trap was handed over.
    pub(crate) fn tick(&mut self, vcpu: u32, user: bool) -> bool {
        let cpu = self.cpu(vcpu);
        cpu.source_mut().tick(user);
        cpu.count(Some(Sample { addr: TICK, user }));
        self.enter(vcpu, user)
    }

    /// The host's side of an entry to the guest. Whether a trap was handed over.
    pub(crate) fn enter(&mut self, vcpu: u32, user: bool) -> bool {
        self.cpu(vcpu).irq_work();
        let (port, thread) = self.vcpu(vcpu);
        let mut handed = false;
        if port.trap_waits(thread) {
            if user {
                handed = port.hand_over(thread);
            } else {
                port.raise();
            }
        }
        self.cpu(vcpu).arm();
        handed
    }

    /// The engine is as it says it is, and no task is current on two vCPUs (I21).
    pub(crate) fn audit(&self) {
        for cpu in &self.threads.cpus {
            assert_eq!(cpu.audit(), Ok(()));
        }
        for line in self.port.tasks() {
            let task = self.port.task(line.id).unwrap();
            assert_eq!(self.perf.audit_task(&task), Ok(()));
            let current = |cpu: &&RigCpu| cpu.current().is_some_and(|its| its.id() == line.id);
            let holders = self.threads.cpus.iter().filter(current).count();
            assert!(holders <= 1, "I21: task {} is current twice", line.id);
        }
    }
}
