// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The Test Anything Protocol, version 13, as far as the guest kernels speak it.

/// One `ok` or `not ok` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// Its number; `None` if the line has none.
    pub number: Option<usize>,
    /// Its name.
    pub name: String,
    /// Whether it says `ok`.
    pub ok: bool,
    /// What stands behind ` # `: why not, or a directive.
    pub remark: Option<String>,
}

impl Point {
    /// Whether the point passed. One that was skipped, or is still to be done, did not.
    #[must_use]
    pub fn passed(&self) -> bool {
        let directive = self.remark.as_deref().unwrap_or_default();
        let word = directive.split_whitespace().next().unwrap_or_default();
        self.ok && !["skip", "todo"].contains(&word.to_ascii_lowercase().as_str())
    }
}

/// What a kernel reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    /// Whether it began with the version line.
    pub versioned: bool,
    /// The number of points each plan line announced: one plan is right.
    pub plans: Vec<usize>,
    /// The points, as they came.
    pub points: Vec<Point>,
    /// The reason behind `Bail out!`.
    pub bail_out: Option<String>,
}

impl Transcript {
    /// Reads a kernel's output. Lines that are not TAP are left alone.
    ///
    /// ```
    /// let transcript = guest_tests::tap::Transcript::parse("1..1\nok 1 - counts\n");
    /// assert_eq!(transcript.plans, [1]);
    /// assert!(transcript.points[0].passed());
    /// ```
    #[must_use]
    pub fn parse(output: &str) -> Self {
        let mut transcript = Self::default();
        for line in output.lines() {
            transcript.line(line.trim_end());
        }
        transcript
    }

    fn line(&mut self, line: &str) {
        if line == "TAP version 13" {
            self.versioned = true;
        } else if let Some(reason) = line.strip_prefix("Bail out!") {
            let reason = reason.trim().to_owned();
            self.bail_out.get_or_insert(reason);
        } else if let Some(count) = line.strip_prefix("1..").and_then(|n| n.parse().ok()) {
            self.plans.push(count);
        } else if let Some(rest) = after_word(line, "not ok") {
            self.points.push(point(rest, false));
        } else if let Some(rest) = after_word(line, "ok") {
            self.points.push(point(rest, true));
        }
    }
}

/// What follows `word` in `line`, if it ends there as a word.
fn after_word<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(word)?;
    (rest.is_empty() || rest.starts_with(' ')).then(|| rest.trim_start())
}

fn point(rest: &str, ok: bool) -> Point {
    let (description, remark) = match rest.split_once(" # ") {
        Some((description, remark)) => (description, Some(remark.trim().to_owned())),
        None => (rest, None),
    };
    let (first, others) = description.split_once(' ').unwrap_or((description, ""));
    let (number, name) = match first.parse() {
        Ok(number) => (Some(number), others),
        Err(_) => (None, description),
    };
    let name = name.trim_start().trim_start_matches('-').trim();
    Point {
        number,
        name: name.to_owned(),
        ok,
        remark,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_plan_points_and_remarks() {
        let transcript = Transcript::parse(
            "hello\nTAP version 13\r\n1..3\nok 1 - first\n# diagnosis\n\
             not ok 2 - a - b # 5: not 6 # really\nok 3\nokay\nnot okay\n",
        );
        assert!(transcript.versioned);
        assert_eq!(transcript.plans, [3]);
        let point = |number, name: &str, ok, remark: Option<&str>| Point {
            number: Some(number),
            name: name.to_owned(),
            ok,
            remark: remark.map(str::to_owned),
        };
        assert_eq!(
            transcript.points,
            [
                point(1, "first", true, None),
                point(2, "a - b", false, Some("5: not 6 # really")),
                point(3, "", true, None),
            ]
        );
        assert_eq!(transcript.bail_out, None);
    }

    #[test]
    fn a_point_without_a_number_keeps_its_name() {
        let transcript = Transcript::parse("ok - name\nnot ok\n");
        assert_eq!(transcript.points[0].number, None);
        assert_eq!(transcript.points[0].name, "name");
        assert_eq!(transcript.points[1].number, None);
        assert!(!transcript.points[1].ok);
    }

    #[test]
    fn skipped_and_todo_points_did_not_pass() {
        for (line, passed) in [
            ("ok 1 - a", true),
            ("ok 1 - a # why", true),
            ("ok 1 - a # SKIP no PMU", false),
            ("ok 1 - a # todo", false),
            ("not ok 1 - a", false),
            ("not ok 1 - a # TODO", false),
        ] {
            let transcript = Transcript::parse(line);
            assert_eq!(transcript.points[0].passed(), passed, "{line}");
        }
    }

    #[test]
    fn the_first_bail_out_counts() {
        let transcript = Transcript::parse("Bail out! one\nBail out! two\n");
        assert_eq!(transcript.bail_out.as_deref(), Some("one"));
        assert_eq!(Transcript::parse("Bail out!").bail_out.as_deref(), Some(""));
    }
}
