// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which PMU it is: CPUID against what the host was asked for.

use rt::cpu::cpuid;
use rt::model::{CORE_CYCLES, Kind, Model, REF_CYCLES, model};
use rt::msr::read;
use rt::tap::Outcome;
use rt::text::Text;
use rt::{check, check_eq, cmdline, diag, fail, smp};

const MISC_ENABLE: u32 = 0x1a0;

/// What a model of this name is like unless its options say otherwise, on a host that counts cycles
/// and nothing else.
fn usual(name: &str) -> Result<Model, Text> {
    let (kind, counters, fixed, full_width) = match name {
        "amd-k7" => (Kind::AmdK7, 4, 0, false),
        "amd-core" => (Kind::AmdCore, 6, 0, false),
        "amd-v2" => (Kind::AmdV2, 6, 0, false),
        "intel-v1" => (Kind::Intel(1), 4, 0, false),
        "intel-v2" => (Kind::Intel(2), 4, 3, false),
        "intel-v3" => (Kind::Intel(3), 4, 3, true),
        "intel-v4" => (Kind::Intel(4), 8, 3, true),
        "intel-v5" => (Kind::Intel(5), 8, 3, true),
        _ => fail!("there is no model `{name}`"),
    };
    let is_intel = matches!(kind, Kind::Intel(_));
    Ok(Model {
        kind,
        counters,
        fixed: (1 << fixed) - 1,
        width: 48,
        full_width,
        events: if is_intel {
            CORE_CYCLES | REF_CYCLES
        } else {
            0
        },
    })
}

/// The model that a text such as `intel-v2,fixed=0` names.
fn named(text: &str) -> Result<Model, Text> {
    let mut parts = text.split(',');
    let mut model = usual(parts.next().unwrap_or_default())?;
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let number = value.parse::<u32>();
        match (name, value, number) {
            ("counters", _, Ok(number)) => model.counters = number,
            ("fixed", _, Ok(number)) => model.fixed = (1 << number) - 1,
            ("width", _, Ok(number)) => model.width = number,
            ("full-width", "on", _) => model.full_width = true,
            ("full-width", "off", _) => model.full_width = false,
            _ => fail!("there is no option `{part}`"),
        }
    }
    if model.kind == Kind::Intel(5) {
        // Instructions cannot be counted, and from version 5 on such a counter is not there.
        model.fixed &= !1;
    }
    Ok(model)
}

pub(crate) fn as_asked_for() -> Outcome {
    let Some(text) = cmdline::value("model") else {
        fail!("the command line names no model: `{}`", cmdline::get());
    };
    diag!("{text}: {:?}", model());
    check_eq!(*model(), named(text)?, "CPUID's model");
    Ok(())
}

pub(crate) fn on_each_cpu() -> Outcome {
    smp::on_each(|| {
        check_eq!(Model::from_cpuid()?, *model(), "CPUID's model");
        Ok(())
    })
}

pub(crate) fn nothing_of_the_others() -> Outcome {
    let highest = cpuid(0, 0).eax;
    let highest_extended = cpuid(0x8000_0000, 0).eax;
    if model().is_amd() {
        if highest >= 0xa {
            check_eq!(cpuid(0xa, 0).eax, 0, "leaf 0xA EAX");
        }
        check_eq!(cpuid(1, 0).ecx & 1 << 15, 0, "PDCM, leaf 1 ECX");
    } else {
        if highest_extended >= 0x8000_0001 {
            let amd = cpuid(0x8000_0001, 0).ecx & (1 << 23 | 1 << 24 | 1 << 28);
            check_eq!(amd, 0, "AMD's counter extensions, leaf 0x80000001 ECX");
        }
        if highest_extended >= 0x8000_0022 {
            check_eq!(cpuid(0x8000_0022, 0).eax, 0, "leaf 0x80000022 EAX");
        }
    }
    check_eq!(cpuid(1, 0).edx & 1 << 21, 0, "DS (debug store), leaf 1 EDX");
    if highest >= 0x23 {
        check_eq!(cpuid(0x23, 0).eax, 0, "leaf 0x23 EAX");
    }
    check!(model().counters > 0, "there is no counter");
    Ok(())
}

pub(crate) fn misc_enable() -> Outcome {
    // Performance monitoring is available; BTS and PEBS are not.
    let bits = read(MISC_ENABLE) & (1 << 7 | 1 << 11 | 1 << 12);
    check_eq!(bits, 1 << 7 | 1 << 11 | 1 << 12, "bits 7, 11 and 12");
    Ok(())
}
