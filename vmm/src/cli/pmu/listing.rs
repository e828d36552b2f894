// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The models, and what each source counts on each: the data behind the table and the JSON document.

use serde::{Serialize, Serializer};
use vpmu::{Event, EventConfig, PmuModel, Vendor};

use crate::kvm;
use crate::select;

/// What a source counts for a guest whose PMU is of this vendor.
type Supports = dyn Fn(Vendor, &EventConfig) -> bool;

/// A source that guests could have.
pub(super) struct Candidate {
    pub(super) name: &'static str,
    /// What it is, and whether it counts or models.
    pub(super) what: String,
    pub(super) supports: Box<Supports>,
}

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
    /// What is counted by the perf port, whatever the model and the source.
    pub(super) port_events: Vec<PortEvent>,
}

/// One event of the perf port's.
#[derive(Debug, Serialize)]
pub(super) struct PortEvent {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
}

/// One source, whatever the model.
#[derive(Debug, Serialize)]
pub(super) struct Source {
    pub(super) name: &'static str,
    pub(super) what: String,
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

/// An event that has a name.
#[derive(Debug, Serialize)]
pub(super) struct NamedEvent {
    pub(super) name: &'static str,
    /// Umask and event number, bits 15:0 of the select.
    select: u64,
    /// It is counted in user and kernel mode together, as drivers ask first.
    pub(super) counted: bool,
    /// It is counted where user mode alone is asked for.
    pub(super) counted_in_user_mode: bool,
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
    /// For a host with a CPU of this vendor, with these sources.
    pub(super) fn new(host_vendor: Vendor, sources: Vec<Candidate>) -> Self {
        let models = PmuModel::ALL
            .iter()
            .map(|model| Model::new(*model, &sources));
        Self {
            default: kvm::usual_model(host_vendor).name(),
            host_vendor,
            models: models.collect(),
            sources: sources
                .into_iter()
                .map(|source| Source {
                    name: source.name,
                    conditions: conditions(&*source.supports),
                    what: source.what,
                })
                .collect(),
            port_events: select::PORT_EVENTS
                .iter()
                .map(|port| PortEvent {
                    name: port.event.name().unwrap_or_default(),
                    what: port.what,
                })
                .collect(),
        }
    }
}

impl Listing {
    /// Whether the source of this name counts any event that has a name, in all modes together.
    pub(super) fn counts_anything(&self, source: &str) -> bool {
        let all = self.models.iter().flat_map(|model| &model.sources);
        let mut of_it = all.filter(|on| on.source == source);
        of_it.any(|on| on.events.iter().any(|event| event.counted))
    }
}

impl Model {
    fn new(model: PmuModel, sources: &[Candidate]) -> Self {
        let in_full = model.advertising(|_| true);
        let on_source = |source: &Candidate| on(model, source.name, &*source.supports);
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

fn on(model: PmuModel, source: &'static str, supports: &Supports) -> OnSource {
    let supports = |config: &EventConfig| supports(model.vendor(), config);
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
        let in_user_mode = EventConfig {
            os: false,
            ..EventConfig::everywhere(named.event)
        };
        NamedEvent {
            name: named.name,
            select: named.select.0,
            counted,
            counted_in_user_mode: supports(&in_user_mode),
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
fn conditions(supports: &Supports) -> Vec<&'static str> {
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
    let of = |vendor| {
        let named = select::named_events(vendor).iter();
        named.map(move |named| (vendor, EventConfig::everywhere(named.event)))
    };
    let counted: Vec<_> = [Vendor::Intel, Vendor::Amd]
        .into_iter()
        .flat_map(of)
        .filter(|(vendor, config)| supports(*vendor, config))
        .collect();
    let honoured = |change: Change| {
        !counted.is_empty()
            && counted.iter().all(|&(vendor, mut config)| {
                change(&mut config);
                supports(vendor, &config)
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

    /// Instructions, but no edges.
    fn flawed(_: Vendor, config: &EventConfig) -> bool {
        config.event == Event::Instructions && !config.edge
    }

    #[test]
    fn the_document_has_the_keys_that_others_rely_on() {
        let listing = Listing::new(
            Vendor::Intel,
            vec![Candidate {
                name: "flawed",
                what: "for this test".to_owned(),
                supports: Box::new(flawed),
            }],
        );
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
        assert_eq!(value["port_events"].as_array().unwrap().len(), 1);
        assert_eq!(value["port_events"][0]["name"], "port.tick");
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
            json!({
                "name": "cycles", "select": 0x3c, "counted": false, "counted_in_user_mode": false,
                "masked": true
            })
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
            let on = on(*model, "flawed", &flawed);
            let cpuid = model
                .advertising(|config| flawed(model.vendor(), config))
                .cpuid();
            let masked = on.events.iter().filter(|event| event.masked).count();
            assert_eq!(masked, cpuid.leaf_a.ebx.count_ones() as usize, "{model}");
        }
    }

    #[test]
    fn a_counter_without_its_event_is_absent_from_version_5_on() {
        let states = |model| -> Vec<_> {
            on(model, "flawed", &flawed)
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
    fn a_source_may_count_for_one_vendor_alone() {
        let amds = |vendor: Vendor, _: &EventConfig| vendor == Vendor::Amd;
        for model in PmuModel::ALL {
            let events = on(*model, "amds", &amds).events;
            let all = model.vendor() == Vendor::Amd;
            assert!(events.iter().all(|event| event.counted == all), "{model}");
        }
        assert_eq!(conditions(&amds).len(), 5, "where it counts, it can all");
    }

    #[test]
    fn a_source_that_counts_nothing_honours_no_condition() {
        assert_eq!(conditions(&|_, _| false), [""; 0]);
    }
}
