// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The socket as a file: made so that nobody else can connect, and so that a killed process leaves
//! nothing in the way of the next.
//!
//! There is no lock file. A socket that nobody listens on refuses to connect, whoever left it; it is
//! replaced in one step, by a rename of one that listens already. Of two that start at the same time
//! at most one wins: each looks afterwards whether the socket is its own.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{
    self, AddressFamily, SockFlag, SockType, UnixAddr, getsockopt, sockopt::PeerCredentials,
};
use nix::unistd::{Uid, geteuid};

use super::ControlError;

/// A socket that listens; its file goes with it, if it is still its own.
#[derive(Debug)]
pub(super) struct Socket {
    listener: UnixListener,
    path: PathBuf,
    file: FileId,
}

/// Which file a path leads to.
type FileId = (u64, u64);

impl Socket {
    /// Makes the socket, for this user alone.
    pub(super) fn bind(path: &Path) -> Result<Self, ControlError> {
        let failed = |source| ControlError::Socket {
            path: path.to_owned(),
            source,
        };
        replaceable(path)?;
        let new = beside(path);
        // Left by one that was killed between the two steps, or another one is between them now.
        replaceable(&new)?;
        remove(&new).map_err(failed)?;
        let listener = UnixListener::bind(&new).map_err(failed)?;
        let made = || -> io::Result<FileId> {
            fs::set_permissions(&new, Permissions::from_mode(0o600))?;
            let file = file_id(&new)?;
            listener.set_nonblocking(true)?;
            fs::rename(&new, path)?;
            Ok(file)
        };
        let file = made().map_err(|error| {
            // Best effort: what was wrong before is told.
            let _ = remove(&new);
            failed(error)
        })?;
        let socket = Self {
            listener,
            path: path.to_owned(),
            file,
        };
        if !socket.is_there() {
            return Err(ControlError::InUse(path.to_owned()));
        }
        Ok(socket)
    }

    /// The next client, if one waits.
    pub(super) fn accept(&self) -> io::Result<UnixStream> {
        let (stream, _) = self.listener.accept()?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    }

    /// Whether the path still leads here.
    fn is_there(&self) -> bool {
        file_id(&self.path).is_ok_and(|file| file == self.file)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.is_there() {
            // Nobody is left to be told; the next one replaces it.
            let _ = remove(&self.path);
        }
    }
}

/// Whether the peer may talk to us.
pub(super) fn is_admitted(stream: &UnixStream) -> bool {
    getsockopt(stream, PeerCredentials)
        .is_ok_and(|peer| admits(geteuid(), Uid::from_raw(peer.uid())))
}

/// The user itself, and root, who could do anything anyway.
fn admits(own: Uid, peer: Uid) -> bool {
    peer == own || peer.is_root()
}

/// Fails unless there is nothing at `path`, or a socket that nobody listens on.
fn replaceable(path: &Path) -> Result<(), ControlError> {
    let failed = |source| ControlError::Socket {
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(ControlError::NoSocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match connect(path) {
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => Ok(()),
        // As many wait as can: whoever listens is slow, and there.
        Ok(()) | Err(Errno::EAGAIN) => Err(ControlError::InUse(path.to_owned())),
        Err(errno) => Err(failed(errno.into())),
    }
}

/// Tries to connect, without waiting for whoever listens.
fn connect(path: &Path) -> nix::Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let probe = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    socket::connect(probe.as_raw_fd(), &UnixAddr::new(path)?)
}

/// Where the socket is made until it listens: in the same folder, hidden.
fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

fn file_id(path: &Path) -> io::Result<FileId> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder for one test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = format!("perfvisor-socket-{}-{name}", std::process::id());
            let folder = std::env::temp_dir().join(folder);
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn files(&self) -> usize {
            fs::read_dir(&self.0).unwrap().count()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn the_user_itself_and_root_are_let_in() {
        let user = Uid::from_raw(1000);
        assert!(admits(user, user));
        assert!(admits(user, Uid::from_raw(0)));
        assert!(!admits(user, Uid::from_raw(1001)));
        assert!(!admits(Uid::from_raw(0), user));
    }

    #[test]
    fn the_socket_is_the_users_alone_and_goes_with_its_server() {
        let folder = Folder::new("mode");
        let path = folder.0.join("s");
        let socket = Socket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(folder.files(), 1);
        let client = UnixStream::connect(&path).unwrap();
        assert!(is_admitted(&socket.accept().unwrap()));
        drop((socket, client));
        assert_eq!(folder.files(), 0);
    }

    #[test]
    fn what_a_killed_process_left_is_replaced() {
        let folder = Folder::new("stale");
        let path = folder.0.join("s");
        // Dropped, std's listener leaves its file.
        drop(UnixListener::bind(&path).unwrap());
        drop(UnixListener::bind(beside(&path)).unwrap());
        assert_eq!(folder.files(), 2);
        let _socket = Socket::bind(&path).unwrap();
        UnixStream::connect(&path).unwrap();
        assert_eq!(folder.files(), 1);
    }

    #[test]
    fn a_socket_that_somebody_listens_on_stays() {
        let folder = Folder::new("used");
        let path = folder.0.join("s");
        let first = Socket::bind(&path).unwrap();
        assert!(matches!(Socket::bind(&path), Err(ControlError::InUse(at)) if at == path));
        assert!(first.is_there());
        // Nor does one wait for a server that accepts nobody.
        let waiting: Vec<_> = std::iter::repeat_with(|| connect(&path))
            .take(10_000)
            .collect();
        drop(waiting);
        assert!(matches!(Socket::bind(&path), Err(ControlError::InUse(_))));
    }

    #[test]
    fn another_file_is_left_alone() {
        let folder = Folder::new("file");
        let path = folder.0.join("s");
        fs::write(&path, "precious").unwrap();
        let error = Socket::bind(&path).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("is there and no socket: choose another path or remove it")
        );
        let link = folder.0.join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(
            Socket::bind(&link),
            Err(ControlError::NoSocket(_))
        ));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn at_its_end_it_removes_no_others_file() {
        let folder = Folder::new("others");
        let path = folder.0.join("s");
        let first = Socket::bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let second = Socket::bind(&path).unwrap();
        drop(first);
        assert!(second.is_there());
        drop(second);
        fs::write(&path, "later").unwrap();
        assert_eq!(folder.files(), 1);
    }

    #[test]
    fn a_path_that_cannot_be_says_so() {
        let folder = Folder::new("long");
        for path in [folder.0.join("x".repeat(120)), folder.0.join("no/s")] {
            let error = Socket::bind(&path).unwrap_err();
            assert!(matches!(error, ControlError::Socket { .. }), "{error}");
        }
        assert_eq!(folder.files(), 0);
    }
}
