// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The builder's refusals, and runs with vCPUs that only pretend, so that every way to go wrong
//! can be played through without KVM.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Condvar, Mutex, OnceLock, Weak};
use std::thread;

use super::*;
use crate::cpus::Kick;
use crate::vcpu::{Step, Vcpu, VcpuError};
use crate::{Exit, ExitReason, RunReport, VcpuReport, VcpuState};

/// What a pretended vCPU does when it is run.
enum Guest {
    /// Stays in the guest until it is kicked.
    Spins,
    /// As `Spins`, and is kicked whenever it is about to forget its kicks.
    KickedAsItForgets(Arc<OnceLock<Weak<Shared>>>),
    /// Stays in the guest, and takes no notice of kicks, until the other end is dropped.
    Deaf(Receiver<()>),
    /// Writes to COM1 for ever.
    Chatters,
    /// Exits with a code.
    Exits(u32),
    /// Triple-faults.
    Faults,
    /// Fails as an accelerator does.
    Fails,
    Panics,
    FailsToBind,
    PanicsAsItBinds,
}

#[derive(Clone, Default)]
struct Signal(Arc<(Mutex<bool>, Condvar)>);

impl Kick for Signal {
    fn kick(&self) -> bool {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
        true
    }
}

struct Pretended {
    guest: Guest,
    signal: Signal,
}

impl NewVcpu for Pretended {
    fn bind(self: Box<Self>) -> Result<Box<dyn Vcpu>, VcpuError> {
        match self.guest {
            Guest::FailsToBind => Err("It will not be bound".into()),
            Guest::PanicsAsItBinds => panic!("as this test wants"),
            _ => Ok(self),
        }
    }
}

impl Vcpu for Pretended {
    fn kicker(&self) -> Box<dyn Kick> {
        Box::new(self.signal.clone())
    }

    fn tend(&mut self) {}

    fn forget_kicks(&mut self) {
        if let Guest::KickedAsItForgets(vm) = &self.guest
            && let Some(vm) = vm.get().and_then(Weak::upgrade)
        {
            vm.cpus.kick_all();
        }
        *self.signal.0.0.lock().unwrap() = false;
    }

    fn run(&mut self, ports: &PioBus) -> Result<Step, VcpuError> {
        match &self.guest {
            Guest::Spins | Guest::KickedAsItForgets(_) => {
                let (kicked, changed) = &*self.signal.0;
                let kicked = kicked.lock().unwrap();
                drop(changed.wait_while(kicked, |kicked| !*kicked).unwrap());
                Ok(Step::Again)
            }
            Guest::Deaf(until) => {
                // An error says that the other end is gone, which is what this waits for.
                let _ = until.recv();
                Ok(Step::Again)
            }
            Guest::Chatters => {
                ports.write(ComPort::COM1.first(), b"x");
                Ok(Step::PortWrite)
            }
            Guest::Exits(code) => {
                ports.write(DebugExit::PORTS.first(), &code.to_le_bytes());
                Ok(Step::PortWrite)
            }
            Guest::Faults => Ok(Step::End(Exit::new(ExitReason::TripleFault))),
            Guest::Fails => Err("It will not run".into()),
            _ => panic!("as this test wants"),
        }
    }

    fn report(&mut self) -> VcpuReport {
        VcpuReport {
            pmis: 1,
            ..VcpuReport::default()
        }
    }
}

/// Long enough never to be reached by a test that passes.
const LONG: Duration = Duration::from_secs(60);

fn machine(guests: impl IntoIterator<Item = Guest>, serial: Box<dyn Write + Send>) -> Vm {
    let exit = ExitLatch::default();
    let console = Console::default();
    let mut ports = PioBus::new();
    ports
        .insert(DebugExit::PORTS, Box::new(DebugExit::new(exit.clone())))
        .unwrap();
    let com1 = ComPort::new(Line(eventfd().unwrap()), console.clone());
    ports.insert(ComPort::COM1, Box::new(com1)).unwrap();
    let vcpus: Vec<Box<dyn NewVcpu>> = guests
        .into_iter()
        .map(|guest| -> Box<dyn NewVcpu> {
            Box::new(Pretended {
                guest,
                signal: Signal::default(),
            })
        })
        .collect();
    let cpus = Arc::new(Cpus::new(vcpus.len()));
    let shared = Shared {
        cpus,
        ports,
        exit,
        console,
        progress: eventfd().unwrap(),
    };
    Vm {
        shared: Arc::new(shared),
        vcpus,
        serial,
        obey_limit: LONG,
        accel: "pretended",
        pmu: None,
        pmu_refused: None,
    }
}

fn start(guests: impl IntoIterator<Item = Guest>) -> RunningVm {
    machine(guests, Box::new(io::sink())).start().unwrap()
}

fn wait(guests: impl IntoIterator<Item = Guest>) -> RunReport {
    start(guests).wait(Some(LONG)).unwrap()
}

#[test]
fn the_guests_code_ends_the_run_and_stops_the_others() {
    let report = wait([Guest::Spins, Guest::Exits(7), Guest::Spins]);
    assert_eq!(report.exit, Exit::guest(7));
    assert_eq!(report.vcpus.len(), 3);
    assert!(report.vcpus.iter().all(|vcpu| vcpu.pmis == 1));
}

#[test]
fn a_fault_or_failure_of_any_vcpu_stops_the_others() {
    let report = wait([Guest::Spins, Guest::Faults]);
    assert_eq!(report.exit, Exit::new(ExitReason::TripleFault).on_vcpu(1));
    let report = wait([Guest::Fails, Guest::Spins]);
    let failure = Exit::new(ExitReason::VcpuFailure).on_vcpu(0);
    assert_eq!(report.exit, failure.with_message("It will not run"));
}

#[test]
fn a_panic_of_a_vcpu_thread_stops_the_others() {
    for guest in [Guest::Panics, Guest::PanicsAsItBinds] {
        let report = wait([Guest::Spins, guest]);
        assert_eq!(
            (report.exit.reason, report.exit.vcpu),
            (ExitReason::VcpuFailure, Some(1))
        );
        assert_eq!((report.vcpus.len(), report.vcpus[1].id), (2, 1));
    }
}

#[test]
fn a_vcpu_that_cannot_be_bound_ends_the_run_before_it_starts() {
    let report = wait([Guest::Exits(1), Guest::FailsToBind]);
    assert_eq!(report.exit.message.as_deref(), Some("It will not be bound"));
}

#[test]
fn pause_holds_every_vcpu_and_resume_lets_it_go() {
    let running = start([Guest::Spins, Guest::Chatters]);
    for _ in 0..200 {
        running.pause().unwrap();
        assert_eq!(running.states(), [VcpuState::Paused; 2]);
        running.kick_all();
        assert_eq!(running.states(), [VcpuState::Paused; 2]);
        running.resume().unwrap();
        assert_eq!(running.states(), [VcpuState::Running; 2]);
    }
    assert_eq!(running.stop().unwrap().exit.reason, ExitReason::Stopped);
}

#[test]
fn a_kick_that_is_forgotten_keeps_no_later_one_away() {
    let slot = Arc::new(OnceLock::new());
    let vm = machine(
        [Guest::KickedAsItForgets(slot.clone())],
        Box::new(io::sink()),
    );
    slot.set(Arc::downgrade(&vm.shared)).unwrap();
    let mut running = vm.start().unwrap();
    // A vCPU that is lost stays so: the test need not wait for it for long.
    running.obey_limit = Duration::from_secs(5);
    for _ in 0..10 {
        running.resume().unwrap();
        running.pause().unwrap();
    }
    assert_eq!(running.stop().unwrap().exit.reason, ExitReason::Stopped);
}

#[test]
fn what_has_ended_can_be_neither_paused_nor_resumed() {
    let running = start([Guest::Exits(0)]);
    assert!(running.shared.cpus.wait_ended(LONG));
    assert!(matches!(running.pause(), Err(VmError::Ended)));
    assert!(matches!(running.resume(), Err(VmError::Ended)));
}

#[test]
fn the_first_end_stays() {
    let running = start([Guest::Spins]);
    running.stopper().end(Exit::new(ExitReason::Interrupted));
    running.stopper().end(Exit::guest(3));
    assert_eq!(running.stop().unwrap().exit.reason, ExitReason::Interrupted);
}

#[test]
fn a_run_that_does_not_end_runs_out_of_time() {
    let report = start([Guest::Spins]).wait(Some(Duration::ZERO)).unwrap();
    assert_eq!(report.exit.reason, ExitReason::Timeout);
}

#[test]
fn a_vcpu_that_does_not_obey_is_named() {
    let (release, deaf) = channel();
    let mut running = start([Guest::Deaf(deaf), Guest::Spins]);
    running.resume().unwrap();
    running.obey_limit = Duration::from_millis(10);
    let error = running.pause().unwrap_err();
    let VmError::Stuck(stuck) = &error else {
        panic!("{error}")
    };
    assert_eq!((stuck.vcpu, stuck.state), (0, VcpuState::Running));
    assert_eq!(
        error.to_string(),
        "vCPU 0 was asked to pause and is still running after 10 ms"
    );
    let error = running.stop().unwrap_err();
    assert_eq!(
        error.to_string(),
        "vCPU 0 was asked to stop and is still running after 10 ms"
    );
    drop(release);
}

#[test]
fn a_drop_ends_every_thread_and_a_drop_without_a_start_has_none() {
    let running = start([Guest::Spins, Guest::Chatters]);
    let shared = Arc::downgrade(&running.shared);
    drop(running);
    assert_eq!(shared.strong_count(), 0);
    let vm = machine([Guest::Spins], Box::new(io::sink()));
    let shared = Arc::downgrade(&vm.shared);
    drop(vm);
    assert_eq!(shared.strong_count(), 0);
}

/// Takes nothing until the other end is dropped; says that it was called.
struct Blocked(Sender<()>, Receiver<()>);

impl Write for Blocked {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        // The test may have gone on already.
        let _ = self.0.send(());
        let _ = self.1.recv();
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_vcpu_that_waits_for_its_sink_can_be_paused_and_stopped() {
    let (called, calls) = channel();
    let (release, blocked) = channel();
    let vm = machine([Guest::Chatters], Box::new(Blocked(called, blocked)));
    let running = vm.start().unwrap();
    calls.recv().unwrap();
    while !running.shared.console.is_full() {
        thread::yield_now();
    }
    for _ in 0..10 {
        running.pause().unwrap();
        running.resume().unwrap();
    }
    let report = running.stop().unwrap();
    assert_eq!(report.exit.reason, ExitReason::Stopped);
    drop(release);
}

#[test]
fn output_that_nobody_takes_spoils_a_guests_good_end() {
    let (called, _calls) = channel();
    let (release, blocked) = channel();
    let running = machine([Guest::Exits(0)], Box::new(Blocked(called, blocked)));
    for byte in b"lost" {
        running.shared.ports.write(ComPort::COM1.first(), &[*byte]);
    }
    let running = running.start().unwrap();
    assert!(running.shared.cpus.wait_ended(LONG));
    let report = running.stop().unwrap();
    assert_eq!(
        (report.exit.reason, report.exit.code),
        (ExitReason::HostIo, Some(0))
    );
    assert!(report.exit.message.unwrap().starts_with("4 bytes"));
    drop(release);
}

#[test]
fn a_sink_that_fails_or_panics_ends_the_run_and_says_why() {
    struct Broken(bool);
    impl Write for Broken {
        fn write(&mut self, _data: &[u8]) -> io::Result<usize> {
            assert!(!self.0, "as this test wants");
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for (panics, why) in [(false, "no storage space"), (true, "panicked")] {
        let vm = machine([Guest::Chatters, Guest::Spins], Box::new(Broken(panics)));
        let report = vm.start().unwrap().wait(Some(LONG)).unwrap();
        assert_eq!(report.exit.reason, ExitReason::HostIo);
        assert!(
            report.exit.message.as_ref().unwrap().contains(why),
            "{}",
            report.exit
        );
    }
}

#[test]
fn an_event_loop_sees_the_end() {
    let mut running = start([Guest::Spins]);
    assert!(!running.poll_end().unwrap());
    running.stopper().end(Exit::new(ExitReason::Terminated));
    while !running.poll_end().unwrap() {
        thread::yield_now();
    }
    let report = running.finish(Exit::new(ExitReason::Stopped)).unwrap();
    assert_eq!(report.exit.reason, ExitReason::Terminated);
}

fn refused(builder: VmBuilder) -> String {
    builder.build().unwrap_err().to_string()
}

#[test]
fn a_machine_that_makes_no_sense_is_refused_before_kvm_is_asked() {
    let builder = || VmBuilder::new().kernel_bytes(crate::boot::elf::tests::kernel());
    assert_eq!(refused(VmBuilder::new()), "There is no kernel: give one");
    assert!(refused(builder().vcpus(0)).starts_with("0 vCPUs are not possible"));
    assert!(refused(builder().vcpus(256)).starts_with("256 vCPUs are not possible"));
    assert!(refused(builder().memory(1)).starts_with("Memory of 1 bytes"));
    assert!(refused(builder().kernel_bytes(*b"#!")).contains("not an ELF file"));
    assert!(refused(builder().kernel_file("/")).contains("is a directory"));
    assert!(refused(builder().kernel_file("/dev/zero")).contains("not a regular file"));
    assert!(refused(builder().kernel_file("/none")).contains("Cannot read the kernel /none"));
    assert!(refused(builder().cmdline("a\0b")).contains("command line"));
}

#[test]
fn two_devices_at_one_port_are_refused() {
    struct Nothing;
    impl BusDevice for Nothing {
        fn read(&mut self, _offset: u16, _data: &mut [u8]) {}
        fn write(&mut self, _offset: u16, _data: &[u8]) {}
    }
    let builder = VmBuilder::new()
        .kernel_bytes(crate::boot::elf::tests::kernel())
        .device(PortRange::new(0xf0, 0xf4).unwrap(), Box::new(Nothing));
    assert!(matches!(
        builder.build(),
        Err(VmError::Devices(BusError::Overlap { .. }))
    ));
}
