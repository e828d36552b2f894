// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What can go wrong with KVM: each error names the call and what the user can do.

use vmm_sys_util::errno;

/// An error of KVM, or of the host's part of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KvmError {
    /// `/dev/kvm` cannot be opened.
    #[error("Cannot open /dev/kvm: {}", open_remedy(source))]
    Open {
        /// The errno.
        #[source]
        source: errno::Error,
    },
    /// `/dev/kvm` speaks another version of the API.
    #[error(
        "KVM_GET_API_VERSION gives {version} and not 12: /dev/kvm is not KVM's, load its module"
    )]
    ApiVersion {
        /// What it gives.
        version: i32,
    },
    /// This KVM lacks a capability.
    #[error("{capability} is missing: it needs Linux {since} or newer on the host")]
    Missing {
        /// Its name in the KVM API document.
        capability: &'static str,
        /// The first Linux that has it.
        since: &'static str,
    },
    /// More vCPUs than this KVM can have.
    #[error("KVM can have {max} vCPUs here and {count} were asked for: give fewer")]
    TooManyVcpus {
        /// What was asked for.
        count: u32,
        /// What there can be.
        max: usize,
    },
    /// A call failed.
    #[error("{call} failed: {remedy}")]
    Call {
        /// The call, named as in the KVM API document.
        call: &'static str,
        /// What the user can do.
        remedy: &'static str,
        /// The errno.
        #[source]
        source: errno::Error,
    },
    /// A vCPU of this number was made before.
    #[error("vCPU {0} was made before: it can be added again, and made only once")]
    VcpuTaken(u32),
    /// The host's CPUID has no room for what a vCPU needs.
    #[error("KVM_SET_CPUID2 takes fewer leaves than this host has: report this host")]
    Cpuid,
    /// This host cannot give its guests a PMU.
    #[error("{reason} (see `perfvisor doctor`, or run with --pmu none)")]
    NoPmu {
        /// What the probe of the host says.
        reason: String,
    },
    /// The PMU's part of KVM failed.
    #[error(transparent)]
    Pmu(#[from] vpmu_kvm::Error),
    /// A vCPU left the guest for a reason that nothing here can serve.
    #[error("KVM_RUN ended with {what}; {registers}")]
    Exit {
        /// The exit.
        what: String,
        /// Where the vCPU was.
        registers: String,
    },
}

impl KvmError {
    /// What the user can do, where the error knows it apart from its message.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Open { source } => Some(open_remedy(source)),
            Self::Call { remedy, .. } => Some(remedy),
            _ => None,
        }
    }
}

/// The remedy for calls that fail only if the VM itself is broken.
pub(super) const REPORT: &str = "the VM cannot go on; see the host's kernel log and report it";

/// Says which call failed and what to do.
pub(super) fn call(
    call: &'static str,
    remedy: &'static str,
) -> impl FnOnce(errno::Error) -> KvmError {
    move |source| KvmError::Call {
        call,
        remedy,
        source,
    }
}

fn open_remedy(error: &errno::Error) -> &'static str {
    match error.errno() {
        libc::ENOENT | libc::ENODEV | libc::ENXIO => {
            "load the module kvm_intel or kvm_amd and switch virtualisation on in the firmware, \
             or use the lab (`cargo xtask lab`)"
        }
        libc::EACCES | libc::EPERM => {
            "join the group kvm (`sudo usermod -aG kvm $USER`) and log in again"
        }
        libc::EMFILE | libc::ENFILE => "raise the limit of open files (`ulimit -n`)",
        _ => "see the host's kernel log",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unusable_dev_kvm_names_its_remedy() {
        let text = |errno| {
            KvmError::Open {
                source: errno::Error::new(errno),
            }
            .to_string()
        };
        assert!(text(libc::ENOENT).contains("load the module kvm_intel or kvm_amd"));
        assert!(text(libc::ENOENT).contains("cargo xtask lab"));
        assert!(text(libc::EACCES).contains("group kvm"));
        assert!(text(libc::EMFILE).contains("ulimit -n"));
    }
}
