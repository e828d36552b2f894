// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Both sides of the ABI understand each other, and every field that can be refused is.

use perf_port::cpuid::{self, Discovery, Features, Leaf};
use perf_port::page::{self, TrapRecord};
use perf_port::{
    Command, Errno, EventNumber, EventState, Id, Leaves, Name, Op, Open, OpenFlags, Reading,
    Target, TrapTotals, decode_result, encode_result,
};
use proptest::prelude::*;

fn id() -> impl Strategy<Value = Id> {
    (1..=u64::MAX).prop_map(|id| Id::new(id).unwrap())
}

fn name() -> impl Strategy<Value = Name> {
    any::<[u8; 16]>().prop_map(Name::from_bytes)
}

fn leaves() -> impl Strategy<Value = Leaves> {
    prop_oneof![Just(Leaves::Queued), Just(Leaves::Blocked)]
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        any::<u32>().prop_map(Target::Vcpu),
        id().prop_map(Target::Task),
        (id(), any::<u32>()).prop_map(|(task, vcpu)| Target::TaskOn(task, vcpu)),
    ]
}

prop_compose! {
    fn open()(
        flags in 0_u64..128,
        target in target(),
        event in prop::sample::select(EventNumber::ALL.to_vec()),
        period in any::<u64>(),
        data in any::<Option<u64>>(),
        leader in prop::option::of(id()),
        limit in any::<u64>(),
    ) -> Open {
        // Whether it traps is said by the data.
        let flags = flags & !OpenFlags::SIGTRAP.bits();
        let flags = OpenFlags::from_bits(flags).unwrap();
        Open { flags, target, event, period, data, leader, limit }
    }
}

fn command() -> impl Strategy<Value = Command> {
    let of_task = prop_oneof![
        (any::<u32>(), name()).prop_map(|(vcpu, name)| Command::Create { vcpu, name }),
        (id(), name()).prop_map(|(parent, name)| Command::Fork {
            parent,
            name: (!name.is_none()).then_some(name),
        }),
        id().prop_map(|parent| Command::Fork { parent, name: None }),
        (id(), name()).prop_map(|(task, name)| Command::Exec { task, name }),
        id().prop_map(|task| Command::Exit { task }),
        (prop::option::of(id()), leaves(), prop::option::of(id()))
            .prop_map(|(prev, leaves, next)| Command::Switch { prev, leaves, next }),
        (id(), any::<u32>()).prop_map(|(task, vcpu)| Command::Migrate { task, vcpu }),
        (id(), any::<u32>()).prop_map(|(task, vcpu)| Command::Wake { task, vcpu }),
    ];
    let of_event = prop_oneof![
        open().prop_map(Command::Open),
        id().prop_map(|event| Command::Close { event }),
        (id(), any::<bool>()).prop_map(|(event, group)| Command::Enable { event, group }),
        (id(), any::<bool>()).prop_map(|(event, group)| Command::Disable { event, group }),
        (id(), any::<bool>()).prop_map(|(event, group)| Command::Reset { event, group }),
        (id(), any::<u64>()).prop_map(|(event, overflows)| Command::Refresh { event, overflows }),
        (id(), any::<u64>()).prop_map(|(event, period)| Command::Period { event, period }),
        id().prop_map(|event| Command::Read { event }),
        id().prop_map(|event| Command::Traps { event }),
    ];
    let bare = prop_oneof![
        Just(Command::Nop),
        Just(Command::User),
        Just(Command::TrapDone),
    ];
    prop_oneof![of_task, of_event, bare]
}

proptest! {
    #[test]
    fn a_command_arrives_as_it_was_sent(command in command()) {
        let (op, args) = command.encode();
        prop_assert_eq!(op, command.op());
        prop_assert_eq!(Command::decode(op.number(), 0, &args), Ok(command));
        prop_assert!(args[op.args()..].iter().all(|word| *word == 0));
    }

    #[test]
    fn words_behind_the_arguments_are_not_looked_at(command in command(), behind: [u64; 8]) {
        let (op, mut args) = command.encode();
        args[op.args()..].copy_from_slice(&behind[op.args()..]);
        prop_assert_eq!(Command::decode(op.number(), 0, &args), Ok(command));
    }

    /// Whatever it is, what it is taken for says the same again.
    #[test]
    fn any_words_are_refused_or_understood(op in 0_u32..32, args in words()) {
        if let Ok(command) = Command::decode(op, 0, &args) {
            let (again, encoded) = command.encode();
            prop_assert_eq!(again.number(), op);
            prop_assert_eq!(&encoded[..again.args()], &args[..again.args()]);
        }
    }

    #[test]
    fn a_reserved_word_is_0(command in command(), reserved in 1_u32..) {
        let (op, args) = command.encode();
        prop_assert_eq!(Command::decode(op.number(), reserved, &args), Err(Errno::Invalid));
    }

    #[test]
    fn a_result_arrives_as_it_was_sent(value in 0..=i64::MAX.unsigned_abs(), errno in 1_u16..4096) {
        prop_assert_eq!(decode_result(encode_result(Ok(value))), Ok(value));
        let errno = Errno::from_number(errno);
        prop_assert_eq!(decode_result(encode_result(Err(errno))), Err(errno));
    }

    #[test]
    fn what_is_read_arrives_as_it_was_sent(words: [u64; 6], state in 0_usize..5) {
        let state = EventState::ALL[state];
        let [count, enabled, running, overflows, _, throttled] = words;
        let reading = Reading { count, enabled, running, overflows, state, throttled };
        prop_assert_eq!(Reading::from_words(reading.words()), Some(reading));
        prop_assert_eq!(TrapTotals::from_words(words).words(), words);
        let record = [count, enabled, running, overflows];
        prop_assert_eq!(TrapRecord::from_words(record).words(), record);
    }

    #[test]
    fn a_name_shows_no_control_characters(name in name()) {
        let shown = name.to_string();
        prop_assert!(!shown.chars().any(char::is_control), "{shown:?}");
        prop_assert_eq!(Name::from_words(name.words()), name);
    }

    #[test]
    fn a_name_is_cut_between_two_characters(text in ".{0,20}") {
        let name = Name::new(&text);
        let text = text.trim_end_matches('\0');
        let kept = std::str::from_utf8(name.bytes()).unwrap();
        prop_assert!(text.starts_with(kept));
        let next = text[kept.len()..].chars().next();
        prop_assert!(next.is_none_or(|next| next == '\0' || kept.len() + next.len_utf8() > 16));
    }

    #[test]
    fn a_port_is_described_as_it_is(
        version in 1_u32..,
        features: u32,
        port: u16,
        vector: u8,
        tick_frame: u32,
    ) {
        let features = Features(features);
        let port = Discovery { version, features, port, vector, tick_frame };
        prop_assert_eq!(Discovery::decode(port.encode()), port);
        prop_assert_eq!(Discovery::find(leaves_of(port)), Some(port));
    }
}

/// Small numbers among them, so that some are understood.
fn words() -> impl Strategy<Value = [u64; 8]> {
    prop::array::uniform8(prop_oneof![
        0_u64..4,
        any::<u64>(),
        Just(u64::MAX),
        Just(0x100)
    ])
}

fn leaves_of(port: Discovery) -> impl Fn(u32) -> Leaf {
    move |number| match number {
        cpuid::SIGNATURE_LEAF => cpuid::signature(),
        cpuid::PORT_LEAF => port.encode(),
        _ => Leaf::default(),
    }
}

#[test]
fn a_name_shows_nothing_that_steers_a_terminal() {
    // CSI in one character, and the one that makes what follows run backwards.
    for (name, shown) in [
        ("\u{9b}31mred", r"\u{9b}31mred"),
        ("a\u{202e}b", r"a\u{202e}b"),
        ("\t\r\n\0x", r"\x09\x0d\x0a\x00x"),
        ("å \"q\" \\", r#"å "q" \\"#),
    ] {
        assert_eq!(Name::new(name).to_string(), shown);
    }
}

/// A command that would be fine but for one word.
fn refused(command: Command, arg: usize, word: u64) -> Errno {
    let (op, mut args) = command.encode();
    assert!(Command::decode(op.number(), 0, &args).is_ok());
    args[arg] = word;
    Command::decode(op.number(), 0, &args).unwrap_err()
}

fn one() -> Id {
    Id::new(1).unwrap()
}

#[test]
fn numbers_are_those_of_the_manual() {
    let numbers = Op::ALL.map(Op::number);
    assert_eq!(
        numbers,
        [
            0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 18, 19, 20, 21, 22, 23, 24
        ]
    );
    for number in (0..64).filter(|number| !numbers.contains(number)) {
        assert_eq!(Op::from_number(number), None);
        assert_eq!(Command::decode(number, 0, &[0; 8]), Err(Errno::NoSuchOp));
    }
    let states = EventState::ALL.map(EventState::number);
    assert_eq!(states, [0, 1, 2, 3, 4]);
    assert_eq!(EventState::from_number(5), None);
    assert_eq!(page::ARG + 8 * page::ARGS as u64, page::OUT);
    assert_eq!(page::OUT + 8 * page::OUTS as u64, 0x100);
}

#[test]
fn events_by_numbers_that_there_are() {
    let open = Open::new(EventNumber::Cycles, Target::Vcpu(0));
    for number in [0, 8, 0xFF, 0x101, u64::MAX] {
        assert_eq!(refused(Command::Open(open), 3, number), Errno::NotCounted);
    }
}

#[test]
fn flags_that_there_are() {
    let open = Open::new(EventNumber::Cycles, Target::Vcpu(0));
    for bit in 7..64 {
        assert_eq!(refused(Command::Open(open), 0, 1 << bit), Errno::Invalid);
    }
}

#[test]
fn data_only_with_sigtrap() {
    let open = Open::new(EventNumber::Cycles, Target::Task(one()));
    assert_eq!(refused(Command::Open(open), 5, 1), Errno::Invalid);
    let open = Open {
        data: Some(1),
        ..open
    };
    assert_eq!(refused(Command::Open(open), 0, 0), Errno::Invalid);
}

#[test]
fn vcpus_have_32_bits() {
    let (task, vcpu, name) = (one(), 0, Name::NONE);
    let wide = 1 << 32;
    for (command, arg) in [
        (Command::Create { vcpu, name }, 0),
        (Command::Migrate { task, vcpu }, 1),
        (Command::Wake { task, vcpu }, 1),
        (
            Command::Open(Open::new(EventNumber::Cycles, Target::Vcpu(0))),
            2,
        ),
        (
            Command::Open(Open::new(EventNumber::Cycles, Target::TaskOn(task, 0))),
            2,
        ),
    ] {
        assert_eq!(refused(command, arg, wide), Errno::NoSuchVcpu);
    }
    // Anywhere is for tasks.
    let open = Open::new(EventNumber::Cycles, Target::Vcpu(0));
    let anywhere = refused(Command::Open(open), 2, u64::MAX);
    assert_eq!(anywhere, Errno::NoSuchVcpu);
}

#[test]
fn no_task_and_no_event_is_0() {
    let (task, event, vcpu, name) = (one(), one(), 0, Name::NONE);
    let group = false;
    for of_task in [
        Command::Fork {
            parent: task,
            name: None,
        },
        Command::Exec { task, name },
        Command::Exit { task },
        Command::Migrate { task, vcpu },
        Command::Wake { task, vcpu },
    ] {
        assert_eq!(refused(of_task, 0, 0), Errno::NoSuchTask);
    }
    for of_event in [
        Command::Close { event },
        Command::Enable { event, group },
        Command::Disable { event, group },
        Command::Reset { event, group },
        Command::Refresh {
            event,
            overflows: 1,
        },
        Command::Period { event, period: 1 },
        Command::Read { event },
        Command::Traps { event },
    ] {
        assert_eq!(refused(of_event, 0, 0), Errno::BadEvent);
    }
}

#[test]
fn yes_and_no_are_1_and_0() {
    let (event, group) = (one(), false);
    let switch = Command::Switch {
        prev: None,
        leaves: Leaves::Queued,
        next: None,
    };
    for command in [
        switch,
        Command::Enable { event, group },
        Command::Disable { event, group },
        Command::Reset { event, group },
    ] {
        for word in [2, 3, 1 << 32, u64::MAX] {
            assert_eq!(refused(command, 1, word), Errno::Invalid);
        }
    }
}

#[test]
fn a_port_is_found_by_its_signature_and_version() {
    let port = Discovery::V1;
    let without = |leaf: u32| {
        let leaves = leaves_of(port);
        move |number| {
            if number == leaf {
                Leaf::default()
            } else {
                leaves(number)
            }
        }
    };
    assert_eq!(Discovery::find(leaves_of(port)), Some(port));
    assert_eq!(Discovery::find(without(cpuid::SIGNATURE_LEAF)), None);
    assert_eq!(Discovery::find(without(cpuid::PORT_LEAF)), None);
    let low = |number| Leaf {
        eax: cpuid::SIGNATURE_LEAF,
        ..leaves_of(port)(number)
    };
    assert_eq!(Discovery::find(low), None, "the leaf is not there");
    let leaf = cpuid::signature();
    let mut text = [0; 12];
    for (at, register) in [leaf.ebx, leaf.ecx, leaf.edx].into_iter().enumerate() {
        text[4 * at..][..4].copy_from_slice(&register.to_le_bytes());
    }
    assert_eq!(&text, b"perfvisor\0\0\0");
    for base in [0x4000_0000, 0x4000_0300, 0x4001_0000] {
        let moved = |number: u32| match number.checked_sub(base) {
            Some(0) => Leaf {
                eax: base + 1,
                ..cpuid::signature()
            },
            Some(1) => port.encode(),
            _ => Leaf::default(),
        };
        assert_eq!(Discovery::find(moved), Some(port));
    }
    let later = Discovery { version: 2, ..port };
    assert_eq!(Discovery::find(leaves_of(later)), Some(later));
}
