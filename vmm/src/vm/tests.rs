// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The builder's refusals, and runs with vCPUs that only pretend, so that every way to go wrong
//! can be played through without KVM.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Condvar, OnceLock, Weak};
use std::thread;

use vcpu_call::{Calls, Park, VcpuId, Waker};
use vcpu_life::Kick;
use vpmu_kvm::PerfCore;

use super::*;
use crate::vcpu::{Machine, Step, Vcpu, VcpuError};
use crate::{Exit, ExitReason, HotplugError, RunReport, VcpuReport, VcpuState};

/// What a pretended vCPU does when it is run.
enum Guest {
    /// Stays in the guest until it is kicked.
    Spins,
    /// As `Spins`, and is kicked whenever it is about to forget its kicks.
    KickedAsItForgets(Arc<OnceLock<Weak<Shared>>>),
    /// Stays in the guest, and takes no notice of kicks, until the other end is dropped.
    Deaf(Receiver<()>),
    /// As `Spins`, and takes until the other end is dropped to come up.
    SlowToCome(Receiver<()>),
    /// Gives itself back as soon as it runs.
    Leaves,
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
    id: u8,
    guest: Guest,
    signal: Signal,
    mail: vcpu_call::Vcpu<(), ()>,
    /// How often it was brought online.
    plugs: u64,
}

impl Park for Pretended {
    fn waker(&self) -> Waker {
        self.mail.waker()
    }

    fn park(&mut self) {
        self.mail.park(|()| ());
    }
}

/// Makes vCPUs of the kinds that were given, the next one first.
struct PretendedMachine {
    calls: Calls<(), ()>,
    guests: Mutex<VecDeque<Guest>>,
}

impl PretendedMachine {
    fn pretend(&self, id: u32) -> Result<Box<dyn NewVcpu>, VcpuError> {
        let guest = self.guests.lock().unwrap().pop_front();
        Ok(Box::new(Pretended {
            id: u8::try_from(id)?,
            guest: guest.ok_or("There is no more room")?,
            signal: Signal::default(),
            mail: self.calls.vcpu(VcpuId(id))?,
            plugs: 0,
        }))
    }
}

impl Machine for PretendedMachine {
    fn make(&self, id: u32) -> Result<Box<dyn NewVcpu>, VcpuError> {
        self.pretend(id)
    }

    fn perf(&self) -> Option<&Arc<PerfCore<Tracer>>> {
        None
    }
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

    fn plug(&mut self) -> Result<(), VcpuError> {
        if let Guest::SlowToCome(until) = &self.guest {
            let _ = until.recv();
        }
        self.plugs += 1;
        self.mail.go_online();
        Ok(())
    }

    fn unplug(&mut self) -> Result<(), VcpuError> {
        self.mail.go_offline(|()| ());
        Ok(())
    }

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
            Guest::Leaves => {
                give_back(ports, self.id);
                Ok(Step::Again)
            }
            Guest::Spins | Guest::KickedAsItForgets(_) | Guest::SlowToCome(_) => {
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
            pmis: self.plugs,
            ..VcpuReport::default()
        }
    }
}

/// Long enough never to be reached by a test that passes.
const LONG: Duration = Duration::from_secs(60);

fn machine(guests: impl IntoIterator<Item = Guest>, serial: Box<dyn Write + Send>) -> Vm {
    machine_with(guests, [], serial)
}

/// A machine with vCPUs of the start and others that can be added.
fn machine_with(
    guests: impl IntoIterator<Item = Guest>,
    later: impl IntoIterator<Item = Guest>,
    serial: Box<dyn Write + Send>,
) -> Vm {
    let exit = ExitLatch::default();
    let console = Console::default();
    let mut ports = PioBus::new();
    ports
        .insert(DebugExit::PORTS, Box::new(DebugExit::new(exit.clone())))
        .unwrap();
    let com1 = ComPort::new(Line(eventfd().unwrap()), console.clone());
    ports.insert(ComPort::COM1, Box::new(com1)).unwrap();
    let mut guests: VecDeque<Guest> = guests.into_iter().collect();
    let boot = guests.len();
    guests.extend(later);
    let max = u32::try_from(guests.len()).unwrap();
    let machine = PretendedMachine {
        calls: Calls::new(max, |_| ()),
        guests: Mutex::new(guests),
    };
    let vcpus = (0..).take(boot).map(|id| machine.pretend(id).unwrap());
    let vcpus = vcpus.collect();
    let removals = Arc::new(Removals::new(max, Tracer::off()));
    let (controller, hotplug) = CpuHotplug::new(
        u8::try_from(boot).unwrap(),
        u8::try_from(max).unwrap(),
        Line(eventfd().unwrap()),
        removals.clone(),
    )
    .unwrap();
    ports
        .insert_shared(CpuHotplug::PORTS, Box::new(controller))
        .unwrap();
    let shared = Arc::new(Shared {
        cpus: Cpus::new(max, removals.clone()),
        machine: Box::new(machine),
        hotplug,
        removals,
        ports,
        exit,
        console,
        ending: Ending::default(),
        progress: eventfd().unwrap(),
        threads: Mutex::default(),
        started: Mutex::new(Instant::now()),
        accel: "pretended",
        pmu: None,
    });
    shared.removals.connect(&shared);
    Vm {
        shared,
        vcpus,
        serial,
        obey_limit: LONG,
        tracing: None,
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
    assert!(running.shared.ending.wait(LONG));
    assert!(matches!(running.pause(), Err(VmError::Ended)));
    assert!(matches!(running.resume(), Err(VmError::Ended)));
}

#[test]
fn the_first_end_stays() {
    let running = start([Guest::Spins]);
    running.handle().end(Exit::new(ExitReason::Interrupted));
    running.handle().end(Exit::guest(3));
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
    assert!(running.shared.ending.wait(LONG));
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
    running.handle().end(Exit::new(ExitReason::Terminated));
    while !running.poll_end().unwrap() {
        thread::yield_now();
    }
    let report = running.finish(Exit::new(ExitReason::Stopped)).unwrap();
    assert_eq!(report.exit.reason, ExitReason::Terminated);
}

/// What a guest does to give a vCPU back: selector, then EJECT.
fn give_back(ports: &PioBus, vcpu: u8) {
    ports.write(CpuHotplug::PORTS.first(), &[vcpu]);
    ports.write(CpuHotplug::PORTS.first() + 2, &[1]);
}

fn eject(running: &RunningVm, vcpu: u8) {
    give_back(&running.shared.ports, vcpu);
}

/// Waits until the guest is asked for a vCPU.
fn asked(running: &RunningVm, vcpu: u8) {
    while !running.shared.hotplug.removal_requested(vcpu) {
        thread::yield_now();
    }
}

fn start_with_room() -> RunningVm {
    let vm = machine_with(
        [Guest::Spins, Guest::Spins],
        [Guest::Spins, Guest::Spins],
        Box::new(io::sink()),
    );
    vm.start().unwrap()
}

#[test]
fn vcpus_are_added_lowest_first_until_there_is_no_room() {
    let running = start_with_room();
    let vm = running.handle();
    assert_eq!(vm.add_vcpu(None).unwrap(), 2);
    assert_eq!(vm.add_vcpu(Some(3)).unwrap(), 3);
    assert_eq!(running.states(), [VcpuState::Running; 4]);
    assert!(vm.info().vcpus.iter().all(|vcpu| vcpu.present));
    let error = vm.add_vcpu(None).unwrap_err().to_string();
    assert!(error.starts_with("All 4 vCPUs are there"), "{error}");
    let error = vm.add_vcpu(Some(1)).unwrap_err();
    assert!(matches!(error, HotplugError::Present(1)), "{error}");
    let error = vm.add_vcpu(Some(4)).unwrap_err().to_string();
    assert_eq!(error, "There is no vCPU 4: this VM has room for 0 to 3");
    assert_eq!(running.stop().unwrap().vcpus.len(), 4);
}

#[test]
fn a_vcpu_goes_when_the_guest_gives_it_back_and_comes_again() {
    let running = start_with_room();
    let vm = running.handle();
    for _ in 0..100 {
        thread::scope(|threads| {
            let removal = threads.spawn(|| vm.remove_vcpu(1, LONG));
            asked(&running, 1);
            eject(&running, 1);
            removal.join().unwrap().unwrap();
        });
        assert_eq!(vm.state(1), VcpuState::Offline);
        assert!(matches!(
            vm.remove_vcpu(1, LONG),
            Err(HotplugError::NotPresent(1))
        ));
        assert_eq!(vm.add_vcpu(None).unwrap(), 1);
        assert_eq!(vm.state(1), VcpuState::Running);
    }
    let report = running.stop().unwrap();
    let plugs: Vec<u64> = report.vcpus.iter().map(|vcpu| vcpu.pmis).collect();
    assert_eq!(plugs, [1, 101]);
}

#[test]
fn a_removal_is_not_honoured_refused_or_late() {
    let running = start_with_room();
    let vm = running.handle();
    let error = vm.remove_vcpu(1, Duration::ZERO).unwrap_err();
    assert!(matches!(error, HotplugError::NotHonoured { vcpu: 1, .. }));
    assert_eq!(vm.state(1), VcpuState::Running);
    let info = vm.info().vcpus[1];
    assert!(info.present && info.removal_requested);
    thread::scope(|threads| {
        let removal = threads.spawn(|| vm.remove_vcpu(1, LONG));
        // Asked for already, so that the guest may answer before this thread asks: then it is told
        // that the vCPU is kept by the next answer.
        while !removal.is_finished() {
            let ports = &running.shared.ports;
            ports.write(CpuHotplug::PORTS.first(), &[1]);
            ports.write(CpuHotplug::PORTS.first() + 2, &[3]);
            thread::yield_now();
        }
        let error = removal.join().unwrap().unwrap_err();
        assert!(matches!(error, HotplugError::Refused(1)), "{error}");
    });
    eject(&running, 1);
    assert!(vm.wait_state(1, LONG, |state| state == VcpuState::Offline));
}

#[test]
fn what_cannot_be_removed_is_not_asked_for() {
    let running = start_with_room();
    let vm = running.handle();
    // What is wrong stays so: a test that fails need not wait for it for long.
    let limit = Duration::from_secs(5);
    let error = |id| vm.remove_vcpu(id, limit).unwrap_err();
    assert!(matches!(error(0), HotplugError::BootVcpu));
    assert!(matches!(error(2), HotplugError::NotPresent(2)));
    assert!(matches!(
        error(9),
        HotplugError::NoSuchVcpu { vcpu: 9, max: 4 }
    ));
    running.pause().unwrap();
    assert!(matches!(error(1), HotplugError::Paused));
    // What is ejected goes, also while the VM is paused.
    eject(&running, 1);
    assert!(vm.wait_state(1, limit, |state| state == VcpuState::Offline));
    eject(&running, 0);
    assert_eq!(vm.state(0), VcpuState::Paused);
    // And comes as the others are.
    vm.add_vcpu(Some(1)).unwrap();
    assert_eq!(vm.state(1), VcpuState::Paused);
    running.resume().unwrap();
    assert_eq!(running.states()[..2], [VcpuState::Running; 2]);
    drop(running);
    assert!(matches!(error(1), HotplugError::Vm(VmError::Ended)));
    let add = vm.add_vcpu(None).unwrap_err();
    assert!(matches!(add, HotplugError::Vm(VmError::Ended)), "{add}");
}

#[test]
fn a_vcpu_that_cannot_be_made_leaves_the_vm_as_it_was() {
    let vm = machine_with(
        [Guest::Spins],
        [Guest::FailsToBind, Guest::Spins],
        Box::new(io::sink()),
    );
    let running = vm.start().unwrap();
    let vm = running.handle();
    let error = vm.add_vcpu(Some(1)).unwrap_err().to_string();
    assert_eq!(error, "vCPU 1 could not be made: It will not be bound");
    assert_eq!(vm.state(1), VcpuState::Absent);
    assert_eq!(vm.add_vcpu(Some(2)).unwrap(), 2);
    assert!(!vm.has_ended());
    assert_eq!(running.stop().unwrap().vcpus.len(), 2);
}

#[test]
fn a_vcpu_that_comes_up_late_is_there_for_the_guest_and_can_go() {
    let (release, slow) = channel();
    let vm = machine_with(
        [Guest::Spins],
        [Guest::SlowToCome(slow)],
        Box::new(io::sink()),
    );
    let running = vm.start().unwrap();
    let vm = running.handle();
    let mut hasty = running.handle();
    hasty.obey_limit = Duration::from_millis(10);
    let error = hasty.add_vcpu(None).unwrap_err().to_string();
    assert_eq!(
        error,
        "vCPU 1 was asked to start and is still starting after 10 ms"
    );
    assert!(!vm.info().vcpus[1].present);
    drop(release);
    assert!(vm.wait_state(1, LONG, |state| state == VcpuState::Running));
    assert!(vm.info().vcpus[1].present);
    eject(&running, 1);
    assert!(vm.wait_state(1, LONG, |state| state == VcpuState::Offline));
    assert_eq!(vm.add_vcpu(None).unwrap(), 1);
    assert!(vm.info().vcpus[1].present);
}

/// By the time that whoever added it looks, it may be gone.
#[test]
fn a_vcpu_that_the_guest_gives_back_at_once_was_added() {
    let vm = machine_with([Guest::Spins], [Guest::Leaves], Box::new(io::sink()));
    let running = vm.start().unwrap();
    let vm = running.handle();
    for _ in 0..100 {
        assert_eq!(vm.add_vcpu(None).unwrap(), 1);
        assert!(vm.wait_state(1, LONG, |state| state == VcpuState::Offline));
    }
}

#[test]
fn a_removal_that_the_end_of_the_run_overtakes_says_so() {
    let running = start_with_room();
    let vm = running.handle();
    thread::scope(|threads| {
        let removal = threads.spawn(|| vm.remove_vcpu(1, LONG));
        asked(&running, 1);
        running.handle().stop();
        let error = removal.join().unwrap().unwrap_err();
        assert!(matches!(error, HotplugError::Vm(VmError::Ended)), "{error}");
    });
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
    let error = refused(builder().vcpus(3).max_vcpus(2));
    assert_eq!(
        error,
        "3 vCPUs at the start are more than 2 at most: give a larger max"
    );
    assert!(refused(builder().max_vcpus(256)).starts_with("256 vCPUs are not possible"));
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
