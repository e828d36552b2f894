// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Writes an initramfs: a cpio archive in the "newc" format, which the kernel unpacks at boot
//! (its documentation: `driver-api/early-userspace/buffer-format.rst`).

use std::collections::BTreeSet;
use std::io::{self, Write};

const FOLDER: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// An archive being written.
pub(crate) struct Initramfs<W> {
    sink: W,
    inode: u32,
    folders: BTreeSet<String>,
}

impl<W: Write> Initramfs<W> {
    /// Starts an archive.
    pub(crate) fn new(sink: W) -> Self {
        Self {
            sink,
            inode: 0,
            folders: BTreeSet::new(),
        }
    }

    /// Adds a folder and those above it. Paths are absolute.
    pub(crate) fn folder(&mut self, path: &str) -> io::Result<()> {
        let path = path.trim_matches('/');
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            let folder = &path[..end];
            if !folder.is_empty() && self.folders.insert(folder.to_owned()) {
                self.entry(folder, FOLDER | 0o755, (0, 0), &[])?;
            }
        }
        Ok(())
    }

    /// Adds a file with the folders above it.
    pub(crate) fn file(&mut self, path: &str, mode: u32, data: &[u8]) -> io::Result<()> {
        self.parents(path)?;
        self.entry(
            path.trim_matches('/'),
            REGULAR | (mode & 0o7777),
            (0, 0),
            data,
        )
    }

    /// Adds a character device with the folders above it.
    pub(crate) fn device(&mut self, path: &str, major: u32, minor: u32) -> io::Result<()> {
        self.parents(path)?;
        self.entry(
            path.trim_matches('/'),
            CHARACTER_DEVICE | 0o600,
            (major, minor),
            &[],
        )
    }

    /// Ends the archive and gives the sink back.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        self.sink.flush()?;
        Ok(self.sink)
    }

    fn parents(&mut self, path: &str) -> io::Result<()> {
        match path.rsplit_once('/') {
            Some((folder, _)) => self.folder(folder),
            None => Ok(()),
        }
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), data: &[u8]) -> io::Result<()> {
        let too_long = |_| io::Error::other(format!("{name} is too long for a cpio archive"));
        let size = u32::try_from(data.len()).map_err(too_long)?;
        let name_size = u32::try_from(name.len() + 1).map_err(too_long)?;
        self.inode += 1;
        // inode, mode, uid, gid, nlink, mtime, size, device of the file (2), device (2), length
        // of the name with its NUL, checksum (unused).
        let fields = [
            self.inode, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0,
        ];
        let mut header = String::from("070701");
        header.extend(fields.map(|field| format!("{field:08X}")));
        self.sink.write_all(header.as_bytes())?;
        self.sink.write_all(name.as_bytes())?;
        self.sink.write_all(b"\0")?;
        self.pad(header.len() + name.len() + 1)?;
        self.sink.write_all(data)?;
        self.pad(data.len())
    }

    /// Names and data end on a multiple of four bytes.
    fn pad(&mut self, length: usize) -> io::Result<()> {
        self.sink.write_all(&[0; 3][..length.wrapping_neg() % 4])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    struct Entry {
        name: String,
        mode: u32,
        device: (u32, u32),
        data: Vec<u8>,
    }

    fn entry(name: &str, mode: u32, data: &[u8]) -> Entry {
        Entry {
            name: name.to_owned(),
            mode,
            device: (0, 0),
            data: data.to_vec(),
        }
    }

    /// A reader written from the format's description, to hold the writer against.
    fn read(mut archive: &[u8]) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut inodes = BTreeSet::new();
        loop {
            assert_eq!(&archive[..6], b"070701");
            let field = |index: usize| {
                let digits = &archive[6 + 8 * index..][..8];
                u32::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()
            };
            assert!(inodes.insert(field(0)), "inode used twice: a hard link");
            let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
            let device = (field(9), field(10));
            let name = &archive[110..][..name_size];
            let name = std::str::from_utf8(name.strip_suffix(b"\0").unwrap())
                .unwrap()
                .to_owned();
            let start = (110 + name_size).next_multiple_of(4);
            if name == "TRAILER!!!" {
                assert_eq!(archive.len(), start);
                return entries;
            }
            let data = archive[start..][..size].to_vec();
            archive = &archive[(start + size).next_multiple_of(4)..];
            entries.push(Entry {
                name,
                mode,
                device,
                data,
            });
        }
    }

    #[test]
    fn files_come_after_their_folders() {
        let mut archive = Initramfs::new(Vec::new());
        archive.file("/init", 0o755, b"12345").unwrap();
        archive.file("/files/0/kernel.elf", 0o644, b"").unwrap();
        archive.file("/files/1/x", 0o600, b"abcd").unwrap();
        archive.folder("/proc").unwrap();
        archive.device("/dev/console", 5, 1).unwrap();
        let entries = read(&archive.finish().unwrap());
        assert_eq!(
            entries,
            [
                entry("init", 0o100_755, b"12345"),
                entry("files", 0o40_755, b""),
                entry("files/0", 0o40_755, b""),
                entry("files/0/kernel.elf", 0o100_644, b""),
                entry("files/1", 0o40_755, b""),
                entry("files/1/x", 0o100_600, b"abcd"),
                entry("proc", 0o40_755, b""),
                entry("dev", 0o40_755, b""),
                Entry {
                    device: (5, 1),
                    ..entry("dev/console", 0o20_600, b"")
                },
            ]
        );
    }

    #[test]
    fn every_length_of_name_and_data_is_padded() {
        for name in ["a", "ab", "abc", "abcd", "abcde"] {
            for length in 0..9 {
                let data = vec![b'x'; length];
                let mut archive = Initramfs::new(Vec::new());
                archive.file(name, 0o644, &data).unwrap();
                assert_eq!(
                    read(&archive.finish().unwrap()),
                    [entry(name, 0o100_644, &data)]
                );
            }
        }
    }
}
