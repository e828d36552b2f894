// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Chrome trace events in JSON, as an array of one event a line.
//!
//! The array form needs no end: what was written so far opens in Perfetto, whatever became of the
//! writer.

use std::fmt::{self, Display, Write as _};

/// The one process of a trace. Perfetto takes number 0 for the idle one.
const PROCESS: u32 = 1;

/// The text of events that were not handed on yet.
#[derive(Debug, Default)]
pub(super) struct Json {
    text: String,
    any: bool,
}

/// The kinds of event. Times are in nanoseconds since the trace began.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Something that lasted from here so long.
    Slice { from: u64, lasted: u64 },
    /// Something begins that lasts until the matching end.
    Begin(u64),
    /// What began last on this track ends.
    End(u64),
    /// Something that takes no time.
    Instant(u64),
    /// The value of a plot from here on.
    Plot(u64),
    /// What a track is called and where it stands.
    Meta,
}

/// A value that belongs to an event.
#[derive(Clone, Copy)]
pub(super) enum Arg<'a> {
    Number(u64),
    Text(&'a dyn Display),
}

/// A value and what it is.
pub(super) type Field<'a> = (&'a str, Arg<'a>);

impl Json {
    /// One event on `track`. `category` is what viewers filter by.
    pub(super) fn event(
        &mut self,
        kind: Kind,
        category: &str,
        name: &dyn Display,
        track: u64,
        fields: &[Field<'_>],
    ) {
        // A string takes whatever it is given.
        let _ = self.write(kind, category, name, track, fields);
    }

    fn write(
        &mut self,
        kind: Kind,
        category: &str,
        name: &dyn Display,
        track: u64,
        fields: &[Field<'_>],
    ) -> fmt::Result {
        let out = &mut self.text;
        out.push_str(if self.any { ",\n" } else { "[\n" });
        self.any = true;
        write!(out, r#"{{"name":{},"cat":"{category}""#, Quoted(name))?;
        match kind {
            Kind::Slice { from, lasted } => {
                let (from, lasted) = (Micros(from), Micros(lasted));
                write!(out, r#","ph":"X","ts":{from},"dur":{lasted}"#)?;
            }
            Kind::Begin(at) => write!(out, r#","ph":"B","ts":{}"#, Micros(at))?,
            Kind::End(at) => write!(out, r#","ph":"E","ts":{}"#, Micros(at))?,
            Kind::Instant(at) => write!(out, r#","ph":"i","s":"t","ts":{}"#, Micros(at))?,
            Kind::Plot(at) => write!(out, r#","ph":"C","ts":{}"#, Micros(at))?,
            Kind::Meta => out.push_str(r#","ph":"M""#),
        }
        write!(out, r#","pid":{PROCESS},"tid":{track},"args":{{"#)?;
        for (at, (key, arg)) in fields.iter().enumerate() {
            let between = if at == 0 { "" } else { "," };
            match arg {
                Arg::Number(number) => write!(out, r#"{between}"{key}":{number}"#)?,
                Arg::Text(text) => write!(out, r#"{between}"{key}":{}"#, Quoted(*text))?,
            }
        }
        out.write_str("}}")
    }

    /// The array's end.
    pub(super) fn end(&mut self) {
        self.text
            .push_str(if self.any { "\n]\n" } else { "[\n]\n" });
    }

    /// What there is to hand on.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// It was handed on.
    pub(super) fn clear(&mut self) {
        self.text.clear();
    }
}

/// A text as a JSON string.
struct Quoted<'a>(&'a dyn Display);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        write!(Escaping(f), "{}", self.0)?;
        f.write_str("\"")
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| matches!(c, '"' | '\\' | '\0'..='\x1f')) {
            self.0.write_str(&rest[..at])?;
            let special = rest.as_bytes()[at];
            write!(self.0, "\\u{special:04x}")?;
            rest = &rest[at + 1..];
        }
        self.0.write_str(rest)
    }
}

/// A time in microseconds, to the nanosecond.
struct Micros(u64);

impl Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1_000, self.0 % 1_000)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn an_event_is_a_line_of_an_array_whether_it_ends_or_not() {
        let mut json = Json::default();
        let slice = Kind::Slice {
            from: 1_002,
            lasted: 30,
        };
        json.event(slice, "vcpu", &"guest", 7, &[("n", Arg::Number(5))]);
        json.event(Kind::Instant(2_000), "pmu", &"PMI", 7, &[]);
        let cut: Value = serde_json::from_str(&format!("{}]", json.text())).unwrap();
        let lines: Vec<_> = json.text().lines().collect();
        assert_eq!(lines.len(), 3);
        for line in &lines[1..] {
            let event: Value = serde_json::from_str(line.trim_end_matches(',')).unwrap();
            assert!(event.is_object());
        }
        json.end();
        let whole: Value = serde_json::from_str(json.text()).unwrap();
        assert_eq!(whole, cut);
        assert_eq!(
            whole[0],
            json!({
                "name": "guest", "cat": "vcpu", "ph": "X", "ts": 1.002, "dur": 0.03,
                "pid": 1, "tid": 7, "args": { "n": 5 }
            })
        );
        assert_eq!(whole[1]["s"], "t");
    }

    #[test]
    fn what_was_handed_on_is_not_begun_anew() {
        let mut json = Json::default();
        json.event(Kind::Meta, "", &"a", 1, &[]);
        let mut whole = json.text().to_owned();
        json.clear();
        json.event(Kind::Meta, "", &"b", 1, &[]);
        json.end();
        whole.push_str(json.text());
        let whole: Value = serde_json::from_str(&whole).unwrap();
        assert_eq!(whole.as_array().unwrap().len(), 2);
    }

    #[test]
    fn an_array_of_nothing_is_json_too() {
        let mut json = Json::default();
        json.end();
        assert_eq!(
            serde_json::from_str::<Value>(json.text()).unwrap(),
            json!([])
        );
    }

    proptest! {
        #[test]
        fn any_text_comes_out_as_it_went_in(text in "[\\x00-\\x7fäß€]{0,20}", key in "[\"\\\\\n a]{0,6}") {
            let mut json = Json::default();
            json.event(Kind::Begin(0), "vcpu", &text, 1, &[("key", Arg::Text(&key))]);
            json.end();
            let value: Value = serde_json::from_str(json.text()).unwrap();
            prop_assert_eq!(&value[0]["name"], &json!(text));
            prop_assert_eq!(&value[0]["args"]["key"], &json!(key));
        }
    }
}
