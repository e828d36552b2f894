// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A virtual machine: put together, started, watched, ended.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use devices::{BusDevice, BusError, DebugExit, ExitLatch, PioBus, PortRange, SerialPort, Trigger};
use libc::{EFD_CLOEXEC, EFD_NONBLOCK};
use vmm_sys_util::eventfd::EventFd;
use vpmu::PmuModel;

use crate::boot::{self, BootError};
use crate::console::Console;
use crate::cpus::{Cpus, Goal, Stuck, VcpuState};
use crate::kvm::{self, KvmError};
use crate::memory::{GuestRam, MemoryError};
use crate::report::{Exit, ExitReason, PmuSummary, RunReport, VcpuReport};
use crate::vcpu::{self, NewVcpu, Shared, chain};

/// How long a vCPU may take to do what it is asked to, unless the builder says otherwise.
const OBEY_LIMIT: Duration = Duration::from_secs(10);
/// How long serial output may take to get out once nobody wants to wait for it.
const DRAIN_GRACE: Duration = Duration::from_secs(1);
/// A kernel file may not be larger: it is read into memory as a whole.
const KERNEL_FILE_MAX: u64 = 2 << 30;
/// APIC ids are 8 bits wide and 255 is the broadcast.
const VCPUS_MAX: u32 = 255;

/// Why a virtual machine could not be built, started or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmError {
    /// The builder was given no kernel.
    #[error("There is no kernel: give one")]
    NoKernel,
    /// The kernel file could not be read.
    #[error("Cannot read the kernel {}", path.display())]
    ReadKernel {
        /// Its path.
        path: PathBuf,
        /// What the host said.
        #[source]
        source: io::Error,
    },
    /// The kernel's path leads to something else than a file of a sensible size.
    #[error("The kernel {} is {what}: give a kernel image", path.display())]
    KernelFile {
        /// Its path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The number of vCPUs is out of range.
    #[error("{count} vCPUs are not possible: give 1 to {VCPUS_MAX}")]
    VcpuCount {
        /// What was asked for.
        count: u32,
    },
    /// The guest got no memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The kernel cannot be started.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// Two devices want the same ports.
    #[error("Two devices want the same ports")]
    Devices(#[from] BusError),
    /// KVM or the host's part of it failed.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// The host refused a thread or an event.
    #[error("The host refused {what}: close other programs or raise its limits")]
    Host {
        /// What was asked of it.
        what: &'static str,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// A vCPU did not do in time what it was asked to.
    #[error(transparent)]
    Stuck(#[from] Stuck),
    /// The run has ended already.
    #[error("The run has ended already")]
    Ended,
}

enum Kernel {
    File(PathBuf),
    Bytes(Vec<u8>),
}

/// What a virtual machine is made of.
///
/// ```no_run
/// use std::time::Duration;
///
/// let report = vmm::VmBuilder::new()
///     .memory(128 << 20)
///     .vcpus(2)
///     .kernel_file("kernel.elf")
///     .serial(Box::new(std::io::stdout()))
///     .build()?
///     .start()?
///     .wait(Some(Duration::from_secs(60)))?;
/// assert_eq!(report.exit.code, Some(0));
/// # Ok::<(), vmm::VmError>(())
/// ```
#[must_use]
pub struct VmBuilder {
    memory: u64,
    vcpus: u32,
    pmu: Option<PmuModel>,
    pmu_required: bool,
    min_rearm: Option<Duration>,
    kernel: Option<Kernel>,
    cmdline: String,
    serial: Box<dyn Write + Send>,
    devices: Vec<(PortRange, Box<dyn BusDevice>)>,
    obey_limit: Duration,
}

impl fmt::Debug for VmBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VmBuilder")
            .field("memory", &self.memory)
            .field("vcpus", &self.vcpus)
            .field("pmu", &self.pmu)
            .field("cmdline", &self.cmdline)
            .finish_non_exhaustive()
    }
}

impl Default for VmBuilder {
    fn default() -> Self {
        Self {
            memory: 128 << 20,
            vcpus: 1,
            pmu: Some(PmuModel::INTEL_V2),
            pmu_required: true,
            min_rearm: None,
            kernel: None,
            cmdline: String::new(),
            serial: Box::new(io::sink()),
            devices: Vec::new(),
            obey_limit: OBEY_LIMIT,
        }
    }
}

impl VmBuilder {
    /// One vCPU, 128 MiB, the `intel-v2` PMU, serial output dropped, no kernel.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes of RAM the guest has.
    pub fn memory(self, bytes: u64) -> Self {
        Self {
            memory: bytes,
            ..self
        }
    }

    /// How many vCPUs the guest has.
    pub fn vcpus(self, count: u32) -> Self {
        Self {
            vcpus: count,
            ..self
        }
    }

    /// Which PMU the guest finds, if any. Where the host cannot offer it, there is no VM.
    pub fn pmu(self, model: Option<PmuModel>) -> Self {
        Self {
            pmu: model,
            pmu_required: true,
            ..self
        }
    }

    /// Which PMU the guest finds where the host can offer it. Elsewhere it finds none, and
    /// [`Vm::pmu_refused`] says why.
    pub fn pmu_if_offered(self, model: PmuModel) -> Self {
        Self {
            pmu: Some(model),
            pmu_required: false,
            ..self
        }
    }

    /// The least host time between two overflow interrupts of a vCPU, so that a counter that
    /// overflows all the time is no storm. Without a call it is vpmu's default, 100 µs.
    pub fn min_rearm(self, interval: Duration) -> Self {
        Self {
            min_rearm: Some(interval),
            ..self
        }
    }

    /// The kernel, as a file: a 64-bit ELF image with a PVH note.
    pub fn kernel_file(self, path: impl Into<PathBuf>) -> Self {
        Self {
            kernel: Some(Kernel::File(path.into())),
            ..self
        }
    }

    /// The kernel, as the bytes of such a file.
    pub fn kernel_bytes(self, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            kernel: Some(Kernel::Bytes(bytes.into())),
            ..self
        }
    }

    /// The kernel's command line.
    pub fn cmdline(self, cmdline: impl Into<String>) -> Self {
        Self {
            cmdline: cmdline.into(),
            ..self
        }
    }

    /// Where the guest's serial output goes. A thread of its own writes to it.
    ///
    /// The end of the run waits for it as [`RunningVm::wait`] says. A sink that never returns is
    /// left behind with its thread: give one that can fail instead.
    pub fn serial(self, sink: Box<dyn Write + Send>) -> Self {
        Self {
            serial: sink,
            ..self
        }
    }

    /// One more device on the port bus.
    pub fn device(mut self, ports: PortRange, device: Box<dyn BusDevice>) -> Self {
        self.devices.push((ports, device));
        self
    }

    /// How long a vCPU may take to start, pause or stop before that is an error. 10 s without a
    /// call.
    pub fn obey_limit(self, limit: Duration) -> Self {
        Self {
            obey_limit: limit,
            ..self
        }
    }

    /// Puts the machine together; nothing runs yet.
    ///
    /// # Errors
    ///
    /// What is wrong with the parts, or with the host, and what to do about it.
    pub fn build(self) -> Result<Vm, VmError> {
        if !(1..=VCPUS_MAX).contains(&self.vcpus) {
            return Err(VmError::VcpuCount { count: self.vcpus });
        }
        let kernel = match self.kernel.ok_or(VmError::NoKernel)? {
            Kernel::File(path) => read_kernel(&path)?,
            Kernel::Bytes(bytes) => bytes,
        };
        let ram = GuestRam::new(self.memory)?;
        let boot = boot::load(&ram, &kernel, &self.cmdline)?;

        let exit = ExitLatch::default();
        let console = Console::default();
        let mut ports = PioBus::new();
        ports.insert(DebugExit::PORTS, Box::new(DebugExit::new(exit.clone())))?;
        let com1 = Line(eventfd()?);
        let com1_line = com1.0.try_clone().map_err(no_eventfd)?;
        ports.insert(ComPort::COM1, Box::new(ComPort::new(com1, console.clone())))?;
        for (range, device) in self.devices {
            ports.insert(range, device)?;
        }
        // What costs the host most comes last.
        let (pmu, pmu_refused) = match kvm::refuses(self.pmu)? {
            None => (self.pmu, None),
            Some(reason) if self.pmu_required => return Err(KvmError::NoPmu { reason }.into()),
            refused => (None, refused),
        };
        let machine = kvm::Machine::new(&kvm::Config {
            ram,
            boot,
            vcpus: self.vcpus,
            pmu,
            min_rearm: self.min_rearm,
        })?;
        machine.connect_interrupt(&com1_line, ComPort::COM1_IRQ)?;
        let progress = eventfd()?;
        let shared = Shared {
            cpus: Cpus::new(self.vcpus as usize),
            ports,
            exit,
            console,
            progress,
        };
        Ok(Vm {
            shared: Arc::new(shared),
            vcpus: machine.into_vcpus(),
            serial: self.serial,
            obey_limit: self.obey_limit,
            accel: kvm::NAME,
            pmu: pmu.map(|model| PmuSummary {
                model: model.name(),
                source: kvm::PMU_SOURCE,
            }),
            pmu_refused,
        })
    }
}

fn eventfd() -> Result<EventFd, VmError> {
    EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).map_err(no_eventfd)
}

fn no_eventfd(source: io::Error) -> VmError {
    VmError::Host {
        what: "an eventfd",
        source,
    }
}

type ComPort = SerialPort<Line, Console>;

/// An interrupt line into the guest.
#[derive(Debug)]
struct Line(EventFd);

impl Trigger for Line {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

fn read_kernel(path: &Path) -> Result<Vec<u8>, VmError> {
    let failed = |source| VmError::ReadKernel {
        path: path.to_owned(),
        source,
    };
    let wrong = |what| VmError::KernelFile {
        path: path.to_owned(),
        what,
    };
    // Looked at before it is opened: opening a FIFO waits for whoever writes to it.
    let metadata = path.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(wrong("a directory"));
    }
    if !metadata.is_file() {
        return Err(wrong("not a regular file"));
    }
    if metadata.len() > KERNEL_FILE_MAX {
        return Err(wrong("larger than 2 GiB"));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(KERNEL_FILE_MAX).read_to_end(&mut bytes))
        .map_err(failed)?;
    Ok(bytes)
}

/// A machine that is put together and has not run.
pub struct Vm {
    shared: Arc<Shared>,
    vcpus: Vec<Box<dyn NewVcpu>>,
    serial: Box<dyn Write + Send>,
    obey_limit: Duration,
    accel: &'static str,
    pmu: Option<PmuSummary>,
    pmu_refused: Option<String>,
}

impl fmt::Debug for Vm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vm")
            .field("vcpus", &self.vcpus.len())
            .finish_non_exhaustive()
    }
}

impl Vm {
    /// Why the host cannot offer the PMU that was asked for with
    /// [`VmBuilder::pmu_if_offered`]; None if it can.
    pub fn pmu_refused(&self) -> Option<&str> {
        self.pmu_refused.as_deref()
    }

    /// Starts one thread a vCPU and lets the guest run.
    ///
    /// A vCPU that cannot be taken over by its thread ends the run with
    /// [`ExitReason::VcpuFailure`].
    ///
    /// # Errors
    ///
    /// The host refuses a thread, or a thread does not get going. What was started is ended.
    pub fn start(self) -> Result<RunningVm, VmError> {
        let Self {
            shared,
            vcpus,
            serial,
            obey_limit,
            accel,
            pmu,
            pmu_refused: _,
        } = self;
        let mut running = RunningVm {
            shared,
            threads: Vec::with_capacity(vcpus.len()),
            console: None,
            reports: Vec::new(),
            started: Instant::now(),
            obey_limit,
            accel,
            pmu,
        };
        // An error below drops `running`, which ends and joins what was started.
        if let Err(error) = running.start_threads(vcpus, serial) {
            for id in running.threads.len()..running.shared.cpus.len() {
                running.shared.cpus.finish(id);
            }
            return Err(error);
        }
        running.shared.cpus.wait_all(Goal::Pause, obey_limit)?;
        running.started = Instant::now();
        running.shared.cpus.ask_all(Goal::Run);
        Ok(running)
    }
}

/// A machine whose vCPUs have threads, until its run is ended and the threads are joined.
///
/// Dropped, it stops as [`stop`](Self::stop) does.
pub struct RunningVm {
    shared: Arc<Shared>,
    threads: Vec<Option<JoinHandle<VcpuReport>>>,
    console: Option<JoinHandle<()>>,
    reports: Vec<VcpuReport>,
    started: Instant,
    obey_limit: Duration,
    accel: &'static str,
    pmu: Option<PmuSummary>,
}

impl fmt::Debug for RunningVm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningVm")
            .field("vcpus", &self.shared.cpus.states())
            .field("ended", &self.shared.cpus.ended())
            .finish_non_exhaustive()
    }
}

impl RunningVm {
    /// Makes every vCPU stand still outside the guest.
    ///
    /// # Errors
    ///
    /// [`VmError::Ended`] if there is nothing left to pause, [`VmError::Stuck`] if a vCPU does
    /// not obey.
    pub fn pause(&self) -> Result<(), VmError> {
        self.shared.cpus.ask_all(Goal::Pause);
        self.shared.cpus.wait_all(Goal::Pause, self.obey_limit)?;
        self.not_ended()
    }

    /// Lets every vCPU run again.
    ///
    /// # Errors
    ///
    /// As [`pause`](Self::pause).
    pub fn resume(&self) -> Result<(), VmError> {
        self.shared.cpus.ask_all(Goal::Run);
        self.shared.cpus.wait_all(Goal::Run, self.obey_limit)?;
        self.not_ended()
    }

    fn not_ended(&self) -> Result<(), VmError> {
        if self.has_ended() {
            Err(VmError::Ended)
        } else {
            Ok(())
        }
    }

    /// Makes every vCPU leave the guest once; it goes back by itself.
    pub fn kick_all(&self) {
        self.shared.cpus.kick_all();
    }

    /// What each vCPU is doing, in the order of their ids.
    pub fn states(&self) -> Vec<VcpuState> {
        self.shared.cpus.states()
    }

    /// Whether the run has ended. Its threads may still be at it.
    pub fn has_ended(&self) -> bool {
        self.shared.cpus.ended().is_some()
    }

    /// A handle by which another thread can end the run.
    pub fn stopper(&self) -> Stopper {
        Stopper {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Waits until the guest ends the run, then ends as [`finish`](Self::finish) does. After
    /// `limit` the run ends with [`ExitReason::Timeout`].
    ///
    /// Serial output has until `limit` to get out, and a second in any case.
    ///
    /// # Errors
    ///
    /// [`VmError::Stuck`] if a vCPU does not stop.
    pub fn wait(mut self, limit: Option<Duration>) -> Result<RunReport, VmError> {
        let limit = limit.unwrap_or(Duration::MAX);
        let start = Instant::now();
        if !self.shared.cpus.wait_ended(limit) {
            self.shared.end(Exit::new(ExitReason::Timeout));
        }
        self.settle()?;
        self.report(limit.saturating_sub(start.elapsed()).max(DRAIN_GRACE))
    }

    /// Ends the run with [`ExitReason::Stopped`], unless it has ended already.
    ///
    /// # Errors
    ///
    /// [`VmError::Stuck`] if a vCPU does not stop.
    pub fn stop(self) -> Result<RunReport, VmError> {
        self.finish(Exit::new(ExitReason::Stopped))
    }

    /// Ends the run as `exit` says, unless it has ended already; joins every thread. Serial
    /// output has a second to get out.
    ///
    /// # Errors
    ///
    /// [`VmError::Stuck`] if a vCPU does not stop. Its thread is left behind: nothing can end it.
    pub fn finish(mut self, exit: Exit) -> Result<RunReport, VmError> {
        self.shared.end(exit);
        self.settle()?;
        self.report(DRAIN_GRACE)
    }

    /// For an event loop: readable whenever it is worth while to call
    /// [`poll_end`](Self::poll_end).
    pub fn progress_fd(&self) -> RawFd {
        self.shared.progress.as_raw_fd()
    }

    /// Whether the run has ended and its serial output is out, so that
    /// [`finish`](Self::finish) will not wait. Waits only for vCPUs to stop.
    ///
    /// # Errors
    ///
    /// [`VmError::Stuck`] if a vCPU does not stop.
    pub fn poll_end(&mut self) -> Result<bool, VmError> {
        // Empty already: somebody else's event, or an old one.
        let _ = self.shared.progress.read();
        if !self.has_ended() {
            return Ok(false);
        }
        self.settle()?;
        Ok(self.shared.console.is_drained())
    }

    fn start_threads(
        &mut self,
        vcpus: Vec<Box<dyn NewVcpu>>,
        serial: Box<dyn Write + Send>,
    ) -> Result<(), VmError> {
        self.start_console(serial)?;
        for (vcpu, id) in vcpus.into_iter().zip(0..) {
            let shared = Arc::clone(&self.shared);
            let thread = thread::Builder::new()
                .name(format!("vcpu{id}"))
                .spawn(move || vcpu::thread_main(&shared, id, vcpu))
                .map_err(|source| VmError::Host {
                    what: "a vCPU thread",
                    source,
                })?;
            self.threads.push(Some(thread));
        }
        Ok(())
    }

    fn start_console(&mut self, sink: Box<dyn Write + Send>) -> Result<(), VmError> {
        let shared = Arc::clone(&self.shared);
        let body = move || {
            let wake = || shared.cpus.wake_all();
            let failed = |error: io::Error| {
                let message = format!("Cannot write the guest's serial output: {}", chain(&error));
                shared.end(Exit::new(ExitReason::HostIo).with_message(message));
            };
            shared.console.drain(sink, wake, failed);
            shared.signal_progress();
        };
        let thread = thread::Builder::new()
            .name("console".into())
            .spawn(body)
            .map_err(|source| VmError::Host {
                what: "a console thread",
                source,
            })?;
        self.console = Some(thread);
        Ok(())
    }

    /// Once the run has ended: waits for the vCPUs, joins their threads, closes the console.
    fn settle(&mut self) -> Result<(), VmError> {
        let stopped = self.shared.cpus.wait_all(Goal::Stop, self.obey_limit);
        let finished = self.shared.cpus.states();
        for ((thread, state), id) in self.threads.iter_mut().zip(finished).zip(0..) {
            // A thread that is stuck cannot be ended; waiting for it would hang.
            if state == VcpuState::Finished
                && let Some(thread) = thread.take()
            {
                let report = thread.join();
                let report = report.unwrap_or_else(|_| VcpuReport {
                    id,
                    ..Default::default()
                });
                self.reports.push(report);
            }
        }
        self.shared.console.close();
        Ok(stopped?)
    }

    fn report(mut self, drain_limit: Duration) -> Result<RunReport, VmError> {
        let lost = self.end_console(drain_limit);
        let Some(end) = self.shared.cpus.ended() else {
            return Err(VmError::Ended);
        };
        let mut exit = end.exit;
        if lost > 0
            && matches!(
                exit.reason,
                ExitReason::GuestExit | ExitReason::GuestShutdown
            )
        {
            let message = format!(
                "{lost} bytes of the guest's serial output could not be written: nobody reads it"
            );
            exit = Exit {
                code: exit.code,
                ..Exit::new(ExitReason::HostIo).with_message(message)
            };
        }
        Ok(RunReport {
            accel: self.accel,
            pmu: self.pmu.take(),
            wall_time_ns: u64::try_from((end.at - self.started).as_nanos()).unwrap_or(u64::MAX),
            vcpus: std::mem::take(&mut self.reports),
            exit,
        })
    }

    /// Gives output up to `limit` to get out; joins the thread if it is; gives what was lost.
    fn end_console(&mut self, limit: Duration) -> usize {
        let Some(thread) = self.console.take() else {
            return 0;
        };
        if !self.shared.console.wait_drained(limit) {
            return self.shared.console.abandon();
        }
        // It caught the sink's panics and has none of its own.
        let _ = thread.join();
        0
    }
}

impl Drop for RunningVm {
    fn drop(&mut self) {
        self.shared.end(Exit::new(ExitReason::Stopped));
        // Nobody is left to be told about a vCPU that is stuck.
        let _ = self.settle();
        self.end_console(DRAIN_GRACE);
    }
}

/// Ends a run from another thread than the one that waits for it.
#[derive(Clone)]
pub struct Stopper {
    shared: Arc<Shared>,
}

impl fmt::Debug for Stopper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stopper").finish_non_exhaustive()
    }
}

impl Stopper {
    /// Ends the run as `exit` says, unless it has ended already. Does not wait.
    pub fn end(&self, exit: Exit) {
        self.shared.end(exit);
    }
}

#[cfg(test)]
mod tests;
