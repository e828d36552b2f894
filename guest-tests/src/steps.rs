// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The part of a trace that tells what the perf core did, and in which states the vCPUs were.

use std::io::{self, Write};

/// What else a trace has: what the vCPUs do between two steps, and plots. That is nearly all of it.
const LEFT_OUT: [&str; 3] = [
    r#""cat":"vcpu","ph":"X""#,
    r#""cat":"pmu","ph":"C""#,
    r#""cat":"pmu","ph":"i""#,
];

/// Passes on the steps of a trace up to so many bytes, and drops all that comes then.
///
/// ```
/// use std::io::Write;
/// use guest_tests::steps::Steps;
///
/// let mut kept = Vec::new();
/// let mut steps = Steps::new(&mut kept, 1_000);
/// writeln!(steps, r#"{{"name":"guest","cat":"vcpu","ph":"X","ts":1.000,"dur":2.000}},"#)?;
/// writeln!(steps, r#"{{"name":"open","cat":"perf","ph":"i","ts":1.000}},"#)?;
/// drop(steps);
/// assert!(kept.starts_with(br#"{"name":"open""#));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Steps<W> {
    out: W,
    /// How many bytes may still come.
    left: usize,
    /// A line whose end has not come yet.
    line: Vec<u8>,
}

impl<W: Write> Steps<W> {
    /// Passes on up to `most` bytes to `out`, in whole lines.
    pub fn new(out: W, most: usize) -> Self {
        Self {
            out,
            left: most,
            line: Vec::new(),
        }
    }

    fn pass_on(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut wanted = Vec::new();
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let text = String::from_utf8_lossy(line);
            if LEFT_OUT.iter().any(|what| text.contains(what)) {
                continue;
            }
            if line.len() > self.left {
                // A shorter one would be out of order.
                self.left = 0;
                break;
            }
            self.left -= line.len();
            wanted.extend_from_slice(line);
        }
        self.out.write_all(&wanted)
    }
}

impl<W: Write> Write for Steps<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else {
            self.line.extend_from_slice(bytes);
            return Ok(bytes.len());
        };
        let mut lines = std::mem::take(&mut self.line);
        lines.extend_from_slice(&bytes[..=end]);
        self.line.extend_from_slice(&bytes[end + 1..]);
        self.pass_on(&lines)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: &str = "{\"name\":\"open\",\"cat\":\"perf\",\"ph\":\"i\"},\n";

    fn passed(most: usize, pieces: &[&str]) -> String {
        let mut out = Vec::new();
        let mut steps = Steps::new(&mut out, most);
        for piece in pieces {
            steps.write_all(piece.as_bytes()).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_comes_in_pieces_goes_in_lines() {
        let (begin, end) = STEP.split_at(9);
        assert_eq!(passed(1_000, &[begin]), "");
        assert_eq!(passed(1_000, &[begin, end, begin]), STEP);
        let other = "{\"name\":\"PMI\",\"cat\":\"pmu\",\"ph\":\"i\"},\n";
        assert_eq!(passed(1_000, &["[\n", other, STEP]), format!("[\n{STEP}"));
    }

    #[test]
    fn there_is_a_limit() {
        let short = "{},\n";
        let two = [STEP, STEP, short].concat();
        assert_eq!(passed(STEP.len() + short.len(), &[&two]), STEP);
        assert_eq!(passed(STEP.len() + short.len(), &[STEP, STEP, short]), STEP);
    }
}
