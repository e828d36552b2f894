// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Sockets that cannot be connected to.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::desk::{Dir, ctl};

pub(crate) fn no_socket_at_all_says_how_to_get_one() {
    let dir = Dir::new();
    let socket = dir.socket();
    let at = socket.display();
    assert_eq!(
        ctl(&socket, "info").failed(3),
        format!("No VM listens at {at}: start one with `perfvisor run --control {at}`")
    );
}

pub(crate) fn the_socket_of_a_vm_that_is_gone_is_told_from_none() {
    let dir = Dir::new();
    let socket = dir.socket();
    drop(UnixListener::bind(&socket).unwrap());
    let at = socket.display();
    assert_eq!(
        ctl(&socket, "info").failed(3),
        format!(
            "No VM listens at {at} any more: start one with `perfvisor run --control {at}`, which \
             replaces the socket"
        )
    );
}

pub(crate) fn a_file_that_is_no_socket_is_told() {
    let dir = Dir::new();
    let file = dir.socket();
    fs::write(&file, "").unwrap();
    let line = ctl(&file, "info").failed(121);
    assert!(
        line.ends_with("is no socket: give the one of `perfvisor run --control SOCK`"),
        "{line}"
    );
}

pub(crate) fn a_path_that_no_socket_can_have_is_told() {
    let line = ctl(Path::new(&"x".repeat(200)), "info").failed(121);
    assert!(
        line.contains("too long for a socket: give a shorter one"),
        "{line}"
    );
}

pub(crate) fn a_server_that_does_not_accept_is_given_up() {
    let dir = Dir::new();
    let listener = UnixListener::bind(dir.socket()).unwrap();
    // SAFETY: the descriptor is the listener's, which lives.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    // The one that may wait to be accepted: the command's own waits even to be connected.
    let _first = UnixStream::connect(dir.socket()).unwrap();
    // A command that waited for the socket's end would hear of it then, and call it another error.
    let long = Duration::from_secs(10);
    let (done, ended) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let _ = ended.recv_timeout(long);
            drop(listener);
        });
        let line = ctl(&dir.socket(), "info --timeout 0.05").failed(124);
        assert!(line.starts_with("No answer from "), "{line}");
        drop(done);
    });
}
