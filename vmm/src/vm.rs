// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A virtual machine: what it is made of, put together.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use devices::{
    BusDevice, BusError, CpuHotplug, CpuHotplugError, DebugExit, ExitLatch, PioBus, PortRange,
    SerialPort, Trigger,
};
use libc::{EFD_CLOEXEC, EFD_NONBLOCK};
use perf_port_host::PortLimits;
use vcpu_life::{Cpus, Stuck};
use vmm_sys_util::eventfd::EventFd;
use vpmu::{EventFilter, PmuModel};

use crate::boot::{self, BootError};
use crate::console::Console;
use crate::ending::Ending;
use crate::hotplug::Removals;
use crate::kvm::{self, KvmError};
use crate::memory::{GuestRam, MemoryError};
use crate::pmu::{self, PmuChoice};
use crate::report::PmuSummary;
use crate::running::RunningVm;
use crate::shared::Shared;
use crate::trace::{TraceConfig, Tracer, Tracing};
use crate::vcpu::NewVcpu;

/// How long a vCPU may take to do what it is asked to, unless the builder says otherwise.
const OBEY_LIMIT: Duration = Duration::from_secs(10);
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
    /// More vCPUs at the start than there can be.
    #[error("{boot} vCPUs at the start are more than {max} at most: give a larger max")]
    VcpuMax {
        /// vCPUs at the start.
        boot: u32,
        /// vCPUs there can be.
        max: u32,
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
    /// The hotplug controller cannot be made.
    #[error(transparent)]
    Hotplug(#[from] CpuHotplugError),
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
    max_vcpus: Option<u32>,
    pmu: PmuChoice,
    pmu_required: bool,
    min_rearm: Option<Duration>,
    filter: Option<EventFilter>,
    port: Option<PortLimits>,
    kernel: Option<Kernel>,
    cmdline: String,
    serial: Box<dyn Write + Send>,
    devices: Vec<(PortRange, Box<dyn BusDevice>)>,
    trace: Option<Box<dyn Write + Send>>,
    obey_limit: Duration,
}

impl fmt::Debug for VmBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VmBuilder")
            .field("memory", &self.memory)
            .field("vcpus", &self.vcpus)
            .field("max_vcpus", &self.max_vcpus)
            .field("pmu", &self.pmu)
            .field("filter", &self.filter)
            .field("cmdline", &self.cmdline)
            .finish_non_exhaustive()
    }
}

impl Default for VmBuilder {
    fn default() -> Self {
        Self {
            memory: 128 << 20,
            vcpus: 1,
            max_vcpus: None,
            pmu: PmuChoice::default(),
            pmu_required: true,
            min_rearm: None,
            filter: None,
            port: Some(PortLimits::default()),
            kernel: None,
            cmdline: String::new(),
            serial: Box::new(io::sink()),
            devices: Vec::new(),
            trace: None,
            obey_limit: OBEY_LIMIT,
        }
    }
}

impl VmBuilder {
    /// One vCPU, 128 MiB, the usual PMU of the host CPU's vendor, serial output dropped, no kernel.
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

    /// How many vCPUs the guest has at the start.
    pub fn vcpus(self, count: u32) -> Self {
        Self {
            vcpus: count,
            ..self
        }
    }

    /// How many vCPUs the guest can have, once some are added ([`VmHandle::add_vcpu`]). Without a call
    /// as many as at the start.
    ///
    /// [`VmHandle::add_vcpu`]: crate::VmHandle::add_vcpu
    pub fn max_vcpus(self, count: u32) -> Self {
        Self {
            max_vcpus: Some(count),
            ..self
        }
    }

    /// Which PMU the guest finds, if any; without a call it is `amd-v2` on an AMD CPU and
    /// `intel-v2` on others. Where the host cannot offer it, there is no VM.
    ///
    /// A model of another vendor than the host CPU's brings a CPU of that vendor, since drivers go by
    /// it; [`Vm::pmu_warning`] says what that implies. What the source of counts cannot count is
    /// not advertised, where the model has a way to say so.
    pub fn pmu(self, model: Option<PmuModel>) -> Self {
        Self {
            pmu: model.map_or(PmuChoice::Nothing, PmuChoice::Model),
            ..self
        }
    }

    /// Where the host cannot offer the PMU, the guest finds none, and [`Vm::pmu_refused`] says why.
    pub fn pmu_if_offered(self) -> Self {
        Self {
            pmu_required: false,
            ..self
        }
    }

    /// What the guest may ask for at its perf port, where its kernel tells of its tasks and opens events
    /// on them. Without a call it is [`PortLimits::default`]. A guest without a PMU has no port.
    pub fn perf_port(self, limits: PortLimits) -> Self {
        Self {
            port: Some(limits),
            ..self
        }
    }

    /// The guest finds no perf port.
    pub fn without_perf_port(self) -> Self {
        Self { port: None, ..self }
    }

    /// The least host time between two overflow interrupts of a vCPU, so that a counter that
    /// overflows all the time is no storm. Without a call it is vpmu's default, 100 µs.
    pub fn min_rearm(self, interval: Duration) -> Self {
        Self {
            min_rearm: Some(interval),
            ..self
        }
    }

    /// Which events the guest may count. Without a call it may count all that the source of counts
    /// can count. What the filter refuses can be selected, and stands still; the report names it.
    pub fn pmu_filter(self, filter: EventFilter) -> Self {
        Self {
            filter: Some(filter),
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

    /// Records what the vCPUs, their PMUs and the perf core do, as a trace for Perfetto (`docs/tracing.md`).
    /// A thread of its own writes to the sink while the VM runs; what the sink does not take in time is
    /// dropped and counted ([`RunReport::trace`](crate::RunReport::trace)).
    pub fn trace(self, sink: Box<dyn Write + Send>) -> Self {
        Self {
            trace: Some(sink),
            ..self
        }
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
        let (boot_vcpus, max_vcpus) = self.vcpu_counts()?;
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
        let host = kvm::host_vendor();
        let pmu = self.pmu.on(host, kvm::usual_model);
        let (pmu, pmu_refused) = match kvm::refuses(pmu)? {
            None => (pmu.map(|model| model.advertising(kvm::counts)), None),
            Some(reason) if self.pmu_required => return Err(KvmError::NoPmu { reason }.into()),
            refused => (None, refused),
        };
        let tracing = match self.trace {
            None => None,
            Some(sink) => {
                let config = TraceConfig::new("perfvisor", max_vcpus.into());
                let tracing = Tracing::start(sink, config).map_err(|source| VmError::Host {
                    what: "a thread for the trace",
                    source,
                })?;
                Some(tracing)
            }
        };
        let tracer = tracing.as_ref().map_or(Tracer::off(), Tracing::tracer);
        let removals = Arc::new(Removals::new(max_vcpus.into(), tracer.clone()));
        let hotplug_line = Line(eventfd()?);
        let hotplug_irq = hotplug_line.0.try_clone().map_err(no_eventfd)?;
        let (controller, hotplug) =
            CpuHotplug::new(boot_vcpus, max_vcpus, hotplug_line, removals.clone())?;
        ports.insert_shared(CpuHotplug::PORTS, Box::new(controller))?;
        let machine = kvm::KvmMachine::new(kvm::Config {
            ram,
            boot,
            max_vcpus: max_vcpus.into(),
            pmu,
            min_rearm: self.min_rearm,
            filter: self.filter.map(Arc::new),
            port: self.port,
            tracer,
        })?;
        machine.connect_interrupt(&com1_line, ComPort::COM1_IRQ)?;
        machine.connect_interrupt(&hotplug_irq, CpuHotplug::GSI)?;
        let vcpus = machine.boot_vcpus(boot_vcpus.into())?;
        let shared = Arc::new(Shared {
            cpus: Cpus::new(max_vcpus.into(), removals.clone()),
            machine: Box::new(machine),
            hotplug,
            removals,
            ports,
            exit,
            console,
            ending: Ending::default(),
            progress: eventfd()?,
            threads: Mutex::default(),
            started: Mutex::new(Instant::now()),
            accel: kvm::NAME,
            pmu: pmu.map(|model| PmuSummary {
                model: model.to_string(),
                source: kvm::PMU_SOURCE,
                warning: pmu::implies(model, host),
            }),
        });
        shared.removals.connect(&shared);
        Ok(Vm {
            shared,
            vcpus,
            serial: self.serial,
            obey_limit: self.obey_limit,
            tracing,
            pmu_refused,
        })
    }

    /// vCPUs at the start, and at most.
    fn vcpu_counts(&self) -> Result<(u8, u8), VmError> {
        let count = |count| match u8::try_from(count) {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(VmError::VcpuCount { count }),
        };
        let boot = count(self.vcpus)?;
        let max = self.max_vcpus.map_or(Ok(boot), count)?;
        if boot > max {
            return Err(VmError::VcpuMax {
                boot: boot.into(),
                max: max.into(),
            });
        }
        Ok((boot, max))
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
    pub(crate) shared: Arc<Shared>,
    pub(crate) vcpus: Vec<Box<dyn NewVcpu>>,
    pub(crate) serial: Box<dyn Write + Send>,
    pub(crate) obey_limit: Duration,
    pub(crate) tracing: Option<Tracing>,
    pub(crate) pmu_refused: Option<String>,
}

impl fmt::Debug for Vm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vm")
            .field("vcpus", &self.vcpus.len())
            .finish_non_exhaustive()
    }
}

impl Vm {
    /// Why the host cannot offer the PMU and the guest finds none, as
    /// [`VmBuilder::pmu_if_offered`] allows; None if it can.
    pub fn pmu_refused(&self) -> Option<&str> {
        self.pmu_refused.as_deref()
    }

    /// What the guest's PMU implies because it is of another vendor than the host's CPU, in one line
    /// for the user; None if it is not.
    pub fn pmu_warning(&self) -> Option<&str> {
        self.shared.pmu.as_ref()?.warning.as_deref()
    }

    /// Starts one thread a vCPU and lets the guest run.
    ///
    /// A vCPU that cannot be taken over by its thread ends the run with
    /// [`ExitReason::VcpuFailure`](crate::ExitReason::VcpuFailure).
    ///
    /// # Errors
    ///
    /// The host refuses a thread, or a thread does not get going. What was started is ended.
    pub fn start(self) -> Result<RunningVm, VmError> {
        RunningVm::start(self)
    }
}

#[cfg(test)]
mod tests;
