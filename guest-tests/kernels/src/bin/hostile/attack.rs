// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What an attacker does on its vCPU: one thing at a time, at random.

use core::arch::asm;

use rt::apic::{LVT_MASKED, LVTPC, PmiDelivery};
use rt::hotplug::{self, Register, command};
use rt::random::Random;
use rt::sched::TICKS;
use rt::{index, mem, msr};

use crate::shared::{self, Page, field};
use crate::user;

/// The port's registers.
pub(crate) const PAGE: u16 = 0xce0;
pub(crate) const COMMAND: u16 = PAGE + 4;

/// Frames where no RAM is: devices, above all RAM, nowhere.
const NO_RAM: [u64; 6] = [0xfeb00, 0xfec00, 0xfee00, 0xfffff, 0xfff_ffff, 0xffff_ffff];

/// A page of code: the port writes to it, where its fields are, and behind them it goes on working.
pub(crate) const CODE: u64 = mem::PLAYGROUND;

/// The PMU's MSRs, of this model and of others.
const MSRS: [(u32, u64); 11] = [
    (0xc1, 8),
    (0x186, 8),
    (0x4c1, 8),
    (0x309, 5),
    (0x38d, 6),
    (0x345, 1),
    (0x1d9, 1),
    (0x3f1, 1),
    (0xc001_0000, 8),
    (0xc001_0200, 12),
    (0xc000_0300, 4),
];

/// How far an attacker goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Harm {
    /// Its own vCPU stays.
    ButHotplug,
    /// vCPUs are given back that nobody wants, its own among them. It may be ended in the middle of
    /// anything, so it does not go to user mode.
    All,
}

pub(crate) struct Attacker {
    random: Random,
    harm: Harm,
    /// The page that it registered last.
    mine: &'static Page,
}

/// Writes a register of 32 bits.
pub(crate) fn out32(port: u16, value: u64) {
    // SAFETY: of the perf port, the hotplug controller, or nobody's. The perf port writes to the pages
    // of this kernel's that exist for it.
    unsafe { asm!("out dx, eax", in("dx") port, in("rax") value, options(nostack)) };
}

impl Attacker {
    pub(crate) fn new(seed: u64, harm: Harm) -> Self {
        let mut random = Random::new(seed);
        let mine = shared::any(&mut random);
        Self { random, harm, mine }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random.below(end)
    }

    /// One thing, whatever it is.
    pub(crate) fn act(&mut self) {
        match self.below(20) {
            0 | 1 => self.register(),
            2..=8 => self.command(),
            9..=11 => shared::any(&mut self.random).scribble(&mut self.random),
            12 => self.odd_access(),
            13 if self.harm == Harm::ButHotplug && self.below(2) == 0 => self.pretend(),
            13 => self.kernel_ticks(),
            14 if self.harm == Harm::ButHotplug => user::port(&mut self.random),
            15 if self.harm == Harm::ButHotplug => user::ticks(&mut self.random),
            14..=16 => self.hotplug(),
            17 | 18 => self.msr(),
            _ => _ = msr::try_rdpmc(u32::try_from(self.below(64)).unwrap_or(u32::MAX)),
        }
    }

    fn register(&mut self) {
        match self.below(8) {
            0 => out32(PAGE, 0),
            1 => {
                let frame = NO_RAM[index(self.below(NO_RAM.len() as u64))];
                out32(PAGE, frame);
            }
            2 => out32(PAGE, CODE / mem::PAGE),
            _ => {
                self.mine = shared::any(&mut self.random);
                out32(PAGE, self.mine.frame());
            }
        }
    }

    fn command(&mut self) {
        let op = match self.below(8) {
            0 => self.below(1 << 32),
            1 => self.below(32),
            2 | 3 => 16,
            4 => 5,
            5 => 8 + self.below(2),
            6 => 1 + self.below(7),
            _ => 17 + self.below(8),
        };
        let arguments = self.arguments(op);
        let reserved = u64::from(self.below(32) == 0);
        self.run(op | reserved << 32, arguments);
    }

    /// Runs a command; what became of it, unless somebody else wrote over that.
    fn run(&mut self, op: u64, arguments: [u64; 8]) -> u64 {
        self.mine.set(field::OP, op);
        for (place, argument) in (field::ARG..).zip(arguments) {
            // Some are of the command before, or of somebody else.
            if self.below(32) > 0 {
                self.mine.set(place, argument);
            }
        }
        self.mine.set(field::RESULT, 0);
        out32(COMMAND, 0);
        let result = self.mine.get(field::RESULT);
        shared::learn(op, result, &mut self.random);
        result
    }

    /// What an honest kernel does, as far as the others let it: a task that traps in user mode.
    fn pretend(&mut self) {
        self.mine = shared::any(&mut self.random);
        out32(PAGE, self.mine.frame());
        let task = self.run(1, [0; 8]);
        self.mine.set(field::CURRENT, task);
        self.run(5, [0, 0, task, 0, 0, 0, 0, 0]);
        self.run(16, [8 | 16, task, u64::MAX, 0x100, 1, task, 0, 0]);
        for _ in 0..3 {
            user::ticks(&mut self.random);
            self.run(9, [0; 8]);
        }
        if self.below(2) == 0 {
            self.run(4, [task, 0, 0, 0, 0, 0, 0, 0]);
        }
    }

    fn arguments(&mut self, op: u64) -> [u64; 8] {
        let garbage: [u64; 8] = core::array::from_fn(|_| shared::word(&mut self.random));
        let (task, event) = (
            shared::task(&mut self.random),
            shared::event(&mut self.random),
        );
        let [_, first, second, ..] = garbage;
        match op {
            // OPEN, mostly so that it succeeds.
            16 => {
                let traps = self.below(2);
                let flags = self.below(8) | (traps * 0x18) | (self.below(2) << 6);
                let vcpu = if self.below(2) == 0 {
                    u64::MAX
                } else {
                    self.below(5)
                };
                let which = [0x100, 0x100, 1, 3, first][index(self.below(5))];
                let leader = if self.below(8) == 0 { event } else { 0 };
                let limit = if self.below(4) == 0 { second } else { 0 };
                [
                    flags,
                    task,
                    vcpu,
                    which,
                    self.below(5),
                    traps * second,
                    leader,
                    limit,
                ]
            }
            1 => [self.below(5), first, second, 0, 0, 0, 0, 0],
            // SWITCH, to whoever, from whoever.
            5 => [
                task,
                self.below(3),
                shared::task(&mut self.random),
                0,
                0,
                0,
                0,
                0,
            ],
            2..=7 => [task, self.below(5), first, 0, 0, 0, 0, 0],
            17..=24 => [event, self.below(3), first, 0, 0, 0, 0, 0],
            _ => garbage,
        }
    }

    /// Widths and addresses that no driver would use, in and around the port.
    fn odd_access(&mut self) {
        let port = PAGE - 2 + u16::try_from(self.below(12)).unwrap_or(0);
        let value = shared::word(&mut self.random);
        // SAFETY: as `out32`; no whole register is written here but COMMAND, and PAGE with 0.
        unsafe {
            match self.below(7) {
                0 => asm!("in al, dx", in("dx") port, out("al") _, options(nostack)),
                1 => asm!("in ax, dx", in("dx") port, out("ax") _, options(nostack)),
                2 => asm!("in eax, dx", in("dx") port, out("eax") _, options(nostack)),
                3 => asm!("out dx, al", in("dx") port, in("rax") value, options(nostack)),
                4 => asm!("out dx, ax", in("dx") port, in("rax") value, options(nostack)),
                5 => asm!("out dx, eax", in("dx") port, in("rax") 0, options(nostack)),
                _ => {
                    let words = [0_u32; 5];
                    asm!("rep outsd", in("dx") COMMAND, inout("rsi") words.as_ptr() => _,
                        inout("rcx") words.len() => _, options(nostack, readonly));
                }
            }
        }
    }

    fn kernel_ticks(&mut self) {
        let value = self.below(1 << 32);
        // SAFETY: the tick page, which no Rust code has a reference to.
        unsafe {
            match self.below(4) {
                0 => (TICKS as *mut u32).write_volatile(0),
                1 => _ = (TICKS as *const u64).read_volatile(),
                2 => asm!("mov [rsi + 3], eax", in("rsi") TICKS, in("rax") value, options(nostack)),
                _ => asm!("rep stosd", inout("rdi") TICKS => _, inout("rcx") 3_u64 => _,
                    in("rax") value, options(nostack)),
            }
        }
    }

    fn hotplug(&mut self) {
        if self.harm == Harm::All && self.below(64) == 0 {
            hotplug::write(Register::Command, command::EJECT);
        }
        let value = match self.below(3) {
            0 => self.below(256),
            _ => self.below(6),
        };
        let value = u8::try_from(value).unwrap_or(u8::MAX);
        match self.below(6) {
            0 | 1 => hotplug::write(Register::Selector, value),
            2 => hotplug::write(Register::Status, value),
            3 if value != command::EJECT => hotplug::write(Register::Command, value),
            4 => hotplug::write(Register::Count, value),
            _ => _ = hotplug::read(Register::Status),
        }
    }

    fn msr(&mut self) {
        let (first, count) = MSRS[index(self.below(MSRS.len() as u64))];
        let number = first + u32::try_from(self.below(count)).unwrap_or(0);
        let value = match self.below(4) {
            // A counter that counts, and interrupts when it overflows.
            0 => 0x53_003c | self.below(2) << 20,
            1 => self.below(1 << 48),
            _ => shared::word(&mut self.random),
        };
        match self.below(4) {
            0 => _ = msr::try_read(u32::try_from(self.below(1 << 32)).unwrap_or(0)),
            1 => {
                let how = [
                    PmiDelivery::Vector.lvtpc(),
                    PmiDelivery::Nmi.lvtpc(),
                    LVT_MASKED,
                ];
                _ = msr::try_write(LVTPC, how[index(self.below(3))]);
            }
            _ => _ = msr::try_write(number, value),
        }
    }
}
