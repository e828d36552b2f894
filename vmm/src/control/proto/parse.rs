// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! From a line to a request, or to what is wrong with it.

use serde_json::Value;

use super::keys::{Keys, Object, Wrong, quoted};
use super::{CpuState, ErrorKind, Id, OpenEvent, Refusal, Request, RunState, Until, VERSION, Verb};

/// A line that is no request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unparsed {
    /// Its name, as far as it could be read.
    pub id: Option<Id>,
    /// What is wrong with it.
    pub refusal: Refusal,
}

impl Request {
    /// Reads a line, with or without its LF.
    ///
    /// # Errors
    /// [`ErrorKind::BadJson`] for what is no JSON object, [`ErrorKind::BadVersion`] for another
    /// version than [`VERSION`], [`ErrorKind::BadRequest`] for anything else.
    pub fn parse(line: &[u8]) -> Result<Self, Unparsed> {
        let object = serde_json::from_slice::<Object>(line).map_err(|error| Unparsed {
            id: None,
            refusal: not_json(line, &error),
        })?;
        let mut keys = Keys::new(object);
        let mut id = None;
        let verb = parse(&mut keys, &mut id).and_then(|verb| {
            let end = keys.end();
            end.map(|()| verb)
                .map_err(|wrong| Refusal::new(ErrorKind::BadRequest, wrong))
        });
        match verb {
            Ok(verb) => Ok(Self { id, verb }),
            Err(refusal) => Err(Unparsed { id, refusal }),
        }
    }
}

fn not_json(line: &[u8], error: &serde_json::Error) -> Refusal {
    let message = if line.trim_ascii().is_empty() {
        "The line is empty: send one JSON object a line".to_owned()
    } else if error.is_data() {
        "The line is no JSON object: send one a line, such as {\"do\":\"info\"}".to_owned()
    } else {
        format!("The line is not JSON: {error}")
    };
    Refusal::new(ErrorKind::BadJson, message)
}

/// Everything but the check for keys that are left.
fn parse(keys: &mut Keys, id: &mut Option<Id>) -> Result<Verb, Refusal> {
    // First, so that whatever else is wrong is answered with it.
    let wrong = |wrong| Refusal::new(ErrorKind::BadRequest, wrong);
    *id = take_id(keys).map_err(wrong)?;
    let version = keys.take("v").map_err(wrong)?;
    if let Some(version) = version.filter(|version| version.as_u64() != Some(VERSION)) {
        let version = quoted(&version.to_string());
        let message = format!("Version {version} is not spoken here: \"v\" is {VERSION}");
        return Err(Refusal::new(ErrorKind::BadVersion, message));
    }
    take_verb(keys).map_err(wrong)
}

fn take_id(keys: &mut Keys) -> Result<Option<Id>, Wrong> {
    match keys.take("id")? {
        None => Ok(None),
        Some(Value::String(text)) if text.len() <= Id::MAX_BYTES => Ok(Some(Id::Text(text))),
        Some(Value::String(_)) => Err(format!("\"id\" is longer than {} bytes", Id::MAX_BYTES)),
        Some(other) => match other.as_i64() {
            Some(number) => Ok(Some(Id::Number(number))),
            None => Err("\"id\" is neither a string nor a whole number of 64 bits".to_owned()),
        },
    }
}

fn take_verb(keys: &mut Keys) -> Result<Verb, Wrong> {
    let verb = keys.text("do", "the name of a request, such as \"info\"")?;
    let verb = keys.need("do", verb, "the name of a request, such as \"info\"")?;
    let known = TABLE.iter().find(|(name, _)| *name == verb);
    let Some((name, arguments)) = known else {
        let names: Vec<_> = TABLE.iter().map(|(name, _)| *name).collect();
        return Err(format!(
            "Unknown request {}: there are {}",
            quoted(&verb),
            names.join(", ")
        ));
    };
    keys.of(name);
    arguments(keys)
}

/// Takes the keys of one request.
type Arguments = fn(&mut Keys) -> Result<Verb, Wrong>;

/// All requests.
const TABLE: [(&str, Arguments); 16] = [
    ("info", |_| Ok(Verb::Info)),
    ("cpus-add", |keys| {
        let count = keys.word("count", 1, Verb::MAX_COUNT)?.unwrap_or(1);
        Ok(Verb::CpusAdd { count })
    }),
    ("cpus-remove", |keys| {
        let vcpu = keys.word("vcpu", 0, u32::MAX)?;
        let limit = keys.number("limit_ms", 0, Verb::MAX_REMOVE_MS)?;
        Ok(Verb::CpusRemove {
            vcpu: keys.need("vcpu", vcpu, "the number of a vCPU")?,
            limit_ms: limit.unwrap_or(Verb::REMOVE_MS),
        })
    }),
    ("pause", |_| Ok(Verb::Pause)),
    ("resume", |_| Ok(Verb::Resume)),
    ("stop", |_| Ok(Verb::Stop)),
    ("wait", wait),
    ("tasks", |_| Ok(Verb::Tasks)),
    ("events-open", events_open),
    ("events-enable", |keys| {
        event(keys).map(|event| Verb::EventsEnable { event })
    }),
    ("events-disable", |keys| {
        event(keys).map(|event| Verb::EventsDisable { event })
    }),
    ("events-refresh", |keys| {
        let event = event(keys)?;
        let overflows = keys.number("overflows", 0, u64::MAX)?;
        let overflows = keys.need("overflows", overflows, "how many more it may have")?;
        Ok(Verb::EventsRefresh { event, overflows })
    }),
    ("events-reset", |keys| {
        event(keys).map(|event| Verb::EventsReset { event })
    }),
    ("events-read", |keys| {
        event(keys).map(|event| Verb::EventsRead { event })
    }),
    ("events-close", |keys| {
        event(keys).map(|event| Verb::EventsClose { event })
    }),
    ("events-list", |_| Ok(Verb::EventsList)),
];

fn event(keys: &mut Keys) -> Result<u64, Wrong> {
    let event = keys.number("event", 1, u64::MAX)?;
    keys.need("event", event, "the number that events-open answered")
}

fn wait(keys: &mut Keys) -> Result<Verb, Wrong> {
    const OF_VM: &str = "running, paused or ended";
    const OF_VCPU: &str = "absent, offline, starting, running, paused or stopping";
    let state = keys.text("state", OF_VM)?;
    let vcpu = keys.word("vcpu", 0, u32::MAX)?;
    let limit = keys.number("limit_ms", 0, Verb::MAX_WAIT_MS)?;
    let states = if vcpu.is_some() { OF_VCPU } else { OF_VM };
    let state = keys.need("state", state, states)?;
    let unknown = |()| {
        let whose = if vcpu.is_some() { "A vCPU" } else { "The VM" };
        format!("{whose} has no state {}: give {states}", quoted(&state))
    };
    let until = match vcpu {
        None => Until::Vm(state.parse::<RunState>().map_err(unknown)?),
        Some(vcpu) => match state.parse::<CpuState>().map_err(unknown)? {
            CpuState::Finished => return Err(unknown(())),
            state => Until::Vcpu(vcpu, state),
        },
    };
    Ok(Verb::Wait {
        until,
        limit_ms: limit.unwrap_or(Verb::WAIT_MS),
    })
}

fn events_open(keys: &mut Keys) -> Result<Verb, Wrong> {
    const EVENT: &str = "an event by its name in `perfvisor pmu list`, such as \"cycles\"";
    const TARGET: &str = "the number of a vCPU, or \"task\" with that of a task";
    let vcpu = keys.word("vcpu", 0, u32::MAX)?;
    let task = keys.number("task", 1, u64::MAX)?;
    let event = keys.text("event", EVENT)?;
    let open = OpenEvent {
        period: keys.number("period", 1, i64::MAX.cast_unsigned())?,
        limit: keys.number("limit", 1, u64::MAX)?,
        pinned: keys.flag("pinned")?,
        disabled: keys.flag("disabled")?,
        keep: keys.flag("keep")?,
        sigtrap: keys.number("sigtrap", 0, u64::MAX)?,
        inherit: keys.flag("inherit")?,
        event: keys.need("event", event, EVENT)?,
        vcpu,
        task,
    };
    if open.task.is_none() {
        keys.need("vcpu", open.vcpu, TARGET)?;
        if open.sigtrap.is_some() || open.inherit {
            let key = if open.inherit { "inherit" } else { "sigtrap" };
            return Err(format!(
                "\"{key}\" of events-open needs a \"task\": a vCPU has neither signals nor children"
            ));
        }
    }
    if open.sigtrap.is_some() && open.period.is_none() {
        return Err("\"sigtrap\" of events-open needs a \"period\": overflows trap".to_owned());
    }
    if open.limit.is_some() && open.period.is_none() {
        return Err("\"limit\" of events-open needs a \"period\": it counts overflows".to_owned());
    }
    if open.limit.is_some() && open.inherit {
        return Err(
            "\"limit\" of events-open is for one event: leave out \"inherit\", which makes more of it"
                .to_owned(),
        );
    }
    if open.limit.is_some() && open.disabled {
        return Err(
            "\"limit\" of events-open enables the event: leave out \"disabled\", or give the limit \
             to events-refresh"
                .to_owned(),
        );
    }
    Ok(Verb::EventsOpen(open))
}
