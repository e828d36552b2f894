// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a run's PMUs did, in the words of reports.

use serde::Serialize;
use vpmu::{PmuStats, UnsupportedSelects, Vendor};

use super::VcpuReport;
use crate::select;

/// The PMU that the guest found.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PmuSummary {
    /// The model in full, as the command line takes it.
    pub model: String,
    /// Where the counts come from; modelled, not measured, says so.
    pub source: &'static str,
    /// What the model implies on a host of the other vendor; None on one of its own.
    pub warning: Option<String>,
}

/// How late overflow interrupts were, in the events counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SkidReport {
    /// Overflows measured.
    pub count: u64,
    /// The worst; None without any.
    pub max_cycles: Option<u64>,
    /// The mean; None without any.
    pub mean_cycles: Option<u64>,
}

/// What one counter did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CounterReport {
    /// The counter's name, such as `PMC0` or `FIXED_CTR1`.
    pub name: String,
    /// Events counted in all, whatever the guest wrote into the counter in between.
    pub counted: u64,
    /// How often it overflowed.
    pub overflows: u64,
}

/// What a guest wanted counted and did not get.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SelectsReport {
    /// Each distinct select that a counter was enabled with.
    pub selects: Vec<SelectReport>,
    /// There were more than are remembered.
    pub more: bool,
}

/// An event select.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SelectReport {
    /// Its value without the enable, interrupt and pin-control bits. What a fixed-function counter
    /// counts is told as the select that asks for the same.
    pub select: u64,
    /// What it asks for, by the names of the vendor's manual.
    pub event: String,
}

impl VcpuReport {
    /// The same report with what the vCPU's PMU, one of `vendor`'s, did.
    pub(crate) fn with_pmu(self, vendor: Vendor, stats: &PmuStats) -> Self {
        let skid = stats.skid;
        let counters = stats.counters().map(|(id, counter)| CounterReport {
            name: id.to_string(),
            counted: counter.counted,
            overflows: counter.overflows,
        });
        Self {
            pmis: stats.pmis,
            overflows: stats.overflows,
            masked: stats.masked,
            undeliverable: stats.undeliverable,
            throttles: stats.throttled,
            skid: SkidReport {
                count: skid.count,
                max_cycles: (skid.count > 0).then_some(skid.max),
                mean_cycles: skid.mean(),
            },
            counters: counters.collect(),
            not_counted: selects(&stats.unsupported_selects, vendor),
            filtered: selects(&stats.filtered_selects, vendor),
            ..self
        }
    }
}

fn selects(selects: &UnsupportedSelects, vendor: Vendor) -> SelectsReport {
    let told = selects.as_slice().iter().map(|&select| SelectReport {
        select: select.0,
        event: select::describe(select, vendor),
    });
    SelectsReport {
        selects: told.collect(),
        more: selects.truncated(),
    }
}

#[cfg(test)]
mod tests {
    use vpmu::msr::IA32_PERFEVTSEL0;
    use vpmu::source::script::ScriptSource;
    use vpmu::{MsrId, MsrWrite, PmuModel, VcpuPmu};

    use super::*;

    fn report(model: PmuModel, writes: &[(MsrId, u64)]) -> VcpuReport {
        let source = ScriptSource::supporting(|_| false);
        let mut pmu = VcpuPmu::new(model, source);
        for &(msr, value) in writes {
            assert_eq!(pmu.write_msr(msr, value), MsrWrite::Done);
        }
        VcpuReport::default().with_pmu(model.vendor(), pmu.stats())
    }

    #[test]
    fn counters_have_their_names() {
        let names = |model: PmuModel| -> Vec<String> {
            let report = report(model, &[]);
            report
                .counters
                .into_iter()
                .map(|counter| counter.name)
                .collect()
        };
        let amd = ["PMC0", "PMC1", "PMC2", "PMC3"];
        assert_eq!(names(PmuModel::AMD_K7), amd);
        let intel: PmuModel = "intel-v2,counters=1,fixed=2".parse().unwrap();
        assert_eq!(names(intel), ["PMC0", "FIXED_CTR0", "FIXED_CTR1"]);
    }

    #[test]
    fn what_is_not_counted_is_told_by_the_vendors_names() {
        let intel = report(PmuModel::INTEL_V2, &[(IA32_PERFEVTSEL0, 0x53_00c0)]);
        let select = SelectReport {
            select: 0x3_00c0,
            event: "Instruction Retired (C0H, umask 00H)".to_owned(),
        };
        assert_eq!(intel.not_counted.selects, [select]);
        assert_eq!(intel.filtered, SelectsReport::default());
        let amd = report(PmuModel::AMD_CORE, &[(MsrId(0xc001_0200), 0x53_00c0)]);
        let events = amd.not_counted.selects.iter().map(|select| &select.event);
        assert_eq!(
            events.collect::<Vec<_>>(),
            ["Retired Instructions (PMCx0C0, umask 00H)"]
        );
    }

    #[test]
    fn more_selects_than_are_remembered_are_told_as_more() {
        let writes = |count: u64| -> Vec<_> {
            (0..count)
                .map(|n| (IA32_PERFEVTSEL0, 0x53_0000 | n))
                .collect()
        };
        for (count, more) in [(16, false), (17, true)] {
            let report = report(PmuModel::INTEL_V2, &writes(count));
            assert_eq!(
                (report.not_counted.selects.len(), report.not_counted.more),
                (16, more)
            );
        }
    }
}
