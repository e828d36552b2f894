// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Q2, Q3: the command block.

use std::collections::BTreeSet;

use perf_port::page::{self, ARG, OP, RESERVED};
use perf_port::{Command, Errno, EventNumber, Id, Leaves, Name, Op, Open, Target};
use proptest::prelude::*;

use crate::rig::*;

/// What the guest writes, and the host may read.
fn guests(offset: u64) -> bool {
    matches!(offset, page::CURRENT | page::OP | page::RESERVED)
        || (ARG..page::OUT).contains(&offset)
}

/// A world with a task on vCPU 0 that an event is on, so that most commands get far.
fn busy() -> (World, Id, Id) {
    let mut world = World::new(2);
    let task = world.create(0);
    let event = world.open(0, trapping(task, 1, 7));
    world.run_task(0, task);
    (world, task, event)
}

#[test]
fn q2_every_field_is_read_once() {
    let (_, task, event) = busy();
    let (vcpu, name, group) = (0, Name::new("x"), false);
    let commands = [
        Command::Nop,
        Command::Create { vcpu, name },
        Command::Fork {
            parent: task,
            name: None,
        },
        Command::Switch {
            prev: Some(task),
            leaves: Leaves::Queued,
            next: None,
        },
        // The host looks at CURRENT for what is true.
        Command::Switch {
            prev: None,
            leaves: Leaves::Queued,
            next: Some(event),
        },
        Command::Migrate { task, vcpu },
        Command::Wake { task, vcpu },
        Command::User,
        Command::TrapDone,
        Command::Open(ticks(task)),
        Command::Enable { event, group },
        Command::Refresh {
            event,
            overflows: 1,
        },
        Command::Read { event },
        Command::Traps { event },
        Command::Exec { task, name },
        Command::Exit { task },
        Command::Close { event },
    ];
    for command in commands {
        let (mut world, ..) = busy();
        world.tick(0, false);
        world.ram.loads();
        let _ = world.command(0, command);
        let loads = world.ram.loads();
        let once: BTreeSet<_> = loads.iter().collect();
        assert_eq!(once.len(), loads.len(), "{command:?} reads twice");
        for gpa in loads {
            let of_a_page = (base(0)..base(2)).contains(&gpa);
            assert!(
                of_a_page && guests(gpa % page::SIZE),
                "{command:?} {gpa:#x}"
            );
        }
    }
}

/// A guest changes the block while the host reads it: what is checked is what is done.
#[test]
fn q2_what_was_checked_is_what_is_done() {
    let (mut world, task, event) = busy();
    let (op, args) = Command::Disable {
        event,
        group: false,
    }
    .encode();
    world.write_block(0, op.number(), 0, &args);
    let enable = u64::from(Op::Enable.number());
    world.ram.change_once_read(base(0) + OP, enable | 1 << 32);
    // RESERVED is in the same word, and read after OP: it is seen changed, and refused.
    assert_eq!(world.run_block(0), Err(Errno::Invalid));
    world.write_block(0, op.number(), 0, &args);
    world.ram.change_once_read(base(0) + ARG, task.get());
    assert_eq!(world.run_block(0), Ok(0));
    let state = world.reading(1, event).state;
    assert_eq!(
        state,
        perf_port::EventState::Off,
        "the event that was named"
    );
}

#[test]
fn q2_arguments_that_an_operation_does_not_have_are_not_read() {
    let (mut world, ..) = busy();
    for (op, words) in [(Op::Nop, 0), (Op::Exit, 1), (Op::Switch, 3), (Op::Open, 8)] {
        world.write_block(0, op.number(), 0, &[0; 8]);
        world.ram.loads();
        let _ = world.run_block(0);
        let loads = world.ram.loads();
        let args = loads.iter().filter(|gpa| **gpa >= base(0) + ARG).count();
        assert_eq!(args, words, "{op:?}");
    }
}

#[test]
fn q3_what_is_unknown_or_reserved_is_refused() {
    let (mut world, task, _) = busy();
    for op in [10, 15, 25, 255, u32::MAX] {
        world.write_block(0, op, 0, &[0; 8]);
        assert_eq!(world.run_block(0), Err(Errno::NoSuchOp));
    }
    for op in Op::ALL {
        world.write_block(0, op.number(), 1, &[task.get(); 8]);
        assert_eq!(world.run_block(0), Err(Errno::Invalid), "{op:?}");
    }
    let open = ticks(task);
    let (op, args) = Command::Open(open).encode();
    for flag in 7..64 {
        let mut args = args;
        args[0] = 1 << flag;
        world.write_block(0, op.number(), 0, &args);
        assert_eq!(world.run_block(0), Err(Errno::Invalid), "flag {flag}");
    }
    let mut args = args;
    args[3] = 8;
    world.write_block(0, op.number(), 0, &args);
    assert_eq!(world.run_block(0), Err(Errno::NotCounted));
    assert_eq!((world.port.tasks().len(), world.port.events()), (1, 1));
}

#[test]
fn q3_a_refused_command_says_so_in_the_page_alone() {
    let (mut world, ..) = busy();
    world.write_block(0, 99, 0, &[0; 8]);
    assert_eq!(world.run_block(0), Err(Errno::NoSuchOp));
    assert_eq!(
        world.status(0),
        0,
        "there is a page, and it could be looked at"
    );
}

proptest! {
    /// Whatever is in a page, the host goes on.
    #[test]
    fn q3_any_block_gets_an_answer(
        op in 0_u32..32,
        reserved in prop_oneof![9 => Just(0), 1 => any::<u32>()],
        args in prop::array::uniform8(prop_oneof![0_u64..6, any::<u64>(), Just(u64::MAX)]),
    ) {
        let (mut world, ..) = busy();
        world.write_block(0, op, reserved, &args);
        let result = world.run_block(0);
        if let Err(errno) = result {
            prop_assert!(!matches!(errno, Errno::Other(_)), "{errno:?}");
        }
        world.audit();
        prop_assert_eq!(world.ram.get32(base(0) + OP), op, "the guest's words stay");
        prop_assert_eq!(world.ram.get32(base(0) + RESERVED), reserved);
    }
}

/// Every errno of the perf core has a number that the guest understands.
#[test]
fn q3_the_perf_cores_refusals_arrive() {
    let (mut world, task, _) = busy();
    let absent = Open::new(EventNumber::Cycles, Target::Vcpu(7));
    let open = world.command(0, Command::Open(absent));
    assert_eq!(open, Err(Errno::NoSuchVcpu));
    let both = Open {
        flags: perf_port::OpenFlags::EXCLUDE_USER.with(perf_port::OpenFlags::EXCLUDE_KERNEL),
        ..ticks(task)
    };
    assert_eq!(world.command(0, Command::Open(both)), Err(Errno::Invalid));
    let migrate = world.command(0, Command::Migrate { task, vcpu: 1 });
    assert_eq!(migrate, Err(Errno::Busy));
}
