// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The keys of a JSON object, taken one by one, so that what is left at the end is what nobody
//! knows.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// An object as it came: in its order, keys that come twice included.
#[derive(Debug)]
pub(super) struct Object(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one JSON object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Object, M::Error> {
                let mut keys = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    keys.push(entry);
                }
                Ok(Object(keys))
            }
        }

        deserializer.deserialize_map(Keys)
    }
}

/// What a request said wrongly, for its sender.
pub(super) type Wrong = String;

/// The keys of one request.
#[derive(Debug)]
pub(super) struct Keys {
    object: Object,
    /// Of which request; empty until that is known.
    of: &'static str,
    /// The keys that were asked for.
    known: Vec<&'static str>,
}

impl Keys {
    pub(super) const fn new(object: Object) -> Self {
        Self {
            object,
            of: "",
            known: Vec::new(),
        }
    }

    /// From here on, the keys are those of the request `name`.
    pub(super) fn of(&mut self, name: &'static str) {
        self.of = name;
        self.known.clear();
    }

    /// Takes a key out; none if it is not there or is null.
    pub(super) fn take(&mut self, key: &'static str) -> Result<Option<Value>, Wrong> {
        self.known.push(key);
        let Object(keys) = &mut self.object;
        let mut found = keys.extract_if(.., |(name, _)| name == key);
        let value = found.next();
        let more = found.count();
        if more > 0 {
            return Err(format!("{} is given twice", self.name(key)));
        }
        Ok(value
            .map(|(_, value)| value)
            .filter(|value| !value.is_null()))
    }

    /// A whole number in a range.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        min: u64,
        max: u64,
    ) -> Result<Option<u64>, Wrong> {
        let Some(value) = self.take(key)? else {
            return Ok(None);
        };
        let name = self.name(key);
        match value.as_u64() {
            Some(number) if (min..=max).contains(&number) => Ok(Some(number)),
            _ if value.is_number() => Err(format!(
                "{name} is {value}: give a whole number from {min} to {max}"
            )),
            _ => Err(format!(
                "{name} is {}: give a whole number from {min} to {max}",
                kind(&value)
            )),
        }
    }

    /// A 32-bit number.
    pub(super) fn word(
        &mut self,
        key: &'static str,
        min: u32,
        max: u32,
    ) -> Result<Option<u32>, Wrong> {
        let number = self.number(key, min.into(), max.into())?;
        Ok(number.map(|number| u32::try_from(number).unwrap_or(max)))
    }

    /// True or false; false if it is not there.
    pub(super) fn flag(&mut self, key: &'static str) -> Result<bool, Wrong> {
        match self.take(key)? {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(format!(
                "{} is {}: give true or false",
                self.name(key),
                kind(&other)
            )),
        }
    }

    /// A text; `examples` says which.
    pub(super) fn text(
        &mut self,
        key: &'static str,
        examples: &str,
    ) -> Result<Option<String>, Wrong> {
        match self.take(key)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(format!(
                "{} is {}: give {examples}",
                self.name(key),
                kind(&other)
            )),
        }
    }

    /// That a key has to be there.
    pub(super) fn need<T>(
        &self,
        key: &'static str,
        value: Option<T>,
        what: &str,
    ) -> Result<T, Wrong> {
        value.ok_or_else(|| format!("{} is missing: give {what}", self.name(key)))
    }

    /// Fails if keys are left that nobody asked for.
    pub(super) fn end(self) -> Result<(), Wrong> {
        let Some((unknown, _)) = self.object.0.first() else {
            return Ok(());
        };
        let unknown = quoted(unknown);
        let of = self.of;
        Err(if self.known.is_empty() {
            format!("Unknown key {unknown}: {of} takes none but \"v\", \"id\" and \"do\"")
        } else {
            format!(
                "Unknown key {unknown}: {of} takes {}",
                self.known.join(", ")
            )
        })
    }

    fn name(&self, key: &str) -> String {
        if self.of.is_empty() {
            format!("\"{key}\"")
        } else {
            format!("\"{key}\" of {}", self.of)
        }
    }
}

/// What a value is, for a message that must not repeat it.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The sender's own words, made fit for one line of ours.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 40;
    let shown: String = text.chars().take(SHOWN).collect();
    let more = if shown.len() < text.len() { "..." } else { "" };
    format!("{shown:?}{more}")
}
