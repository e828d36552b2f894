// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A booted lab: commands are run in it one after another over its virtio-serial port.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::net::Shutdown;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use lab_agent::wire::{self, Decoder, Message, PULSE_SECONDS, Reply, Request, Run};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::build;
use crate::cache::Parts;
use crate::console::Console;
use crate::initramfs::Initramfs;
use crate::job::{Around, Ended, Input, Stream};
use crate::qemu::Qemu;
use crate::say;
use crate::terminal::HANG_UP;

/// The output directory of commands, inside the lab.
pub(crate) const OUT: &str = "/out";

/// A boot takes 6-8 seconds where nothing else runs; several times that is a wedged lab.
const BOOT_DEADLINE: Duration = Duration::from_secs(120);

/// A lab says every few seconds that it is alive, with a thread above all that runs in it; on a busy
/// machine it may be late. One that says nothing for so long has stopped.
const SILENCE: Duration = Duration::from_secs(30 * PULSE_SECONDS);

/// How long a killed command may take to be gone, if the lab is alive.
const KILL_GRACE: Duration = Duration::from_secs(10);

/// How many messages of the lab may wait here before the lab has to.
const BACKLOG: usize = 256;

/// A host file that the lab has from the start.
#[derive(Debug, Clone)]
pub(crate) struct LabFile {
    /// Where it is on the host.
    pub(crate) host: PathBuf,
    /// Where it is in the lab.
    pub(crate) lab: String,
}

/// A booted lab; dropped, it is gone.
pub(crate) struct Lab {
    replies: Receiver<Result<Reply>>,
    requests: Requests,
    console: Console,
    qemu: Qemu,
}

impl Lab {
    /// Boots a lab that has `files`, and waits until it is ready for commands.
    pub(crate) fn boot(files: &[LabFile], verbose: bool) -> Result<Self> {
        let parts = Parts::get()?;
        let agent = build::static_binary("lab-agent")?;
        let initramfs = initramfs(&parts, &agent, files).context("writing the lab's initramfs")?;
        let console = Console::default();
        say::step("booting the lab");
        let started = Instant::now();
        let (qemu, port) = Qemu::boot(&parts, &initramfs, &console, verbose)?;
        let replies = receive(port.try_clone()?);
        let requests = Requests {
            port: Arc::new(Mutex::new(port)),
        };
        let mut lab = Self {
            replies,
            requests,
            console,
            qemu,
        };
        // Before it is ready it does not say that it is alive.
        match lab.reply_within(Some(started + BOOT_DEADLINE), BOOT_DEADLINE)? {
            Some(Reply::Ready) => {
                say::step(format_args!(
                    "lab ready in {:.1} s",
                    started.elapsed().as_secs_f64()
                ));
                Ok(lab)
            }
            Some(other) => Err(lab.broken(&format!("the lab said {other:?} before it was ready"))),
            None => Err(lab.broken("the lab did not boot in time")),
        }
    }

    /// Runs one command to its end. After an error the lab is of no more use.
    pub(crate) fn run(&mut self, run: Run, around: Around<'_>) -> Result<Ended> {
        let deadline = around.deadline.map(|deadline| Instant::now() + deadline);
        self.send(&Request::Run(run))?;
        match around.input {
            Input::Empty => self.send(&Request::CloseStdin)?,
            Input::Ours => self.requests.clone().forward_stdin(None),
            Input::Terminal => self.requests.clone().forward_stdin(Some(HANG_UP)),
        }
        let mut files = Files {
            out: around.out,
            current: None,
        };
        loop {
            let Some(reply) = self.reply(deadline)? else {
                return self.kill(around.output);
            };
            match reply {
                Reply::Stdout(data) => (around.output)(Stream::Out, &data),
                Reply::Stderr(data) => (around.output)(Stream::Err, &data),
                Reply::File { path, mode, data } => files.start(&path, mode, &data)?,
                Reply::FileMore(data) => files.go_on(&data)?,
                Reply::Exit(exit) => {
                    files.end()?;
                    return Ok(Ended::Exit(exit));
                }
                Reply::Broken(why) => return Err(self.broken(&why)),
                Reply::Ready => return Err(self.broken("the lab started over")),
                Reply::Alive => {}
            }
        }
    }

    /// The console's last lines, for messages about what went wrong.
    pub(crate) fn console_tail(&self) -> String {
        self.console.tail()
    }

    /// Ends the running command at its deadline; fails if even that does not work.
    fn kill(&mut self, output: &mut dyn FnMut(Stream, &[u8])) -> Result<Ended> {
        self.send(&Request::Kill)?;
        let deadline = Instant::now() + SILENCE + KILL_GRACE;
        loop {
            match self.reply(Some(deadline))? {
                Some(Reply::Stdout(data)) => output(Stream::Out, &data),
                Some(Reply::Stderr(data)) => output(Stream::Err, &data),
                Some(Reply::Exit(_)) => return Ok(Ended::Deadline),
                Some(Reply::Broken(why)) => return Err(self.broken(&why)),
                // Files of a command that was cut short are not worth keeping.
                Some(_) => {}
                None => return Err(self.broken("the lab does not end a command past its deadline")),
            }
        }
    }

    /// The next message of a lab that is ready; `None` at the deadline.
    fn reply(&mut self, deadline: Option<Instant>) -> Result<Option<Reply>> {
        self.reply_within(deadline, SILENCE)
    }

    /// The same, of a lab that may be silent for so long.
    fn reply_within(
        &mut self,
        deadline: Option<Instant>,
        silence: Duration,
    ) -> Result<Option<Reply>> {
        match listen(&self.replies, deadline, silence) {
            Heard::Reply(reply) => Ok(Some(reply)),
            Heard::Deadline => Ok(None),
            Heard::Silence => {
                let why = format!("the lab said nothing for {} s", silence.as_secs());
                Err(self.broken(&why).context(Fault::Stopped))
            }
            Heard::Garbage(why) => Err(self.broken(&format!("{why:#}"))),
            Heard::End => Err(self.ended()),
        }
    }

    fn send(&self, request: &Request) -> Result<()> {
        self.requests
            .send(request)
            .map_err(|why| self.broken(&format!("{why:#}")))
    }

    /// The lab closed its port. QEMU ends with 0 when the kernel panicked, or reset the machine
    /// without a word.
    fn ended(&mut self) -> anyhow::Error {
        match self.qemu.ended() {
            Some(status) => {
                let ended = self.broken(&format!("the lab ended by itself (QEMU: {status})"));
                if status.success() && self.console.is_silent() {
                    ended.context(Fault::Reset)
                } else {
                    ended
                }
            }
            None => self.broken("the lab was hung up on"),
        }
    }

    fn broken(&self, why: &str) -> anyhow::Error {
        anyhow!("{why}\n{}", self.console.tail())
    }
}

/// What QEMU's emulation of nested virtualisation does once in a long while (see `qemu`), and no
/// program in the lab can do to its kernel: it is no word on what ran there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The machine reset itself without a word of its kernel.
    Reset,
    /// The kernel stopped: seen with all CPUs waiting for a lock that one of them held when it was
    /// interrupted, with interrupts disabled.
    Stopped,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reset => "the emulated machine reset itself",
            Self::Stopped => "the emulated machine stopped",
        })
    }
}

/// Does `work` in a machine that `start` makes; in another one, once, if the first has a fault.
pub(crate) fn despite_a_fault<M, T>(
    mut start: impl FnMut() -> Result<M>,
    mut work: impl FnMut(&mut M) -> Result<T>,
) -> Result<(M, T)> {
    let mut machine = start()?;
    let result = match work(&mut machine) {
        Err(error) if error.is::<Fault>() => {
            say::step(format_args!("{error:#}"));
            say::step("once more, in a new lab");
            // Two machines at once may be more than this one has room for.
            drop(machine);
            machine = start()?;
            work(&mut machine)?
        }
        result => result?,
    };
    Ok((machine, result))
}

/// The direction to the lab; several threads may speak.
#[derive(Clone)]
struct Requests {
    port: Arc<Mutex<UnixStream>>,
}

impl Requests {
    fn send(&self, request: &Request) -> Result<()> {
        let frame = wire::encode(request)?;
        let mut port = self.port.lock().unwrap_or_else(PoisonError::into_inner);
        port.write_all(&frame)
            .context("the lab takes no more requests")
    }

    /// Passes our standard input on until it ends. The thread may stay behind in a read when
    /// the command is over: it ends with xtask.
    fn forward_stdin(self, hang_up: Option<u8>) {
        thread::spawn(move || {
            let mut buffer = vec![0; wire::CHUNK];
            while let Ok(length @ 1..) = io::stdin().read(&mut buffer) {
                if hang_up.is_some_and(|byte| buffer[..length].contains(&byte)) {
                    self.hang_up();
                    return;
                }
                if self
                    .send(&Request::Stdin(buffer[..length].to_vec()))
                    .is_err()
                {
                    return;
                }
            }
            // A lab that is gone by now needs no end of input.
            let _ = self.send(&Request::CloseStdin);
        });
    }

    /// Closes the connection, which whoever waits for the lab then sees.
    fn hang_up(&self) {
        let port = self.port.lock().unwrap_or_else(PoisonError::into_inner);
        // It fails if the lab has closed it already.
        let _ = port.shutdown(Shutdown::Both);
    }
}

/// Reads the lab's messages on a thread of its own, so that waiting for them can have an end.
fn receive<M: Message + Send + 'static>(mut port: UnixStream) -> Receiver<Result<M>> {
    let (sender, receiver) = sync_channel(BACKLOG);
    thread::spawn(move || {
        let mut decoder = Decoder::default();
        let mut buffer = vec![0; wire::CHUNK];
        while let Ok(length @ 1..) = port.read(&mut buffer) {
            decoder.push(&buffer[..length]);
            loop {
                let message = match decoder.next_message() {
                    Ok(Some(message)) => Ok(message),
                    Ok(None) => break,
                    Err(e) => Err(anyhow!(e).context("the lab sent garbage")),
                };
                let last = message.is_err();
                if sender.send(message).is_err() || last {
                    return;
                }
            }
        }
    });
    receiver
}

/// What comes of listening to a lab.
#[derive(Debug)]
enum Heard {
    /// A message; not one that only says that the lab is alive.
    Reply(Reply),
    /// None until the deadline.
    Deadline,
    /// None at all for too long.
    Silence,
    /// What is no message; nothing follows.
    Garbage(anyhow::Error),
    /// The lab hung up.
    End,
}

fn listen(
    replies: &Receiver<Result<Reply>>,
    deadline: Option<Instant>,
    silence: Duration,
) -> Heard {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match replies.recv_timeout(left.map_or(silence, |left| left.min(silence))) {
            Ok(Ok(Reply::Alive)) => {}
            Ok(Ok(reply)) => return Heard::Reply(reply),
            Ok(Err(why)) => return Heard::Garbage(why),
            Err(RecvTimeoutError::Timeout) if left.is_some_and(|left| left <= silence) => {
                return Heard::Deadline;
            }
            Err(RecvTimeoutError::Timeout) => return Heard::Silence,
            Err(RecvTimeoutError::Disconnected) => return Heard::End,
        }
    }
}

/// Files as they come back from the lab.
struct Files<'a> {
    out: &'a Path,
    current: Option<BufWriter<File>>,
}

impl Files<'_> {
    fn start(&mut self, name: &[u8], mode: u32, data: &[u8]) -> Result<()> {
        self.end()?;
        let path = self.out.join(below(Path::new(OsStr::from_bytes(name)))?);
        let opened = path
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| {
                File::options()
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .mode(mode)
                    .open(&path)
            });
        let file = opened.with_context(|| format!("writing {}", path.display()))?;
        self.current = Some(BufWriter::new(file));
        self.go_on(data)
    }

    fn go_on(&mut self, data: &[u8]) -> Result<()> {
        let file = self
            .current
            .as_mut()
            .context("the lab sent part of no file")?;
        Ok(file.write_all(data)?)
    }

    fn end(&mut self) -> Result<()> {
        match self.current.take() {
            Some(mut file) => Ok(file.flush()?),
            None => Ok(()),
        }
    }
}

/// Nothing that runs in the lab may write elsewhere on the host.
fn below(path: &Path) -> Result<&Path> {
    let plain = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if !plain || path.as_os_str().is_empty() {
        bail!("the lab sent a file with the path {path:?}");
    }
    Ok(path)
}

/// The lab's file system, in memory only, so that nothing is left behind.
fn initramfs(parts: &Parts, agent: &Path, files: &[LabFile]) -> Result<File> {
    let memory = memfd_create(c"initramfs", MFdFlags::MFD_CLOEXEC)?;
    let mut archive = Initramfs::new(BufWriter::new(File::from(memory)));
    // Without it the agent would have nowhere to complain to.
    archive.device("/dev/console", 5, 1)?;
    archive.file("/init", 0o755, &fs::read(agent)?)?;
    archive.file("/bin/busybox", 0o755, &fs::read(parts.busybox())?)?;
    for (name, path) in parts.modules() {
        archive.file(&format!("/modules/{name}"), 0o644, &fs::read(path)?)?;
    }
    for LabFile { host, lab } in files {
        let read = || -> io::Result<(Vec<u8>, u32)> {
            let data = fs::read(host)?;
            Ok((data, fs::metadata(host)?.permissions().mode()))
        };
        let (data, mode) = read().with_context(|| format!("reading {}", host.display()))?;
        archive.file(lab, mode, &data)?;
    }
    Ok(archive.finish()?.into_inner().map_err(|e| e.into_error())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of work whose machines do in turn as `ends` says, and how many there were.
    fn machines(ends: &[fn() -> Result<u8>]) -> (Result<u8>, usize) {
        let mut made = 0;
        let start = || {
            made += 1;
            Ok(made - 1)
        };
        let result = despite_a_fault(start, |machine: &mut usize| ends[*machine]());
        (result.map(|(_, result)| result), made)
    }

    #[test]
    fn a_fault_gets_one_more_machine_and_nothing_else_does() {
        let reset = || Err(anyhow!("the lab ended by itself").context(Fault::Reset));
        let stopped = || Err(anyhow!("the lab said nothing").context(Fault::Stopped));
        for fault in [reset, stopped] {
            let (result, made) = machines(&[fault, || Ok(7)]);
            assert_eq!((result.unwrap(), made), (7, 2));
            let (result, made) = machines(&[fault, reset]);
            assert!(result.unwrap_err().is::<Fault>());
            assert_eq!(made, 2);
        }
        let (result, made) = machines(&[|| Err(anyhow!("a panic"))]);
        assert!(result.is_err());
        assert_eq!(made, 1);
        assert_eq!(machines(&[|| Ok(1)]).1, 1);
    }

    #[test]
    fn a_lab_that_says_nothing_is_told_from_one_that_is_busy() {
        const NO_TIME: Duration = Duration::ZERO;
        const FOR_EVER: Duration = Duration::from_secs(3600);
        let (sender, replies) = sync_channel(2);
        let over = Some(Instant::now());
        let later = Some(Instant::now() + FOR_EVER);
        assert!(matches!(listen(&replies, over, FOR_EVER), Heard::Deadline));
        assert!(matches!(listen(&replies, later, NO_TIME), Heard::Silence));
        assert!(matches!(listen(&replies, None, NO_TIME), Heard::Silence));
        for last in [Reply::Ready, Reply::Stdout(b"1..4".to_vec())] {
            sender.send(Ok(Reply::Alive)).unwrap();
            sender.send(Ok(last.clone())).unwrap();
            let heard = listen(&replies, later, FOR_EVER);
            assert!(matches!(heard, Heard::Reply(reply) if reply == last));
        }
        sender.send(Ok(Reply::Alive)).unwrap();
        assert!(
            matches!(listen(&replies, None, NO_TIME), Heard::Silence),
            "nothing after it"
        );
        sender.send(Err(anyhow!("no message"))).unwrap();
        drop(sender);
        assert!(matches!(
            listen(&replies, later, FOR_EVER),
            Heard::Garbage(_)
        ));
        assert!(matches!(listen(&replies, later, FOR_EVER), Heard::End));
    }

    #[test]
    fn files_from_the_lab_stay_below_the_output_directory() {
        assert!(below(Path::new("report/trace.json")).is_ok());
        for path in ["", "/etc/passwd", "../x", "a/../../x", "."] {
            assert!(below(Path::new(path)).is_err(), "{path:?}");
        }
    }

    #[test]
    fn files_arrive_in_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let mut files = Files {
            out: &out,
            current: None,
        };
        assert!(files.go_on(b"of what?").is_err());
        assert!(!out.exists(), "made before something came");
        files.start(b"a/first", 0o644, b"12").unwrap();
        files.go_on(b"34").unwrap();
        files.start(b"second", 0o755, b"").unwrap();
        files.end().unwrap();
        assert_eq!(fs::read(out.join("a/first")).unwrap(), b"1234");
        assert_eq!(fs::read(out.join("second")).unwrap(), b"");
    }

    #[test]
    fn garbage_from_the_lab_is_an_error_not_a_hang() {
        let (mut lab, host) = UnixStream::pair().unwrap();
        let replies = receive::<Reply>(host);
        lab.write_all(&wire::encode(&Reply::Ready).unwrap())
            .unwrap();
        lab.write_all(b"Kernel panic - not syncing").unwrap();
        assert_eq!(replies.recv().unwrap().unwrap(), Reply::Ready);
        assert!(replies.recv().unwrap().is_err());
        assert!(replies.recv().is_err(), "the stream goes on after garbage");
    }
}
