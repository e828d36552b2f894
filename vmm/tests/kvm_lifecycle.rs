// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Kick, pause, resume and stop, on real KVM: whatever the vCPUs are doing, they obey.
//!
//! None of these tests measures time: a vCPU that does not obey is an error of the VMM's own,
//! and a run that does not end runs into the limit of `wait`.

mod common;

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

use common::{CHATTER, HALT, LIMIT, Output, SPIN, TRIPLE_FAULT, exit, print, start, start_aps, vm};
use devices::{BusDevice, PortRange};
use vmm::{ExitReason, RunningVm, VcpuState, VmError};

/// Stops the run; every vCPU has its report. Says how it ended.
fn stopped(running: RunningVm) -> ExitReason {
    let count = running.states().len();
    let report = running.stop().unwrap();
    assert_eq!(report.vcpus.len(), count);
    for (vcpu, id) in report.vcpus.iter().zip(0..) {
        assert_eq!(vcpu.id, id);
    }
    report.exit.reason
}

#[test]
#[ignore = "needs KVM"]
fn a_spinning_guest_stops() {
    assert_eq!(stopped(start(vm(SPIN))), ExitReason::Stopped);
}

#[test]
#[ignore = "needs KVM"]
fn a_halted_guest_stops() {
    let output = Output::default();
    let running = start(vm(&[&print("x"), HALT].concat()).serial(Box::new(output.clone())));
    while output.text().is_empty() {
        thread::yield_now();
    }
    assert_eq!(stopped(running), ExitReason::Stopped);
}

#[test]
#[ignore = "needs KVM"]
fn vcpus_that_wait_for_their_start_stop_and_pause() {
    let running = start(vm(HALT).vcpus(4));
    running.pause().unwrap();
    assert_eq!(running.states(), [VcpuState::Paused; 4]);
    running.resume().unwrap();
    assert_eq!(stopped(running), ExitReason::Stopped);
}

#[test]
#[ignore = "needs KVM"]
fn vcpus_started_by_init_and_sipi_run_and_stop() {
    // Each of them: in real mode, mov al, 9; out 0xf4, al; then it spins.
    let code = [&start_aps(&[0xb0, 9, 0xe6, 0xf4, 0xeb, 0xfe]), HALT].concat();
    let report = start(vm(&code).vcpus(2)).wait(LIMIT).unwrap();
    assert_eq!(
        (report.exit.reason, report.exit.code),
        (ExitReason::GuestExit, Some(9))
    );
    assert_eq!(report.vcpus[1].exits["io-out"], 1);
    let code = [&start_aps(SPIN), SPIN].concat();
    assert_eq!(stopped(start(vm(&code).vcpus(2))), ExitReason::Stopped);
}

#[test]
#[ignore = "needs KVM"]
fn a_started_vcpu_that_cannot_go_on_stops_the_others() {
    // lidt with a limit of 0 from empty memory; to protected mode: mov eax, cr0; or al, 1;
    // mov cr0, eax; ud2.
    let fault = [
        0x0f, 0x01, 0x1e, 0x20, 0x80, 0x0f, 0x20, 0xc0, 0x0c, 1, 0x0f, 0x22, 0xc0, 0xf, 0xb,
    ];
    let code = [&start_aps(&fault), SPIN].concat();
    let report = start(vm(&code).vcpus(2)).wait(LIMIT).unwrap();
    assert_eq!(report.exit.vcpu, Some(1));
    // Where KVM has to emulate real mode, it gives up before the CPU would.
    let reason = report.exit.reason;
    assert!(
        matches!(reason, ExitReason::TripleFault | ExitReason::VcpuFailure),
        "{reason:?}"
    );
    assert_eq!(report.vcpus.len(), 2);
}

#[test]
#[ignore = "needs KVM"]
fn a_running_guest_is_paused_and_resumed_200_times() {
    for code in [
        SPIN,
        HALT,
        CHATTER,
        &[&start_aps(SPIN)[..], CHATTER].concat(),
    ] {
        let running = start(vm(code).vcpus(2));
        for _ in 0..200 {
            running.pause().unwrap();
            assert_eq!(running.states(), [VcpuState::Paused; 2]);
            running.resume().unwrap();
        }
        assert_eq!(stopped(running), ExitReason::Stopped);
    }
}

#[test]
#[ignore = "needs KVM"]
fn a_paused_guest_stops() {
    let running = start(vm(SPIN).vcpus(2));
    running.pause().unwrap();
    assert_eq!(stopped(running), ExitReason::Stopped);
}

#[test]
#[ignore = "needs KVM"]
fn a_paused_guest_stands_still() {
    let (ticks, counter) = Ticks::new();
    // out 0x80, al for ever.
    let ports = PortRange::new(0x80, 0x80).unwrap();
    let running = start(vm(&[0xe6, 0x80, 0xeb, 0xfc]).device(ports, Box::new(ticks)));
    counter.recv().unwrap();
    running.pause().unwrap();
    while counter.try_recv().is_ok() {}
    // A vCPU that ran would have to be kicked out of the guest for each of these.
    for _ in 0..100 {
        running.kick_all();
        running.pause().unwrap();
    }
    assert!(counter.try_recv().is_err());
    running.resume().unwrap();
    counter.recv().unwrap();
    assert_eq!(stopped(running), ExitReason::Stopped);
}

/// A device that reports each write.
struct Ticks(Sender<()>);

impl Ticks {
    fn new() -> (Self, Receiver<()>) {
        let (sender, receiver) = channel();
        (Self(sender), receiver)
    }
}

impl BusDevice for Ticks {
    fn read(&mut self, _offset: u16, _data: &mut [u8]) {}

    fn write(&mut self, _offset: u16, _data: &[u8]) {
        // The test may be done already.
        let _ = self.0.send(());
    }
}

#[test]
#[ignore = "needs KVM"]
fn a_storm_of_kicks_disturbs_nobody() {
    // mov ecx, 2000; mov edx, 0x3f8; mov al, 'x'; out dx, al; dec ecx; jnz to the mov al.
    let head = [
        0xb9, 0xd0, 7, 0, 0, 0xba, 0xf8, 3, 0, 0, 0xb0, b'x', 0xee, 0x49, 0x75, 0xfa,
    ];
    let code = [&start_aps(SPIN), &head[..], &exit(3)].concat();
    let output = Output::default();
    let running = start(vm(&code).vcpus(2).serial(Box::new(output.clone())));
    // A storm without end might not let the guest do anything else.
    for _ in 0..5_000 {
        running.kick_all();
    }
    let report = running.wait(LIMIT).unwrap();
    assert_eq!(report.exit.code, Some(3), "{}", report.exit);
    assert_eq!(output.text(), "x".repeat(2_000));
}

#[test]
#[ignore = "needs KVM"]
fn a_run_that_is_dropped_leaves_no_thread() {
    fn threads() -> usize {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        tasks
            .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok())
            .filter(|name| name.starts_with("vcpu") || name.starts_with("console"))
            .count()
    }
    // A joined thread may still be listed for a moment.
    fn settle() {
        let start = Instant::now();
        while threads() > 0 {
            assert!(
                start.elapsed() < LIMIT.unwrap(),
                "{} threads are left",
                threads()
            );
            thread::yield_now();
        }
    }
    for code in [SPIN, HALT, TRIPLE_FAULT] {
        drop(start(vm(code).vcpus(3)));
        settle();
    }
    drop(vm(SPIN).build().unwrap());
    assert_eq!(threads(), 0);
}

#[test]
#[ignore = "needs KVM"]
fn an_ended_run_cannot_be_paused() {
    let running = start(vm(&exit(1)));
    while !running.has_ended() {
        thread::yield_now();
    }
    assert!(matches!(running.pause(), Err(VmError::Ended)));
    assert!(matches!(running.resume(), Err(VmError::Ended)));
    assert_eq!(running.wait(LIMIT).unwrap().exit.code, Some(1));
}

#[test]
#[ignore = "needs KVM"]
fn a_vcpu_thread_that_panics_ends_the_run() {
    struct Panics;
    impl BusDevice for Panics {
        fn read(&mut self, _offset: u16, _data: &mut [u8]) {}

        fn write(&mut self, _offset: u16, _data: &[u8]) {
            panic!("as this test wants");
        }
    }
    let ports = PortRange::new(0x80, 0x80).unwrap();
    let code = [&start_aps(SPIN), &[0xe6, 0x80][..], SPIN].concat();
    let running = start(vm(&code).vcpus(2).device(ports, Box::new(Panics)));
    let report = running.wait(LIMIT).unwrap();
    assert_eq!(
        (report.exit.reason, report.exit.vcpu),
        (ExitReason::VcpuFailure, Some(0))
    );
    assert_eq!(report.vcpus.len(), 2);
}

/// A sink that takes nothing until its other end is dropped.
struct Blocked(Receiver<()>);

impl Write for Blocked {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        // An error says that the other end is gone, which is what this waits for.
        let _ = self.0.recv();
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
#[ignore = "needs KVM"]
fn a_sink_that_blocks_stops_neither_pause_nor_stop() {
    let (unblock, blocked) = channel();
    let running = start(vm(CHATTER).vcpus(2).serial(Box::new(Blocked(blocked))));
    for _ in 0..20 {
        running.pause().unwrap();
        running.resume().unwrap();
    }
    assert_eq!(stopped(running), ExitReason::Stopped);
    drop(unblock);
}

#[test]
#[ignore = "needs KVM"]
fn a_guest_faster_than_its_sink_waits_and_loses_nothing() {
    let (unblock, blocked) = channel();
    // mov ecx, 40000; mov edx, 0x3f8; out dx, al; dec ecx; jnz to the out.
    let head = [
        0xb9, 0x40, 0x9c, 0, 0, 0xba, 0xf8, 3, 0, 0, 0xee, 0x49, 0x75, 0xfc,
    ];
    let code = [&head[..], &exit(0)].concat();
    struct Counts(Receiver<()>, Sender<usize>);
    impl Write for Counts {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            let _ = self.1.send(data.len());
            Ok(data.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (count, counts) = channel();
    let running = start(vm(&code).serial(Box::new(Counts(blocked, count))));
    // Far less than all of it fits the queue, so the guest cannot have ended.
    unblock.send(()).unwrap();
    counts.recv().map(|first| assert!(first < 30_000)).unwrap();
    assert!(!running.has_ended());
    drop(unblock);
    let report = running.wait(LIMIT).unwrap();
    assert_eq!(report.exit.code, Some(0));
    assert_eq!(report.vcpus[0].exits["io-out"], 40_001);
}

#[test]
#[ignore = "needs KVM"]
fn another_thread_can_end_a_run_that_is_waited_for() {
    let running = start(vm(SPIN));
    let stopper = running.handle();
    let stopping = thread::spawn(move || {
        stopper.end(vmm::Exit::new(ExitReason::Interrupted));
    });
    let report = running.wait(LIMIT).unwrap();
    stopping.join().unwrap();
    assert_eq!(report.exit.reason, ExitReason::Interrupted);
}
