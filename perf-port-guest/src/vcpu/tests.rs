// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Against a host that notes what it is asked and answers what it is told to.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use perf_port::page as at;
use perf_port::{EventNumber, EventState, OpenFlags, Target, encode_result};

use super::*;

/// What it does on a write to COMMAND.
#[derive(Clone, Debug)]
enum Answer {
    /// Answers the command, with these words besides.
    Result(i64, [u64; OUTS]),
    /// Finds no page, and says this in COMMAND.
    NoPage(u32),
    /// Hands over a record, and answers 1.
    Record(Record),
}

struct Host<'p> {
    page: &'p Page,
    answers: RefCell<VecDeque<Answer>>,
    /// What it was asked, and what was in the page then.
    asked: RefCell<Vec<Command>>,
    frame: Cell<u32>,
    status: Cell<u32>,
    exits: Cell<usize>,
}

impl<'p> Host<'p> {
    fn new(page: &'p Page, answers: impl IntoIterator<Item = Answer>) -> Self {
        Self {
            page,
            answers: RefCell::new(answers.into_iter().collect()),
            asked: RefCell::default(),
            frame: Cell::new(0),
            status: Cell::new(0),
            exits: Cell::new(0),
        }
    }

    /// All that it was asked, and that nothing it was to answer is left.
    fn asked(&self) -> Vec<Command> {
        assert!(self.answers.borrow().is_empty());
        self.asked.take()
    }

    fn run(&self) {
        let host = self.page.host_side();
        let args = std::array::from_fn(|nth| {
            let offset = at::ARG + 8 * u64::try_from(nth).unwrap();
            host.load64(offset).unwrap()
        });
        let (op, reserved) = (host.load32(at::OP), host.load32(at::RESERVED));
        let command = Command::decode(op.unwrap(), reserved.unwrap(), &args).unwrap();
        self.asked.borrow_mut().push(command);
        let answer = self.answers.borrow_mut().pop_front().expect("an answer");
        let (result, out) = match answer {
            Answer::NoPage(errno) => return self.status.set(errno),
            Answer::Result(result, out) => (result, out),
            Answer::Record(record) => {
                store(self.page, at::TRAP_EVENT, &record.words());
                assert!(host.store32(at::TRAP, at::TRAP_TAKEN));
                (1, [0; OUTS])
            }
        };
        store(self.page, at::OUT, &out);
        assert!(host.store64(at::RESULT, result.cast_unsigned()));
        self.status.set(0);
    }
}

fn store(page: &Page, first: u64, words: &[u64]) {
    for (offset, word) in (first..).step_by(8).zip(words) {
        assert!(page.host_side().store64(offset, *word));
    }
}

impl Registers for &Host<'_> {
    fn write(&self, offset: u16, value: u32) {
        self.exits.set(self.exits.get() + 1);
        match offset {
            io::PAGE => self.frame.set(value),
            io::COMMAND => self.run(),
            other => panic!("no register at {other}"),
        }
    }

    fn read(&self, offset: u16) -> u32 {
        self.exits.set(self.exits.get() + 1);
        match offset {
            io::PAGE => self.frame.get(),
            io::COMMAND => self.status.get(),
            other => panic!("no register at {other}"),
        }
    }
}

fn id(number: u64) -> Id {
    Id::new(number).unwrap()
}

fn ok(value: u64) -> Answer {
    Answer::Result(encode_result(Ok(value)), [0; OUTS])
}

fn refused(errno: Errno) -> Answer {
    Answer::Result(encode_result(Err(errno)), [0; OUTS])
}

/// What `ask` returns, what it asked for, and how many exits it took.
fn asking<T>(
    answer: Answer,
    ask: impl FnOnce(&VcpuPort<'_, &Host<'_>>) -> T,
) -> (T, Command, usize) {
    let page = Page::new();
    let host = Host::new(&page, [answer]);
    let result = ask(&VcpuPort::new(&page, &host));
    let mut asked = host.asked();
    assert_eq!(asked.len(), 1);
    (result, asked.remove(0), host.exits.get())
}

#[test]
fn a_switch_that_nobody_asks_about_is_no_exit() {
    let page = Page::new();
    let host = Host::new(&page, []);
    let port = VcpuPort::new(&page, &host);
    let prev = Some(id(1));
    assert_eq!(port.switch_to(prev, Leaves::Queued, Some(id(2))), Ok(false));
    assert_eq!(page.current(), Some(id(2)));
    assert_eq!((host.exits.get(), host.asked()), (0, vec![]));
}

#[test]
fn a_switch_is_announced_with_what_is_current_in_the_page() {
    let page = Page::new();
    let host = Host::new(&page, [ok(0), refused(Errno::Busy)]);
    let port = VcpuPort::new(&page, &host);
    assert!(page.host_side().store32(at::ANNOUNCE, 1));
    let (prev, leaves, next) = (Some(id(1)), Leaves::Blocked, Some(id(2)));
    assert_eq!(port.switch_to(prev, leaves, next), Ok(true));
    assert_eq!(page.current(), next);
    assert_eq!(port.switch_to(next, leaves, None), Err(Errno::Busy));
    assert_eq!(page.current(), None);
    let to_none = Command::Switch {
        prev: next,
        leaves,
        next: None,
    };
    assert_eq!(host.exits.get(), 2);
    assert_eq!(
        host.asked(),
        [Command::Switch { prev, leaves, next }, to_none]
    );
}

#[test]
fn every_command_is_one_exit_and_says_what_was_meant() {
    let (task, event, group) = (id(7), id(9), true);
    let name = Name::new("seven");
    type Asks = fn(&VcpuPort<'_, &Host<'_>>) -> Result<u64, Errno>;
    let commands: [(Command, Asks); 20] = [
        (Command::Create { vcpu: 3, name }, |port| {
            port.create(3, Name::new("seven")).map(Id::get)
        }),
        (
            Command::Fork {
                parent: task,
                name: None,
            },
            |port| port.fork(id(7), None).map(Id::get),
        ),
        (
            Command::Fork {
                parent: task,
                name: Some(name),
            },
            |port| port.fork(id(7), Some(Name::new("seven"))).map(Id::get),
        ),
        (Command::Exec { task, name }, |port| {
            port.exec(id(7), Name::new("seven")).map(|()| 1)
        }),
        (Command::Exit { task }, |port| port.exit(id(7)).map(|()| 1)),
        (Command::Migrate { task, vcpu: 2 }, |port| {
            port.migrate(id(7), 2).map(|()| 1)
        }),
        (Command::Wake { task, vcpu: 2 }, |port| {
            port.wake(id(7), 2).map(|()| 1)
        }),
        (Command::User, |port| port.user().map(u64::from)),
        (Command::TrapDone, |port| port.trap_done().map(u64::from)),
        (Command::Close { event }, |port| {
            port.close(id(9)).map(|()| 1)
        }),
        (
            Command::Enable {
                event,
                group: false,
            },
            |port| port.enable(id(9)).map(|()| 1),
        ),
        (Command::Enable { event, group }, |port| {
            port.enable_group(id(9)).map(|()| 1)
        }),
        (
            Command::Disable {
                event,
                group: false,
            },
            |port| port.disable(id(9)).map(|()| 1),
        ),
        (Command::Disable { event, group }, |port| {
            port.disable_group(id(9)).map(|()| 1)
        }),
        (
            Command::Refresh {
                event,
                overflows: 5,
            },
            |port| port.refresh(id(9), 5).map(|()| 1),
        ),
        (
            Command::Reset {
                event,
                group: false,
            },
            |port| port.reset(id(9)).map(|()| 1),
        ),
        (Command::Reset { event, group }, |port| {
            port.reset_group(id(9)).map(|()| 1)
        }),
        (Command::Period { event, period: 6 }, |port| {
            port.set_period(id(9), 6).map(|()| 1)
        }),
        (Command::Read { event }, |port| {
            port.read(id(9)).map(|reading| reading.map_or(1, |_| 0))
        }),
        (Command::Traps { event }, |port| {
            port.traps(id(9)).map(|_| 1)
        }),
    ];
    for (command, ask) in commands {
        assert_eq!(asking(ok(1), ask), (Ok(1), command, 1));
        let (result, ..) = asking(refused(Errno::TryAgain), ask);
        assert_eq!(result, Err(Errno::TryAgain), "{command:?}");
    }
}

#[test]
fn an_event_is_opened_as_it_is_described() {
    let open = Open {
        flags: OpenFlags::REMOVE_ON_EXEC.with(OpenFlags::EXCLUDE_KERNEL),
        period: 10,
        data: Some(11),
        leader: Some(id(12)),
        limit: 13,
        ..Open::new(EventNumber::PortTick, Target::TaskOn(id(14), 1))
    };
    let answer = Answer::Result(15, [16, 0, 0, 0, 0, 0]);
    let opened = Opened {
        event: id(15),
        rounds: 16,
    };
    let (result, command, exits) = asking(answer, |port| port.open(&open));
    assert_eq!(
        (result, command, exits),
        (Ok(opened), Command::Open(open), 1)
    );
}

#[test]
fn arguments_of_the_command_before_do_not_come_along() {
    let page = Page::new();
    let host = Host::new(&page, [ok(1), ok(0)]);
    let port = VcpuPort::new(&page, &host);
    let open = Open {
        leader: Some(id(5)),
        ..Open::new(EventNumber::Cycles, Target::Task(id(4)))
    };
    port.open(&open).unwrap();
    let (task, name) = (id(6), Name::NONE);
    port.exec(task, name).unwrap();
    assert_eq!(
        host.asked(),
        [Command::Open(open), Command::Exec { task, name }]
    );
}

#[test]
fn what_is_read_is_what_the_host_wrote() {
    let reading = Reading {
        count: 1,
        enabled: 2,
        running: 3,
        overflows: 4,
        state: EventState::Active,
        throttled: 5,
    };
    let (result, ..) = asking(Answer::Result(0, reading.words()), |port| port.read(id(1)));
    assert_eq!(result, Ok(Some(reading)));
    let error = [0, 0, 0, 0, EventState::Error.number(), 0];
    let (result, ..) = asking(Answer::Result(1, error), |port| port.read(id(1)));
    assert_eq!(result, Ok(None));
    let words = [1, 2, 3, 4, 5, 6];
    let (result, ..) = asking(Answer::Result(0, words), |port| port.traps(id(1)));
    assert_eq!(result, Ok(TrapTotals::from_words(words)));
}

#[test]
fn an_answer_that_is_none_is_an_error() {
    let (result, ..) = asking(ok(0), |port| port.create(0, Name::NONE));
    assert_eq!(result, Err(NO_ANSWER), "no task is 0");
    let (result, ..) = asking(Answer::Result(0, [9; OUTS]), |port| port.read(id(1)));
    assert_eq!(result, Err(NO_ANSWER), "there is no state 9");
    for status in [0, 0x1_0000] {
        let (result, ..) = asking(Answer::NoPage(status), |port| port.exit(id(1)));
        assert_eq!(result, Err(NO_ANSWER));
    }
}

#[test]
fn without_a_page_the_register_says_why() {
    let (result, _, exits) = asking(Answer::NoPage(6), |port| port.exit(id(1)));
    assert_eq!((result, exits), (Err(Errno::NoSuchDevice), 2));
}

#[test]
fn a_page_is_registered_by_its_frame() {
    let page = Page::new();
    let host = Host::new(&page, []);
    let port = VcpuPort::new(&page, &host);
    // SAFETY: the host here writes to the page by reference.
    let register = |address| unsafe { port.register(address) };
    assert_eq!(register(0x1_2345_6000), Ok(()));
    assert_eq!(host.frame.get(), 0x12_3456);
    for address in [0, 1, 0x1001, 1 << 44, u64::MAX] {
        assert_eq!(register(address), Err(Errno::Invalid), "{address:#x}");
    }
    assert_eq!(register((1 << 44) - 0x1000), Ok(()));
    assert_eq!(host.frame.get(), u32::MAX);
    assert_eq!(port.unregister(), Ok(()));
    assert_eq!(host.frame.get(), 0);
    host.status.set(14);
    assert_eq!(register(0x1000), Err(Errno::Fault));
}

#[test]
fn a_trap_is_taken_if_it_waits() {
    let page = Page::new();
    let record = Record {
        event: 1,
        task: 2,
        addr: 3,
        data: 4,
    };
    let host = Host::new(&page, [Answer::Record(record), ok(0)]);
    let port = VcpuPort::new(&page, &host);
    assert_eq!(port.take_record(), Ok(None));
    assert_eq!(host.exits.get(), 0, "nothing waits, so nobody is asked");
    assert!(page.host_side().store32(at::TRAP, at::TRAP_WAITS));
    assert_eq!(port.take_record(), Ok(Some(record)));
    assert_eq!(port.take_record(), Ok(None), "once");
    assert_eq!(page.record(), Some(record));
    // It went away again before it was asked for.
    assert!(page.host_side().store32(at::TRAP, at::TRAP_WAITS));
    assert_eq!(port.take_record(), Ok(None));
    assert_eq!(host.asked(), [Command::User, Command::User]);
}
