// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Q1, Q13: the page, and the registers.

use perf_port::page::{self, TRAP_NONE, TRAP_WAITS};
use perf_port::{Command, Errno, Leaves, Name, io};
use perf_port_host::PortLimits;

use crate::rig::*;

const NOP: Command = Command::Nop;

fn unpaged() -> World {
    World::without_pages(2, PortLimits::default())
}

#[test]
fn q1_a_frame_is_read_as_it_was_written() {
    let mut world = unpaged();
    assert_eq!(world.read(0, io::PAGE), 0);
    world.register(0, frame(0));
    assert_eq!((world.read(0, io::PAGE), world.status(0)), (frame(0), 0));
    assert_eq!(world.read(1, io::PAGE), 0, "each vCPU has its own");
    world.register(0, 0);
    assert_eq!((world.read(0, io::PAGE), world.status(0)), (0, 0));
}

#[test]
fn q1_a_page_is_ram_from_its_first_word_to_its_last() {
    let mut world = unpaged();
    // Nothing of it, only its first half, only its second half, beyond all addresses.
    for frame in [FRAMES + 1, FRAMES, HOLE, u32::MAX] {
        world.register(0, frame);
        assert_eq!(world.status(0), 14, "frame {frame}");
        assert_eq!(world.read(0, io::PAGE), 0);
    }
    world.register(0, FRAMES - 1);
    assert_eq!(world.status(0), 0);
}

#[test]
fn q1_a_refused_page_leaves_none() {
    let mut world = World::new(1);
    world.register(0, HOLE);
    assert_eq!((world.status(0), world.read(0, io::PAGE)), (14, 0));
    world.out(0, io::COMMAND, 0);
    assert_eq!(world.status(0), 6);
}

#[test]
fn q1_without_a_page_there_are_no_commands() {
    let mut world = unpaged();
    world.out(0, io::COMMAND, 0);
    assert_eq!(world.status(0), 6);
    world.register(0, frame(0));
    assert_eq!(world.command(0, NOP), Ok(0));
    assert_eq!(world.status(0), 0, "the next write says anew");
}

#[test]
fn q1_a_page_says_from_the_start_what_it_has_to() {
    let mut world = unpaged();
    world.register(0, frame(0));
    let task = world.create(0);
    // Nobody wants to know, whatever was there before.
    world.ram.put(base(1) + page::ANNOUNCE, u64::MAX);
    world.register(1, frame(1));
    assert!(!world.announces(1));
    assert_eq!(world.trap(1), TRAP_NONE);
    world.register(1, 0);
    // Somebody does.
    world.set_current(1, Some(task));
    let event = world.open(0, ticks(task));
    assert!(world.announces(0) && !world.announces(1), "it has none");
    world.register(1, frame(1));
    assert!(world.announces(1));
    world.tick(1, true);
    assert_eq!(world.count_of(event), 1, "and it was looked at");
    world.close(0, event);
    assert!(!world.announces(0) && !world.announces(1));
}

#[test]
fn q1_a_page_that_was_taken_back_is_left_alone() {
    let mut world = World::new(2);
    let task = world.create(0);
    world.register(1, 0);
    let event = world.open(0, ticks(task));
    assert!(world.announces(0) && !world.announces(1));
    world.register(0, frame(2));
    world.close_somewhere_else(event);
    assert!(world.announces(0), "the old page is not written any more");
}

#[test]
fn only_whole_registers_are_accessed() {
    let mut world = World::new(1);
    world.write_block(0, 1, 0, &[0; 8]);
    for (offset, data) in [
        (io::COMMAND, &[0_u8][..]),
        (io::COMMAND, &[0; 2]),
        (io::COMMAND, &[0; 8]),
        (io::COMMAND + 1, &[0; 4]),
        (2, &[0; 4]),
        (io::SIZE, &[0; 4]),
        (io::PAGE, &[0; 1]),
        (io::PAGE, &[]),
    ] {
        let (port, thread) = world.vcpu(0);
        port.write(offset, data, thread);
        let mut read = vec![0; data.len()];
        port.read(offset, &mut read);
        assert!(read.iter().all(|byte| *byte == 0xFF), "{offset}");
    }
    assert!(world.port.tasks().is_empty(), "nothing was run");
    assert_eq!(world.read(0, io::PAGE), frame(0));
}

#[test]
fn q13_an_unplugged_vcpu_has_no_page() {
    let mut world = World::new(2);
    let task = world.create(0);
    let event = world.open(0, trapping(task, 1, 7));
    world.run_task(1, task);
    assert!(
        !world.tick(1, false),
        "it waits for the return to user mode"
    );
    assert_eq!(world.trap(1), TRAP_WAITS);
    let (port, thread) = world.vcpu(1);
    port.unplug(thread);
    assert!(!port.trap_waits(thread));
    assert!(!port.hand_over(thread));
    assert_eq!(port.window(), None);
    port.raise();
    let perf = world.perf.clone();
    perf.offline(vcpu_call::VcpuId(1), world.host()).unwrap();
    assert_eq!(world.read(1, io::PAGE), 0);
    world.out(1, io::COMMAND, 0);
    assert_eq!(world.status(1), 6);
    // Tasks and events are no vCPU's, and the trap is where the task is.
    assert_eq!(world.count_of(event), 1);
    world.run_task(0, task);
    assert_eq!(world.trap(0), TRAP_WAITS);
    assert!(world.enter(0, true));
    assert_eq!(world.record(0).data, 7);
    // It comes again, and starts without a page.
    perf.online(vcpu_call::VcpuId(1), world.host()).unwrap();
    assert_eq!(world.read(1, io::PAGE), 0);
    world.register(1, frame(1));
    assert_eq!(world.command(1, NOP), Ok(0));
    let name = Name::NONE;
    let absent = world.command(1, Command::Create { vcpu: 2, name });
    assert_eq!(absent, Err(Errno::NoSuchVcpu));
}

#[test]
fn the_window_is_where_the_page_says() {
    let mut world = World::new(1);
    let window = |world: &World| world.vcpus[0].window();
    assert_eq!(window(&world), None);
    world
        .ram
        .put(base(0) + page::RETURN_START, 0xFFFF_8000_0000_1000);
    world
        .ram
        .put(base(0) + page::RETURN_END, 0xFFFF_8000_0000_1010);
    assert_eq!(
        window(&world),
        Some(0xFFFF_8000_0000_1000..0xFFFF_8000_0000_1010)
    );
    world.ram.put(base(0) + page::RETURN_END, 1);
    assert_eq!(window(&world), None, "it ends before it begins");
    world.register(0, 0);
    assert_eq!(window(&world), None);
}

#[test]
fn pages_that_two_vcpus_share_are_theirs_to_sort_out() {
    let mut world = World::new(2);
    world.register(1, frame(0));
    assert_eq!(world.status(1), 0);
    let task = world.create(0);
    let event = world.open(0, ticks(task));
    // Both say that it runs there: the first one is believed.
    world.idle(0, task, Leaves::Queued);
    world.run_task(0, task);
    world.audit();
    world.tick(0, true);
    assert_eq!(world.count_of(event), 1);
}

impl World {
    /// Closes an event by the page that vCPU 0 has now, which is not the usual one.
    fn close_somewhere_else(&mut self, event: perf_port::Id) {
        let (op, args) = Command::Close { event }.encode();
        let base = u64::from(frame(2)) * page::SIZE;
        self.ram.put32(base + page::OP, op.number());
        self.ram.put(base + page::ARG, args[0]);
        self.out(0, io::COMMAND, 0);
        assert_eq!(self.ram.get(base + page::RESULT), 0);
    }
}
