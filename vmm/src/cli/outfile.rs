// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Files that a run writes, as options name them.

use std::fmt::Display;
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::Failure;
use super::output::Patient;
use super::status::Status;

/// Opens the file of `option`, which still has what was in it; see [`clear`].
///
/// It must be none of `others`, regular files that the run uses, each with what it is.
pub(super) fn open(option: &str, path: &Path, others: &[(&Path, &str)]) -> Result<File, Failure> {
    let failure = |why: &dyn Display| {
        let line = format!("Cannot write {option} {}: {why}", path.display());
        Failure::new(Status::Usage, line)
    };
    // A FIFO that nobody reads is an error, not something to wait for.
    let mut options = File::options();
    options
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(libc::O_NONBLOCK);
    let file = options.open(path).map_err(|error| failure(&error))?;
    let own = identity(file.metadata());
    for (other, what) in others {
        if own.is_some() && own == identity(other.metadata()) {
            return Err(failure(&format_args!("it is {what}; give another file")));
        }
    }
    Ok(file)
}

/// Empties a file of [`open`], once nothing can go wrong any more.
pub(super) fn clear(file: &File) -> io::Result<()> {
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    Ok(())
}

/// Which file it is, of a regular one: devices and FIFOs can be shared.
fn identity(metadata: io::Result<Metadata>) -> Option<(u64, u64)> {
    let metadata = metadata.ok().filter(Metadata::is_file)?;
    Some((metadata.dev(), metadata.ino()))
}

/// A file that keeps what was in it until there is something to put in its place.
pub(super) struct Cleared {
    file: Patient,
    cleared: bool,
}

impl Cleared {
    /// Of a file that [`open`] opened.
    pub(super) fn new(file: File) -> Self {
        Self {
            file: Patient(file),
            cleared: false,
        }
    }
}

impl Write for Cleared {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if !self.cleared {
            clear(&self.file.0)?;
            self.cleared = true;
        }
        self.file.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::process::id;

    use super::*;

    /// A file of one test, gone with it.
    struct Kept(PathBuf);

    impl Kept {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("perfvisor-outfile-{}-{name}", id()));
            fs::write(&path, "kept").unwrap();
            Self(path)
        }
    }

    impl Drop for Kept {
        fn drop(&mut self) {
            fs::remove_file(&self.0).unwrap();
        }
    }

    #[test]
    fn a_file_that_the_run_uses_is_refused_by_any_of_its_names() {
        let file = Kept::new("used");
        let link = Kept(file.0.with_extension("link"));
        fs::hard_link(&file.0, &link.0).unwrap();
        let others = [(Path::new("/nowhere"), "nothing"), (&*file.0, "the kernel")];
        let failure = open("--trace", &link.0, &others).unwrap_err();
        assert_eq!(failure.status, Status::Usage);
        assert!(
            failure
                .line
                .ends_with("it is the kernel; give another file")
        );
        assert_eq!(fs::read(&file.0).unwrap(), b"kept");
    }

    #[test]
    fn a_device_may_be_written_by_all() {
        let null = Path::new("/dev/null");
        let file = open("--trace", null, &[(null, "that of --serial")]).unwrap();
        clear(&file).unwrap();
    }

    #[test]
    fn what_was_in_a_file_goes_with_the_first_write_alone() {
        let file = Kept::new("cleared");
        let mut cleared = Cleared::new(open("--trace", &file.0, &[]).unwrap());
        cleared.flush().unwrap();
        assert_eq!(fs::read(&file.0).unwrap(), b"kept");
        cleared.write_all(b"ne").unwrap();
        cleared.write_all(b"w").unwrap();
        assert_eq!(fs::read(&file.0).unwrap(), b"new");
    }
}
