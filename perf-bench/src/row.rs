// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A row of the result.

use serde::Serialize;

/// What is compared with what. It matters: a system call pays for entering the kernel and leaving
/// it, whatever it does there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Kind {
    /// Ours is a library call, the peer a system call.
    #[serde(rename = "library call / system call")]
    SystemCall,
    /// Both are library calls.
    #[serde(rename = "library call / library call")]
    LibraryCall,
}

/// What a row should keep.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Limit {
    /// What is limited.
    pub of: Limited,
    /// To what: a number, or ns.
    pub at_most: f64,
    /// Where it comes from, if the row does not show that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

/// What a [`Limit`] is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Limited {
    /// The value over the peer's.
    Ratio,
    /// The value itself.
    Value,
}

/// One row: a figure beside its peer's. All are medians in ns an act, from the same run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The row's name.
    pub name: &'static str,
    /// What was measured.
    pub value: f64,
    /// Of the value and the peer.
    pub unit: &'static str,
    /// The peer's figure, if this machine has that peer.
    pub peer: Option<f64>,
    /// The value over the peer's.
    pub ratio: Option<f64>,
    /// What the peer is, or why there is none.
    pub against: String,
    /// What is compared with what.
    pub kind: Kind,
    /// What the row should keep.
    pub limit: Option<Limit>,
    /// Whether it does; `None` without a limit or without the peer.
    pub within: Option<bool>,
}

impl Row {
    /// A row without a limit. `peer` is its figure, or why this machine has none.
    ///
    /// ```
    /// use perf_bench::row::{Kind, Row};
    ///
    /// let row = Row::new("read", 20.0, Ok(200.0), "Linux: read", Kind::SystemCall);
    /// assert_eq!(row.ratio, Some(0.1));
    /// assert_eq!(row.ratio_at_most(0.05).within, Some(false));
    ///
    /// let refused = Err("Permission denied".to_owned());
    /// let row = Row::new("read", 20.0, refused, "Linux: read", Kind::SystemCall);
    /// assert_eq!(row.against, "Linux: read: not available: Permission denied");
    /// assert_eq!(row.ratio_at_most(0.05).within, None);
    /// ```
    #[must_use]
    pub fn new(
        name: &'static str,
        value: f64,
        peer: Result<f64, String>,
        against: &str,
        kind: Kind,
    ) -> Self {
        let (peer, against) = match peer {
            Ok(peer) => (Some(peer), against.to_owned()),
            Err(why) => (None, format!("{against}: not available: {why}")),
        };
        Self {
            name,
            value,
            unit: "ns/op",
            peer,
            ratio: peer.map(|peer| value / peer),
            against,
            kind,
            limit: None,
            within: None,
        }
    }

    /// The row with a limit on its ratio.
    #[must_use]
    pub fn ratio_at_most(self, at_most: f64) -> Self {
        Self {
            within: self.ratio.map(|ratio| ratio <= at_most),
            limit: Some(Limit {
                of: Limited::Ratio,
                at_most,
                because: None,
            }),
            ..self
        }
    }

    /// The row with a limit in ns on its value.
    #[must_use]
    pub fn value_at_most(self, at_most: f64, because: String) -> Self {
        Self {
            within: Some(self.value <= at_most),
            limit: Some(Limit {
                of: Limited::Value,
                at_most,
                because: Some(because),
            }),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_tells_all_that_a_table_needs() {
        let row = Row::new("a", 300.0, Ok(200.0), "b", Kind::SystemCall);
        let row = row.value_at_most(250.0, "2 kicks".to_owned());
        assert_eq!(
            serde_json::to_value(row).unwrap(),
            json!({
                "name": "a",
                "value": 300.0,
                "unit": "ns/op",
                "peer": 200.0,
                "ratio": 1.5,
                "against": "b",
                "kind": "library call / system call",
                "limit": {"of": "value", "at_most": 250.0, "because": "2 kicks"},
                "within": false,
            })
        );
    }

    #[test]
    fn a_limit_is_kept_up_to_itself() {
        let row = || Row::new("a", 1.0, Ok(2.0), "b", Kind::LibraryCall);
        assert_eq!(row().ratio_at_most(0.5).within, Some(true));
        assert_eq!(row().ratio_at_most(0.4).within, Some(false));
        assert_eq!(row().value_at_most(1.0, String::new()).within, Some(true));
        assert_eq!(row().value_at_most(0.9, String::new()).within, Some(false));
    }
}
