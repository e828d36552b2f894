// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What this host's KVM has and can do.

use std::sync::OnceLock;

use kvm_bindings::KVM_API_VERSION;
use kvm_ioctls::{Cap, Kvm};
use vpmu::{ClockSource, CounterSource, EventConfig, PmuModel, Vendor};
use vpmu_kvm::InGuestTime;
use vpmu_kvm::probe::HostReport;

use super::error::KvmError;

/// What a VM cannot do without, with the first Linux that has it.
const REQUIRED: [(Cap, &str, &str); 7] = [
    (Cap::UserMemory, "KVM_CAP_USER_MEMORY", "2.6.25"),
    (Cap::SetTssAddr, "KVM_CAP_SET_TSS_ADDR", "2.6.24"),
    (Cap::Irqchip, "KVM_CAP_IRQCHIP", "2.6.24"),
    (Cap::ExtCpuid, "KVM_CAP_EXT_CPUID", "2.6.26"),
    (Cap::Irqfd, "KVM_CAP_IRQFD", "2.6.32"),
    (Cap::GetTscKhz, "KVM_CAP_GET_TSC_KHZ", "2.6.39"),
    (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT", "4.13"),
];

/// Opens `/dev/kvm` and checks that it has what every VM needs.
pub(super) fn open() -> Result<Kvm, KvmError> {
    let kvm = Kvm::new().map_err(|source| KvmError::Open { source })?;
    let version = kvm.get_api_version();
    if u32::try_from(version) != Ok(KVM_API_VERSION) {
        return Err(KvmError::ApiVersion { version });
    }
    match REQUIRED
        .into_iter()
        .find(|&(cap, ..)| !kvm.check_extension(cap))
    {
        None => Ok(kvm),
        Some((_, capability, since)) => Err(KvmError::Missing { capability, since }),
    }
}

/// Asks this host's KVM what it can do; runs a guest of a few instructions for it the first time
/// and remembers the answer.
///
/// # Errors
///
/// There is no usable KVM at all.
pub fn probe() -> Result<&'static HostReport, KvmError> {
    static REPORT: OnceLock<HostReport> = OnceLock::new();
    if let Some(report) = REPORT.get() {
        return Ok(report);
    }
    let report = vpmu_kvm::probe::probe(&open()?)?;
    Ok(REPORT.get_or_init(|| report))
}

/// Why this host cannot offer `pmu`; None if it can.
pub(crate) fn refuses(pmu: Option<PmuModel>) -> Result<Option<String>, KvmError> {
    let Some(model) = pmu else { return Ok(None) };
    let offer = &probe()?.pmu;
    if offer.models.contains(&model.name()) {
        return Ok(None);
    }
    Ok(Some(offer.reason.clone()))
}

/// The vendor of the host's CPU, as far as PMUs are concerned.
pub(crate) fn host_vendor() -> Vendor {
    vpmu_kvm::cpuid::host_vendor()
}

/// The model that a guest on this vendor's CPU finds if nobody chooses one.
pub(crate) fn usual_model(vendor: Vendor) -> PmuModel {
    vpmu_kvm::cpuid::default_model(vendor)
}

/// Whether the source of the vCPUs' counts counts this, on every host.
pub(crate) fn counts(config: &EventConfig) -> bool {
    ClockSource::new(InGuestTime::new(1)).supports(config)
}
