// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Servers that do not answer, or not what was asked.

use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::sync::mpsc;

use super::desk::{Dir, answered, ctl, line, unbuffered, with};

/// The longest line that is taken, with its LF.
const LONGEST: usize = 1 << 20;

pub(crate) fn what_is_no_answer_is_told_with_where_it_came_from() {
    let deep = format!("{{\"v\":1,\"ok\":{}", "[".repeat(100_000));
    for (answer, why) in [
        (&b""[..], "EOF"),
        (b"HTTP/1.1 400 Bad Request\r", "expected value"),
        (b"\xFF\xFE", "utf-8"),
        (b"{}", "missing field"),
        (b"\"ok\"", "invalid type: string"),
        (b"{\"v\":2,\"ok\":{}}", "Version 2"),
        (b"{\"v\":1}", "either ok or error"),
        (
            b"{\"v\":1,\"error\":{\"kind\":\"new\",\"message\":\"\"}}",
            "unknown variant",
        ),
        (b"{\"v\":1,\"ok\":{}} {}", "trailing"),
        (deep.as_bytes(), "recursion limit"),
    ] {
        for args in ["info", "info --json"] {
            let (_, ended) = answered(args, &[answer, b"\n"].concat());
            let line = ended.failed(125);
            assert!(
                line.contains("does not speak this program's protocol: ") && line.contains(why),
                "{why}: {line}"
            );
            assert!(
                line.ends_with("(use the `perfvisor` that runs the VM)"),
                "{line}"
            );
        }
    }
}

pub(crate) fn an_answer_to_something_else_is_not_shown() {
    let (_, ended) = answered("info", b"{\"v\":1,\"ok\":{\"added\":[1]}}\n");
    let line = ended.failed(125);
    assert!(
        line.contains("something else than was asked: missing field"),
        "{line}"
    );
}

pub(crate) fn a_connection_that_is_closed_without_an_answer_is_the_end_of_the_vm() {
    let closed = |ended: super::desk::Ended| {
        let line = ended.failed(3);
        assert!(
            line.contains("was closed without an answer: its VM has ended"),
            "{line}"
        );
    };
    let ((), ended) = with("stop", drop);
    closed(ended);
    let (_, ended) = with("stop", |stream| line(&stream));
    closed(ended);
    let (_, ended) = answered("stop", b"{\"v\":1,\"ok\":{\"state\":\"ended\"}}");
    closed(ended);
}

pub(crate) fn a_line_is_read_up_to_its_limit_and_no_further() {
    let mut answer = b"{\"v\":1,\"ok\":{\"state\":\"paused\"}}".to_vec();
    answer.resize(LONGEST - 1, b' ');
    let (_, ended) = answered("pause", &[&answer, &b"\n"[..]].concat());
    assert_eq!(ended.done(), "The VM is paused\n");

    let (_, ended) = answered("pause", &[&answer, &b" \n"[..]].concat());
    assert!(
        ended
            .failed(125)
            .contains("more than 1048576 bytes in a line")
    );

    // One that never ends: until the client is gone.
    let (sent, ended) = with("pause", |mut stream| {
        let piece = [b'x'; 4096];
        (0_u32..).find(|_| stream.write_all(&piece).is_err())
    });
    assert!(
        ended
            .failed(125)
            .contains("more than 1048576 bytes in a line")
    );
    assert!(sent >= Some(256));
}

pub(crate) fn only_the_first_line_is_the_answer() {
    let (_, ended) = answered(
        "pause",
        b"{\"v\":1,\"ok\":{\"state\":\"paused\"}}\n\xFFmore",
    );
    assert_eq!(ended.done(), "The VM is paused\n");
}

pub(crate) fn a_server_that_stalls_is_given_up() {
    for sends in [&b""[..], b"{\"v\":1,\"ok\":"] {
        let dir = Dir::new();
        let listener = UnixListener::bind(dir.socket()).unwrap();
        let (done, stay) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut stream = listener.accept().unwrap().0;
                stream.write_all(sends).unwrap();
                // Until the command is over: the other end is dropped then.
                stay.recv().unwrap_err();
            });
            let line = ctl(&dir.socket(), "info --timeout 0.05").failed(124);
            drop(done);
            assert!(
                line.contains("within 50ms: see whether its process is stopped"),
                "{line}"
            );
        });
    }
}

pub(crate) fn a_server_that_does_not_read_is_given_up() {
    let dir = Dir::new();
    let _listener = UnixListener::bind(dir.socket()).unwrap();
    let args = format!("--timeout 0.05 events open --vcpu 0 -e {}", unbuffered());
    ctl(&dir.socket(), &args).failed(124);
}
