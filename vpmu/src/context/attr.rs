// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What an event is asked to be.

use vcpu_call::VcpuId;

use super::PerfError;
use crate::EventConfig;

/// An event as it is opened: perf's attributes, as far as there is something behind them.
///
/// `exclude_user` and `exclude_kernel` are [`EventConfig::usr`] and [`EventConfig::os`].
///
/// ```
/// use vpmu::context::Attr;
/// use vpmu::EventSelect;
///
/// let cycles = EventSelect(0x3_003C).decode();
/// assert!(Attr::sampling(cycles, 10_000).check().is_ok());
/// // A trap into a task that may since have become another program helps nobody.
/// let trap = Attr { sigtrap: Some(7), ..Attr::sampling(cycles, 10_000) };
/// assert_eq!(trap.check().unwrap_err().errno(), 22);
/// assert!(Attr { remove_on_exec: true, ..trap }.check().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr {
    /// What to count.
    pub config: EventConfig,
    /// Counts between two overflows; 0 for an event that only counts.
    pub period: u64,
    /// Starts OFF, and waits to be enabled.
    pub disabled: bool,
    /// Always on a counter, or else in the ERROR state. Said of a group by its leader.
    pub pinned: bool,
    /// Tasks that this task forks from now on are counted as well.
    pub inherit: bool,
    /// Removed when the task executes another program.
    pub remove_on_exec: bool,
    /// Each overflow is a SIGTRAP to the task, with this data in it.
    pub sigtrap: Option<u64>,
}

impl Attr {
    /// The largest period: what fits a signed counter.
    pub const MAX_PERIOD: u64 = i64::MAX.cast_unsigned();

    /// An enabled event that counts `config` and nothing more.
    pub const fn counting(config: EventConfig) -> Self {
        Self {
            config,
            period: 0,
            disabled: false,
            pinned: false,
            inherit: false,
            remove_on_exec: false,
            sigtrap: None,
        }
    }

    /// The same, which overflows every `period` counts.
    pub const fn sampling(config: EventConfig, period: u64) -> Self {
        Self {
            period,
            ..Self::counting(config)
        }
    }

    /// Whether it overflows.
    pub const fn samples(&self) -> bool {
        self.period != 0
    }

    /// Whether the attributes go together, whatever the target.
    ///
    /// # Errors
    /// [`PerfError::Invalid`] with what does not.
    pub const fn check(&self) -> Result<(), PerfError> {
        if self.period > Self::MAX_PERIOD {
            return Err(PerfError::Invalid("a period is below 2^63"));
        }
        if !self.config.usr && !self.config.os {
            return Err(PerfError::Invalid("both user and kernel are excluded"));
        }
        if self.sigtrap.is_some() && !self.samples() {
            return Err(PerfError::Invalid("sigtrap needs a period"));
        }
        if self.sigtrap.is_some() && !self.remove_on_exec {
            return Err(PerfError::Invalid("sigtrap needs remove_on_exec"));
        }
        Ok(())
    }

    /// Whether the attributes go with `target` as well.
    pub(super) const fn check_for(&self, target: &Target<'_>) -> Result<(), PerfError> {
        match target {
            Target::Vcpu(_) if self.sigtrap.is_some() => {
                Err(PerfError::Invalid("sigtrap needs a task"))
            }
            Target::Vcpu(_) if self.inherit || self.remove_on_exec => {
                Err(PerfError::Invalid("inherit and remove_on_exec need a task"))
            }
            _ => self.check(),
        }
    }
}

/// What an event is attached to.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// Whatever runs on a vCPU.
    Vcpu(VcpuId),
    /// A task, wherever it runs.
    Task(&'a super::Task),
    /// A task, while it runs on one vCPU.
    TaskOn(&'a super::Task, VcpuId),
}
