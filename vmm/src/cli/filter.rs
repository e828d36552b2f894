// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The file of `--pmu-filter`.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use vpmu::EventFilter;

use super::Failure;
use super::status::Status;

/// Far more than the longest filter needs, comments included.
const MOST: u64 = 1 << 20;

/// Reads the event filter in the file at `path`.
pub(super) fn read(path: &Path) -> Result<EventFilter, Failure> {
    let failure = |why: &dyn Display| {
        let line = format!("Cannot use --pmu-filter {}: {why}", path.display());
        Failure::new(Status::Usage, line)
    };
    let text = read_text(path).map_err(|error| failure(&error))?;
    text.parse()
        .map_err(|error: vpmu::FilterTextError| failure(&error))
}

fn read_text(path: &Path) -> io::Result<String> {
    // A FIFO that nobody writes to is empty, not something to wait for.
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    let mut text = String::new();
    let length = file.take(MOST + 1).read_to_string(&mut text)?;
    if u64::try_from(length).is_ok_and(|length| length <= MOST) {
        Ok(text)
    } else {
        Err(io::Error::other("it is longer than any event filter"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use vpmu::{EventSelect, Vendor};

    use super::*;

    /// What is said of a file with this content, if it is refused.
    fn told(name: &str, content: &[u8]) -> Result<EventFilter, String> {
        let name = format!("perfvisor-filter-{}-{name}", std::process::id());
        let path: PathBuf = std::env::temp_dir().join(name);
        fs::write(&path, content).unwrap();
        let filter = read(&path).map_err(|failure| {
            assert_eq!(failure.status, Status::Usage);
            let line = failure.line;
            let start = format!("Cannot use --pmu-filter {}: ", path.display());
            assert!(line.starts_with(&start), "{line}");
            line[start.len()..].to_owned()
        });
        fs::remove_file(path).unwrap();
        filter
    }

    #[test]
    fn a_filter_is_read() {
        let filter = told("good", b"deny\nevent 0x3C umask any\n").unwrap();
        assert!(!filter.allows_select(Vendor::Intel, EventSelect(0x53_003C)));
        assert!(filter.allows_select(Vendor::Intel, EventSelect(0x53_00C0)));
    }

    #[test]
    fn what_is_wrong_is_one_line_that_names_the_file_and_the_line() {
        let error = told("line", b"# mine\nallow\nevent cycles\n").unwrap_err();
        assert_eq!(error, "Line 3: Event numbers are 0 to 0xFFF");
        let error = told("bytes", b"allow\n\xff\n").unwrap_err();
        assert!(error.contains("UTF-8"), "{error}");
        let endless = vec![b'#'; (1 << 20) + 1];
        let error = told("long", &endless).unwrap_err();
        assert_eq!(error, "it is longer than any event filter");
        let missing = read(Path::new("/nowhere/at/all")).unwrap_err();
        assert!(missing.line.contains("No such file"), "{}", missing.line);
    }
}
