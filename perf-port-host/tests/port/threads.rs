// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Real threads: every vCPU says anything at once, and the host opens events beside them. Nobody
//! waits for ever (I18), and in the end nothing is left.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use perf_port::page;
use perf_port::{Command, Errno, Id, Op, decode_result, io};
use perf_port_host::{Port, PortLimits, PortMemory, PortVcpu};
use vcpu_call::VcpuId;
use vpmu::context::{self, Attr, HostThread, Perf, PerfCalls, PerfConfig, Sample, VcpuThread};
use vpmu::source::script::ScriptSource;
use vpmu::source::tick::TickSource;
use vpmu::{Event, EventConfig, Nanos};

use crate::rig::{Ram, TICK, base, frame};

const VCPUS: u32 = 3;
const STEPS: u32 = 3_000;
const LIMITS: PortLimits = PortLimits {
    tasks: 6,
    events: 12,
    calls_per_second: 0,
};

type Clock = fn() -> Nanos;
type Thread = VcpuThread<TickSource<ScriptSource>, Clock>;

/// Numbers that look random, the same ones each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

/// The tasks and events that there are.
#[derive(Default)]
struct Given {
    tasks: Mutex<Vec<u64>>,
    events: Mutex<Vec<u64>>,
    opened: AtomicU32,
}

/// One of them, or none, or what may be one.
fn one_of(given: &Mutex<Vec<u64>>, dice: &mut Dice) -> u64 {
    let given = given.lock().unwrap();
    let nth = usize::try_from(dice.roll(given.len() as u64 + 2)).unwrap();
    given.get(nth).copied().unwrap_or(dice.roll(64))
}

struct Vcpu {
    id: u32,
    ram: Arc<Ram>,
    given: Arc<Given>,
    port: PortVcpu<Clock>,
    thread: Thread,
}

impl Vcpu {
    fn command(&mut self, op: u32, args: &[u64]) -> Result<u64, Errno> {
        let base = base(self.id);
        self.ram.put32(base + page::OP, op);
        for (nth, arg) in (0..).zip(args) {
            self.ram.put(base + page::ARG + 8 * nth, *arg);
        }
        self.port.write(io::COMMAND, &[0; 4], &mut self.thread);
        decode_result(self.ram.get(base + page::RESULT).cast_signed())
    }

    /// What comes to a guest's mind.
    fn say(&mut self, dice: &mut Dice) {
        let given = Arc::clone(&self.given);
        let current = base(self.id) + page::CURRENT;
        self.ram.put(current, one_of(&given.tasks, dice));
        let op = Op::ALL[usize::try_from(dice.roll(Op::ALL.len() as u64)).unwrap()];
        let task = one_of(&given.tasks, dice);
        let args = match op {
            Op::Open => {
                let flags = [0, 4, 8 | 16, 4 | 8 | 16][usize::try_from(dice.roll(4)).unwrap()];
                let period = dice.roll(4);
                vec![flags, task, u64::MAX, 0x100, period, 0, 0, 0]
            }
            Op::Switch => vec![task, dice.roll(2), one_of(&given.tasks, dice)],
            // Not so often that there is nobody left.
            Op::Exit | Op::Exec if dice.roll(4) > 0 => vec![0; 3],
            op if op.number() < Op::Open.number() => vec![task, dice.roll(3), 0],
            _ => vec![one_of(&given.events, dice), dice.roll(2)],
        };
        let Ok(id) = self.command(op.number(), &args) else {
            return;
        };
        match op {
            Op::Create | Op::Fork => given.tasks.lock().unwrap().push(id),
            Op::Open => {
                given.events.lock().unwrap().push(id);
                given.opened.fetch_add(1, Ordering::Relaxed);
            }
            Op::Exit => given.tasks.lock().unwrap().retain(|task| *task != args[0]),
            Op::Close => given
                .events
                .lock()
                .unwrap()
                .retain(|event| *event != args[0]),
            _ => {}
        }
    }

    /// Ticks, and the way back into the guest.
    fn tick(&mut self, user: bool) {
        let cpu = self.thread.cpu_mut();
        cpu.source_mut().tick(user);
        cpu.count(Some(Sample { addr: TICK, user }));
        cpu.irq_work();
        if self.port.trap_waits(&self.thread) {
            if user {
                self.port.hand_over(&mut self.thread);
            } else {
                self.port.raise();
            }
        }
        self.thread.cpu_mut().arm();
        self.thread.serve();
    }

    /// Runs until every vCPU has said all it has to.
    fn run(mut self, left: &AtomicU32) -> Self {
        let mut dice = Dice(u64::from(self.id) + 0x9E37_79B9);
        for _ in 0..STEPS {
            self.say(&mut dice);
            self.tick(dice.roll(2) == 0);
        }
        left.fetch_sub(1, Ordering::AcqRel);
        while left.load(Ordering::Acquire) > 0 {
            self.thread.serve();
            thread::yield_now();
        }
        self
    }
}

/// Opens and closes events on whatever tasks there are.
fn host(port: &Port<Clock>, calls: &PerfCalls, left: &AtomicU32) {
    let mut me = HostThread::new(calls);
    let attr = Attr::counting(EventConfig::everywhere(Event::PortTick));
    while left.load(Ordering::Acquire) > 1 {
        for line in port.tasks() {
            let Some(task) = port.task(line.id) else {
                continue;
            };
            let open = context::Open::new(attr, context::Target::Task(&task));
            if let Ok(event) = port.perf().open(&open, &mut me) {
                port.perf().read(&event, &mut me).unwrap();
                port.perf().close(&event, &mut me).unwrap();
            }
        }
        thread::yield_now();
    }
    left.fetch_sub(1, Ordering::AcqRel);
}

fn vcpus(port: &Port<Clock>, calls: &PerfCalls, ram: &Arc<Ram>) -> Vec<Vcpu> {
    let given = Arc::new(Given::default());
    let vcpu = |id| {
        let source = TickSource::new(ScriptSource::new());
        let cpu = port.perf().cpu(VcpuId(id), source).unwrap();
        let mut thread = VcpuThread::new(cpu, calls.vcpu(VcpuId(id)).unwrap());
        thread.online().unwrap();
        let mut port = PortVcpu::new(port, VcpuId(id));
        port.write(io::PAGE, &frame(id).to_le_bytes(), &mut thread);
        Vcpu {
            id,
            ram: Arc::clone(ram),
            given: Arc::clone(&given),
            port,
            thread,
        }
    };
    (0..VCPUS).map(vcpu).collect()
}

#[test]
fn i18_all_vcpus_and_the_host_at_once_come_to_an_end() {
    let calls = PerfCalls::new(VCPUS, |_: VcpuId| ());
    let config = PerfConfig {
        interval: Nanos(0),
        pages: true,
        ..PerfConfig::new(VCPUS)
    };
    let clock: Clock = || Nanos(0);
    let perf = Perf::new(config, clock);
    let ram = Arc::new(Ram::new());
    let memory = Arc::clone(&ram) as Arc<dyn PortMemory>;
    let port = Port::new(perf.clone(), memory, LIMITS);
    let vcpus = vcpus(&port, &calls, &ram);
    // The vCPUs and the host.
    let left = AtomicU32::new(VCPUS + 1);
    let mut vcpus: Vec<_> = thread::scope(|scope| {
        scope.spawn(|| host(&port, &calls, &left));
        let run = |vcpu: Vcpu| scope.spawn(|| vcpu.run(&left));
        let threads: Vec<_> = vcpus.into_iter().map(run).collect();
        threads.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert!(port.tasks().len() <= LIMITS.tasks && port.events() <= LIMITS.events);
    for vcpu in &vcpus {
        assert_eq!(vcpu.thread.cpu().audit(), Ok(()));
    }
    // The others are not in the guest any more.
    for vcpu in &mut vcpus[1..] {
        vcpu.port.unplug(&mut vcpu.thread);
        vcpu.thread.offline().unwrap();
    }
    let first = &mut vcpus[0];
    for line in port.tasks() {
        let exited = first.command(Op::Exit.number(), &[line.id.0]);
        assert_eq!(exited, Ok(0));
    }
    let events = first.given.events.lock().unwrap().clone();
    let opened = first.given.opened.load(Ordering::Relaxed);
    assert!(opened > 100, "there was something to do: {opened}");
    for event in events.into_iter().filter_map(Id::new) {
        let (op, args) = Command::Traps { event }.encode();
        // One that was guessed and closed before whoever opened it had noted it.
        if first.command(op.number(), &args) == Err(Errno::BadEvent) {
            continue;
        }
        let out = base(0) + page::OUT;
        let [queued, _, _, sent, dropped, pending] =
            std::array::from_fn(|nth| ram.get(out + 8 * nth as u64));
        assert_eq!((queued, pending), (sent + dropped, 0), "I14");
        let (op, args) = Command::Close { event }.encode();
        assert_eq!(first.command(op.number(), &args), Ok(0));
    }
    assert_eq!((port.events(), port.tasks()), (0, vec![]));
    assert!(!perf.announces(), "I17: nothing is left");
}
