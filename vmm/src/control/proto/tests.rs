// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
use proptest::prelude::*;

use super::*;

fn wrong(line: &str) -> Refusal {
    Request::parse(line.as_bytes()).unwrap_err().refusal
}

fn verb(line: &str) -> Verb {
    Request::parse(line.as_bytes()).unwrap().verb
}

#[test]
fn what_is_left_out_has_its_default() {
    assert_eq!(verb(r#"{"do":"cpus-add"}"#), Verb::CpusAdd { count: 1 });
    let remove = Verb::CpusRemove {
        vcpu: 3,
        limit_ms: 5_000,
    };
    assert_eq!(verb(r#"{"do":"cpus-remove","vcpu":3}"#), remove);
    let wait = Verb::Wait {
        until: Until::Vm(RunState::Ended),
        limit_ms: 60_000,
    };
    assert_eq!(verb(r#"{"do":"wait","state":"ended","vcpu":null}"#), wait);
    let open = Verb::EventsOpen(OpenEvent::on_task(7, "cycles"));
    assert_eq!(
        verb(r#"{"task":7,"event":"cycles","do":"events-open"}"#),
        open
    );
    let open = Verb::EventsOpen(OpenEvent::counting(0, "cycles"));
    assert_eq!(
        verb(r#"{"vcpu":0,"event":"cycles","do":"events-open"}"#),
        open
    );
}

#[test]
fn an_error_names_the_key_and_the_way_out() {
    for (line, message) in [
        (
            "{}",
            r#""do" is missing: give the name of a request, such as "info""#,
        ),
        (
            r#"{"do":7}"#,
            r#""do" is a number: give the name of a request, such as "info""#,
        ),
        (
            r#"{"do":"pause","count":1}"#,
            r#"Unknown key "count": pause takes none but "v", "id" and "do""#,
        ),
        (
            r#"{"do":"cpus-add","cout":1}"#,
            r#"Unknown key "cout": cpus-add takes count"#,
        ),
        (
            r#"{"do":"cpus-remove","vcpu":1,"limit":1}"#,
            r#"Unknown key "limit": cpus-remove takes vcpu, limit_ms"#,
        ),
        (
            r#"{"do":"cpus-add","count":0}"#,
            r#""count" of cpus-add is 0: give a whole number from 1 to 255"#,
        ),
        (
            r#"{"do":"cpus-add","count":1.5}"#,
            r#""count" of cpus-add is 1.5: give a whole number from 1 to 255"#,
        ),
        (
            r#"{"do":"cpus-add","count":256}"#,
            r#""count" of cpus-add is 256: give a whole number from 1 to 255"#,
        ),
        (
            r#"{"do":"cpus-add","count":"1"}"#,
            r#""count" of cpus-add is a string: give a whole number from 1 to 255"#,
        ),
        (
            r#"{"do":"cpus-add","count":1,"count":2}"#,
            r#""count" of cpus-add is given twice"#,
        ),
        (r#"{"do":"info","do":"stop"}"#, r#""do" is given twice"#),
        (
            r#"{"do":"cpus-remove"}"#,
            r#""vcpu" of cpus-remove is missing: give the number of a vCPU"#,
        ),
        (
            r#"{"do":"cpus-remove","vcpu":4294967296}"#,
            r#""vcpu" of cpus-remove is 4294967296: give a whole number from 0 to 4294967295"#,
        ),
        (
            r#"{"do":"cpus-remove","vcpu":1,"limit_ms":600001}"#,
            r#""limit_ms" of cpus-remove is 600001: give a whole number from 0 to 600000"#,
        ),
        (
            r#"{"do":"wait","state":"running","limit_ms":86400001}"#,
            r#""limit_ms" of wait is 86400001: give a whole number from 0 to 86400000"#,
        ),
        (
            r#"{"do":"wait"}"#,
            r#""state" of wait is missing: give running, paused or ended"#,
        ),
        (
            r#"{"do":"wait","state":"offline"}"#,
            r#"The VM has no state "offline": give running, paused or ended"#,
        ),
        (
            r#"{"do":"wait","state":"finished","vcpu":1}"#,
            r#"A vCPU has no state "finished": give absent, offline, starting, running, paused or stopping"#,
        ),
        (
            r#"{"do":"events-open","vcpu":0}"#,
            r#""event" of events-open is missing: give an event by its name in `perfvisor pmu list`, such as "cycles""#,
        ),
        (
            r#"{"do":"events-open","event":"cycles"}"#,
            r#""vcpu" of events-open is missing: give the number of a vCPU, or "task" with that of a task"#,
        ),
        (
            r#"{"do":"events-open","vcpu":0,"event":"cycles","period":1,"sigtrap":1}"#,
            r#""sigtrap" of events-open needs a "task": a vCPU has neither signals nor children"#,
        ),
        (
            r#"{"do":"events-open","vcpu":0,"event":"cycles","inherit":true}"#,
            r#""inherit" of events-open needs a "task": a vCPU has neither signals nor children"#,
        ),
        (
            r#"{"do":"events-open","task":1,"event":"cycles","period":1,"limit":1,"inherit":true}"#,
            r#""limit" of events-open is for one event: leave out "inherit", which makes more of it"#,
        ),
        (
            r#"{"do":"events-open","task":1,"event":"cycles","sigtrap":0}"#,
            r#""sigtrap" of events-open needs a "period": overflows trap"#,
        ),
        (
            r#"{"do":"events-open","task":0,"event":"cycles"}"#,
            r#""task" of events-open is 0: give a whole number from 1 to 18446744073709551615"#,
        ),
        (
            r#"{"do":"events-open","vcpu":0,"event":"cycles","pinned":1}"#,
            r#""pinned" of events-open is a number: give true or false"#,
        ),
        (
            r#"{"do":"events-open","vcpu":0,"event":"cycles","limit":1}"#,
            r#""limit" of events-open needs a "period": it counts overflows"#,
        ),
        (
            r#"{"do":"events-open","vcpu":0,"event":"cycles","period":9223372036854775808}"#,
            r#""period" of events-open is 9223372036854775808: give a whole number from 1 to 9223372036854775807"#,
        ),
        (
            r#"{"do":"events-read","event":"cycles"}"#,
            r#""event" of events-read is a string: give a whole number from 1 to 18446744073709551615"#,
        ),
        (
            r#"{"do":"events-refresh","event":1}"#,
            r#""overflows" of events-refresh is missing: give how many more it may have"#,
        ),
        (
            r#"{"do":"info","id":1.5}"#,
            r#""id" is neither a string nor a whole number of 64 bits"#,
        ),
    ] {
        let refusal = wrong(line);
        assert_eq!(
            (refusal.kind, &*refusal.message),
            (ErrorKind::BadRequest, message),
            "{line}"
        );
    }
    let unknown = wrong(r#"{"do":"inf"}"#);
    assert!(
        unknown
            .message
            .starts_with(r#"Unknown request "inf": there are info, cpus-add, "#)
    );
}

#[test]
fn what_is_no_object_is_bad_json() {
    for (line, message) in [
        ("", "The line is empty: send one JSON object a line"),
        (" \r", "The line is empty: send one JSON object a line"),
        (
            "[]",
            r#"The line is no JSON object: send one a line, such as {"do":"info"}"#,
        ),
        (
            "info",
            "The line is not JSON: expected value at line 1 column 1",
        ),
        (
            r#"{"do":"info"} x"#,
            "The line is not JSON: trailing characters at line 1 column 15",
        ),
        (
            r#"{"do":"in"#,
            "The line is not JSON: EOF while parsing a string at line 1 column 9",
        ),
    ] {
        let refusal = wrong(line);
        assert_eq!(
            (refusal.kind, &*refusal.message),
            (ErrorKind::BadJson, message),
            "{line}"
        );
    }
    assert_eq!(
        Request::parse(b"{\"do\":\"\xFF\"}")
            .unwrap_err()
            .refusal
            .kind,
        ErrorKind::BadJson
    );
}

#[test]
fn deep_nesting_is_refused_before_it_costs_the_stack() {
    let deep = format!("{{\"do\":{}", "[".repeat(MAX_LINE - 6));
    let refusal = wrong(&deep);
    assert_eq!(refusal.kind, ErrorKind::BadJson);
    assert!(
        refusal.message.contains("recursion limit"),
        "{}",
        refusal.message
    );
}

#[test]
fn only_this_version_is_spoken() {
    assert_eq!(verb(r#"{"v":1,"do":"info"}"#), Verb::Info);
    assert_eq!(verb(r#"{"v":null,"do":"info"}"#), Verb::Info);
    for version in ["2", "0", "\"1\"", "1.5", "{}"] {
        let line = format!(r#"{{"v":{version},"do":"info","id":"a"}}"#);
        let unparsed = Request::parse(line.as_bytes()).unwrap_err();
        assert_eq!(unparsed.refusal.kind, ErrorKind::BadVersion, "{line}");
        assert_eq!(unparsed.id, Some(Id::Text("a".to_owned())));
    }
}

#[test]
fn whatever_else_is_wrong_the_name_is_given_back() {
    for line in [
        r#"{"do":"inf","id":5}"#,
        r#"{"x":1,"id":5,"do":"info"}"#,
        r#"{"do":"cpus-add","count":[],"id":5}"#,
        r#"{"v":9,"id":5}"#,
    ] {
        let unparsed = Request::parse(line.as_bytes()).unwrap_err();
        assert_eq!(unparsed.id, Some(Id::Number(5)), "{line}");
    }
}

#[test]
fn a_name_is_short() {
    let line = |length| format!(r#"{{"do":"info","id":"{}"}}"#, "x".repeat(length));
    assert!(Request::parse(line(Id::MAX_BYTES).as_bytes()).is_ok());
    assert_eq!(
        wrong(&line(Id::MAX_BYTES + 1)).message,
        "\"id\" is longer than 256 bytes"
    );
}

#[test]
fn a_message_repeats_little_and_is_one_line() {
    let refusal = wrong(&format!(r#"{{"do":"\n{}"}}"#, "é".repeat(30_000)));
    assert!(
        refusal.message.starts_with(r#"Unknown request "\né"#),
        "{}",
        refusal.message
    );
    assert!(refusal.message.len() < 400 && !refusal.message.contains('\n'));
    let refusal = wrong(&format!(r#"{{"v":{}}}"#, "1".repeat(300)));
    assert!(refusal.message.len() < 100, "{}", refusal.message);
}

#[test]
fn a_client_reads_what_it_asked_for() {
    let read = |line| Answer::read(line).unwrap();
    let answer = read(r#"{"v":1,"id":"x","ok":{"state":"paused","new":1}}"#);
    let paused = NowIs {
        state: RunState::Paused,
    };
    assert_eq!(
        answer.read_as::<NowIs>(),
        Ok(paused),
        "new keys harm no old client"
    );
    assert_eq!(
        answer.read_as::<Added>().unwrap_err().kind,
        ErrorKind::Internal
    );
    let refusal = Refusal::new(ErrorKind::Perf, "No").errno("EBUSY");
    let line = Answer::<Done> {
        id: None,
        result: Err(refusal.clone()),
    }
    .line();
    assert_eq!(
        line,
        "{\"v\":1,\"error\":{\"kind\":\"perf\",\"message\":\"No\",\"errno\":\"EBUSY\"}}\n"
    );
    assert_eq!(read(&line).read_as::<NowIs>(), Err(refusal));
    for line in [
        "{}",
        r#"{"v":2,"ok":{}}"#,
        r#"{"v":1}"#,
        r#"{"v":1,"ok":1,"error":{"kind":"perf","message":""}}"#,
    ] {
        assert!(Answer::read(line).is_err(), "{line}");
    }
}

fn id() -> impl Strategy<Value = Option<Id>> {
    prop_oneof![
        Just(None),
        any::<i64>().prop_map(|number| Some(Id::Number(number))),
        any::<String>()
            .prop_filter("as long as it may be", |text| text.len() <= Id::MAX_BYTES)
            .prop_map(|text| Some(Id::Text(text))),
    ]
}

fn until() -> impl Strategy<Value = Until> {
    let of_vcpu = prop::sample::select(CpuState::ALL)
        .prop_filter("is the VM's", |state| *state != CpuState::Finished);
    prop_oneof![
        prop::sample::select(RunState::ALL).prop_map(Until::Vm),
        (any::<u32>(), of_vcpu).prop_map(|(vcpu, state)| Until::Vcpu(vcpu, state)),
    ]
}

fn open() -> impl Strategy<Value = OpenEvent> {
    let sampling = prop::option::of((1..=i64::MAX.cast_unsigned(), prop::option::of(1..=u64::MAX)));
    let sigtrap = prop::option::of(any::<u64>());
    let target = prop_oneof![
        any::<u32>().prop_map(|vcpu| (Some(vcpu), None)),
        (
            prop::option::of(any::<u32>()),
            (1..=u64::MAX).prop_map(Some)
        ),
    ];
    let flags = any::<[bool; 4]>();
    (target, any::<String>(), sampling, sigtrap, flags).prop_map(
        |((vcpu, task), event, sampling, sigtrap, [pinned, disabled, keep, inherit])| {
            let limit = sampling.and_then(|(_, limit)| limit);
            OpenEvent {
                vcpu,
                task,
                period: sampling.map(|(period, _)| period),
                limit,
                pinned,
                disabled: disabled && limit.is_none(),
                keep,
                sigtrap: sigtrap.filter(|_| sampling.is_some() && task.is_some()),
                inherit: inherit && task.is_some() && limit.is_none(),
                ..OpenEvent::counting(0, event)
            }
        },
    )
}

fn any_verb() -> impl Strategy<Value = Verb> {
    let event = 1..=u64::MAX;
    prop_oneof![
        Just(Verb::Info),
        (1..=Verb::MAX_COUNT).prop_map(|count| Verb::CpusAdd { count }),
        (any::<u32>(), 0..=Verb::MAX_REMOVE_MS)
            .prop_map(|(vcpu, limit_ms)| Verb::CpusRemove { vcpu, limit_ms }),
        Just(Verb::Pause),
        Just(Verb::Resume),
        Just(Verb::Stop),
        Just(Verb::Tasks),
        (until(), 0..=Verb::MAX_WAIT_MS)
            .prop_map(|(until, limit_ms)| Verb::Wait { until, limit_ms }),
        open().prop_map(Verb::EventsOpen),
        event.clone().prop_map(|event| Verb::EventsEnable { event }),
        event
            .clone()
            .prop_map(|event| Verb::EventsDisable { event }),
        (event.clone(), any::<u64>())
            .prop_map(|(event, overflows)| Verb::EventsRefresh { event, overflows }),
        event.clone().prop_map(|event| Verb::EventsReset { event }),
        event.clone().prop_map(|event| Verb::EventsRead { event }),
        event.prop_map(|event| Verb::EventsClose { event }),
        Just(Verb::EventsList),
    ]
}

proptest! {
    /// Client and server agree on every request that there is.
    #[test]
    fn what_is_sent_is_what_is_read(id in id(), verb in any_verb()) {
        let request = Request { id, verb };
        let line = request.line();
        prop_assert_eq!(line.find('\n'), Some(line.len() - 1));
        let name = serde_json::from_str::<serde_json::Value>(&line).unwrap();
        prop_assert_eq!(&name["do"], request.verb.name());
        prop_assert_eq!(Request::parse(line.as_bytes()), Ok(request));
    }

    #[test]
    fn any_bytes_are_a_request_or_an_error_of_one_line(bytes: Vec<u8>) {
        if let Err(unparsed) = Request::parse(&bytes) {
            prop_assert!(!unparsed.refusal.message.contains('\n'));
        }
    }
}
