// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The benchmarks' rows for people.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

/// A row as the benchmarks print it.
#[derive(Debug, Deserialize)]
struct Row {
    name: String,
    value: f64,
    unit: String,
    peer: Option<f64>,
    ratio: Option<f64>,
    against: String,
    kind: String,
    limit: Option<Limit>,
    within: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Limit {
    of: String,
    at_most: f64,
    because: Option<String>,
}

/// A line for each row.
pub(crate) fn rows(rows: &[Value]) -> Result<String> {
    let mut text = String::new();
    for row in rows {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", line(&read(row)?));
    }
    Ok(text)
}

/// What must be known about the figures.
pub(crate) fn footer(rows: &[Value]) -> Result<String> {
    let rows = rows.iter().map(read).collect::<Result<Vec<_>>>()?;
    let mut text = String::new();
    if rows.iter().any(|row| row.kind.ends_with("system call")) {
        text += "\n\"library call / system call\": ours is called as a library, Linux by a system \
                 call, which pays\nfor entering the kernel and leaving it as well. The ratio is \
                 what a VMM saves, no more.\n";
    }
    let over = rows.iter().filter(|row| row.within == Some(false));
    let over: Vec<_> = over.map(|row| row.name.as_str()).collect();
    if !over.is_empty() {
        let _ = writeln!(text, "\nOver their limits: {}", over.join(", "));
    }
    Ok(text)
}

fn read(row: &Value) -> Result<Row> {
    Row::deserialize(row).with_context(|| format!("reading the benchmark's row {row}"))
}

fn line(row: &Row) -> String {
    let mut text = format!("{:<22} {:>11.2} {}", row.name, row.value, row.unit);
    match (row.peer, row.ratio) {
        (Some(peer), Some(ratio)) => {
            let _ = write!(text, "   peer {peer:>11.2}   ratio {ratio:>7.4}");
        }
        _ => {
            let _ = write!(text, "   peer {:>11}   ratio {:>7}", "n/a", "n/a");
        }
    }
    let _ = write!(text, "   ({}: {})", row.kind, row.against);
    if let Some(limit) = &row.limit {
        let verdict = match row.within {
            Some(true) => "kept",
            Some(false) => "OVER",
            None => "unknown",
        };
        let _ = write!(text, "   limit: {} <= {:.2}", limit.of, limit.at_most);
        if let Some(because) = &limit.because {
            let _ = write!(text, " ({because})");
        }
        let _ = write!(text, ", {verdict}");
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row() -> Value {
        json!({
            "name": "read-own", "value": 20.0, "unit": "ns/op", "peer": 200.0, "ratio": 0.1,
            "against": "Linux: read", "kind": "library call / system call",
        })
    }

    #[test]
    fn a_line_has_everything() {
        let text = rows(&[row()]).unwrap();
        let words: Vec<_> = text.split_whitespace().collect();
        assert_eq!(
            words.join(" "),
            "read-own 20.00 ns/op peer 200.00 ratio 0.1000 \
             (library call / system call: Linux: read)"
        );
    }

    #[test]
    fn limits_say_whether_they_are_kept() {
        for (within, verdict) in [
            (json!(true), "kept"),
            (json!(false), "OVER"),
            (json!(null), "unknown"),
        ] {
            let mut row = row();
            row["limit"] = json!({"of": "value", "at_most": 9.5, "because": "2 kicks"});
            row["within"] = within;
            let text = rows(&[row]).unwrap();
            let end = format!("limit: value <= 9.50 (2 kicks), {verdict}\n");
            assert!(text.ends_with(&end), "{text}");
        }
    }

    #[test]
    fn a_missing_peer_is_no_number() {
        let mut row = row();
        row["peer"] = json!(null);
        row["ratio"] = json!(null);
        let text = rows(&[row]).unwrap();
        assert_eq!(text.matches(" n/a ").count(), 2, "{text}");
    }

    #[test]
    fn the_footer_tells_calls_apart_and_names_what_is_over() {
        let mut over = row();
        over["within"] = json!(false);
        let text = footer(&[row(), over]).unwrap();
        assert!(text.contains("pays\nfor entering the kernel"), "{text}");
        assert!(text.ends_with("Over their limits: read-own\n"), "{text}");
        let mut guests = row();
        guests["kind"] = json!("guest / guest");
        assert_eq!(footer(&[guests]).unwrap(), "");
    }

    #[test]
    fn a_row_without_its_figures_is_an_error() {
        assert!(rows(&[json!({"name": "a"})]).is_err());
    }
}
