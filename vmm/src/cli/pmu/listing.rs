// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The models, and what each source counts on each: the data behind the table and the JSON document.

use serde::{Serialize, Serializer};
use vpmu::{Event, EventConfig, PmuModel, Vendor};

use crate::kvm;
use crate::select;

/// A source: its name, what it is, and what it counts.
pub(super) type Candidate<'a> = (&'static str, &'static str, &'a dyn Fn(&EventConfig) -> bool);

/// All models on all sources.
#[derive(Debug, Serialize)]
pub(super) struct Listing {
    /// The model that a guest finds on this host if nobody chooses one.
    pub(super) default: &'static str,
    /// The vendor of this host's CPU.
    #[serde(serialize_with = "display")]
    pub(super) host_vendor: Vendor,
    pub(super) sources: Vec<Source>,
    pub(super) models: Vec<Model>,
}

/// One source, whatever the model.
#[derive(Debug, Serialize)]
pub(super) struct Source {
    pub(super) name: &'static str,
    /// What it is, and whether it counts or models.
    pub(super) what: &'static str,
    /// Which conditions of a select it honours for every event that it counts.
    pub(super) conditions: Vec<&'static str>,
}

/// One model.
#[derive(Debug, Serialize)]
pub(super) struct Model {
    pub(super) name: &'static str,
    #[serde(serialize_with = "display")]
    pub(super) vendor: Vendor,
    /// How many general-purpose counters it has.
    pub(super) counters: usize,
    /// How many fixed-function counters it has if its source counts all their events.
    pub(super) fixed_counters: usize,
    /// In bits.
    pub(super) width: u32,
    /// A counter can be written with all its bits.
    pub(super) writes_in_full: bool,
    pub(super) sources: Vec<OnSource>,
}

/// One model on one source.
#[derive(Debug, Serialize)]
pub(super) struct OnSource {
    pub(super) source: &'static str,
    pub(super) events: Vec<NamedEvent>,
    pub(super) fixed: Vec<Fixed>,
}

/// An event that has a name, in user and kernel mode together.
#[derive(Debug, Serialize)]
pub(super) struct NamedEvent {
    pub(super) name: &'static str,
    /// Umask and event number, bits 15:0 of the select.
    select: u64,
    pub(super) counted: bool,
    /// CPUID says that the event is not there; a model of AMD's has no way to.
    masked: bool,
}

/// A fixed-function counter.
#[derive(Debug, Serialize)]
pub(super) struct Fixed {
    pub(super) counter: String,
    pub(super) event: &'static str,
    pub(super) state: State,
}

/// What becomes of a fixed-function counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    /// It counts.
    Counts,
    /// It is there, since counters before version 5 have no gaps, and never moves.
    StandsStill,
    /// It is not there.
    Absent,
}

impl Listing {
    /// For this host, with the sources that this program has.
    pub(super) fn here() -> Self {
        Self::new(
            kvm::host_vendor(),
            &[("clock", kvm::PMU_SOURCE, &kvm::counts)],
        )
    }

    pub(super) fn new(host_vendor: Vendor, sources: &[Candidate<'_>]) -> Self {
        let models = PmuModel::ALL
            .iter()
            .map(|model| Model::new(*model, sources));
        Self {
            default: kvm::usual_model(host_vendor).name(),
            host_vendor,
            models: models.collect(),
            sources: sources
                .iter()
                .map(|&(name, what, supports)| Source {
                    name,
                    what,
                    conditions: conditions(supports),
                })
                .collect(),
        }
    }
}

impl Model {
    fn new(model: PmuModel, sources: &[Candidate<'_>]) -> Self {
        let in_full = model.advertising(|_| true);
        let on_source = |&(name, _, supports): &Candidate<'_>| on(model, name, supports);
        Self {
            name: model.name(),
            vendor: model.vendor(),
            counters: model.gp_counters(),
            fixed_counters: in_full.fixed_counters().count(),
            width: model.counter_width(),
            writes_in_full: model.vendor() == Vendor::Amd || model.full_width_writes(),
            sources: sources.iter().map(on_source).collect(),
        }
    }
}

fn on(model: PmuModel, source: &'static str, supports: &dyn Fn(&EventConfig) -> bool) -> OnSource {
    let counted = |event| supports(&EventConfig::everywhere(event));
    let there: Vec<_> = model.advertising(supports).fixed_counters().collect();
    let fixed = model.advertising(|_| true).fixed_counters().map(|n| {
        let event = Event::FIXED[n];
        Fixed {
            counter: format!("FIXED_CTR{n}"),
            event: select::name_of(event),
            state: match (there.contains(&n), counted(event)) {
                (true, true) => State::Counts,
                (true, false) => State::StandsStill,
                (false, _) => State::Absent,
            },
        }
    });
    let events = select::named_events(model.vendor()).iter().map(|named| {
        let counted = counted(named.event);
        NamedEvent {
            name: named.name,
            select: named.select.0,
            counted,
            masked: !counted && model.vendor() == Vendor::Intel,
        }
    });
    OnSource {
        source,
        events: events.collect(),
        fixed: fixed.collect(),
    }
}

/// The conditions honoured for every event that is counted at all.
fn conditions(supports: &dyn Fn(&EventConfig) -> bool) -> Vec<&'static str> {
    type Change = fn(&mut EventConfig);
    const CONDITIONS: [(&str, Change); 5] = [
        ("user mode", |config| config.os = false),
        ("kernel mode", |config| config.usr = false),
        ("edge", |config| config.edge = true),
        ("counter mask", |config| config.cmask = 2),
        ("inverted counter mask", |config| {
            (config.cmask, config.invert) = (2, true);
        }),
    ];
    let all = [Vendor::Intel, Vendor::Amd]
        .map(select::named_events)
        .concat();
    let plain = all.iter().map(|named| EventConfig::everywhere(named.event));
    let counted: Vec<_> = plain.filter(|config| supports(config)).collect();
    let honoured = |change: Change| {
        !counted.is_empty()
            && counted.iter().all(|&config| {
                let mut config = config;
                change(&mut config);
                supports(&config)
            })
    };
    CONDITIONS
        .into_iter()
        .filter_map(|(name, change)| honoured(change).then_some(name))
        .collect()
}

fn display<S: Serializer>(vendor: &Vendor, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(vendor)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FLAWED: Candidate<'static> = ("flawed", "for this test", &|config| {
        config.event == Event::Instructions && !config.edge
    });

    #[test]
    fn the_document_has_the_keys_that_others_rely_on() {
        let listing = Listing::new(Vendor::Intel, &[FLAWED]);
        let value = serde_json::to_value(&listing).unwrap();
        assert_eq!(
            (&value["default"], &value["host_vendor"]),
            (&json!("intel-v2"), &json!("Intel"))
        );
        let conditions = [
            "user mode",
            "kernel mode",
            "counter mask",
            "inverted counter mask",
        ];
        assert_eq!(
            value["sources"],
            json!([{ "name": "flawed", "what": "for this test", "conditions": conditions }])
        );
        let models = value["models"].as_array().unwrap();
        let names: Vec<_> = models
            .iter()
            .map(|model| model["name"].as_str().unwrap())
            .collect();
        assert_eq!(
            names,
            PmuModel::ALL.iter().map(PmuModel::name).collect::<Vec<_>>()
        );
        let v3 = models
            .iter()
            .find(|model| model["name"] == "intel-v3")
            .unwrap();
        assert_eq!(v3["vendor"], "Intel");
        assert_eq!(
            (&v3["counters"], &v3["fixed_counters"]),
            (&json!(4), &json!(3))
        );
        assert_eq!(
            (&v3["width"], &v3["writes_in_full"]),
            (&json!(48), &json!(true))
        );
        let on = &v3["sources"][0];
        assert_eq!(
            on["events"][0],
            json!({ "name": "cycles", "select": 0x3c, "counted": false, "masked": true })
        );
        assert_eq!(
            on["fixed"],
            json!([
                { "counter": "FIXED_CTR0", "event": "instructions", "state": "counts" },
                { "counter": "FIXED_CTR1", "event": "cycles", "state": "stands-still" },
                { "counter": "FIXED_CTR2", "event": "ref-cycles", "state": "stands-still" },
            ])
        );
    }

    #[test]
    fn what_is_masked_is_what_cpuid_masks() {
        for model in PmuModel::ALL {
            let on = on(*model, "flawed", FLAWED.2);
            let cpuid = model.advertising(FLAWED.2).cpuid();
            let masked = on.events.iter().filter(|event| event.masked).count();
            assert_eq!(masked, cpuid.leaf_a.ebx.count_ones() as usize, "{model}");
        }
    }

    #[test]
    fn a_counter_without_its_event_is_absent_from_version_5_on() {
        let states = |model| -> Vec<_> {
            on(model, "flawed", FLAWED.2)
                .fixed
                .iter()
                .map(|fixed| fixed.state)
                .collect()
        };
        use State::{Absent, Counts, StandsStill};
        assert_eq!(
            states(PmuModel::INTEL_V4),
            [Counts, StandsStill, StandsStill]
        );
        assert_eq!(states(PmuModel::INTEL_V5), [Counts, Absent, Absent]);
        assert_eq!(states(PmuModel::AMD_V2), []);
    }

    #[test]
    fn a_source_that_counts_nothing_honours_no_condition() {
        assert_eq!(conditions(&|_| false), [""; 0]);
        assert_eq!(
            conditions(&kvm::counts),
            [""; 0],
            "the clock knows no modes"
        );
    }
}
