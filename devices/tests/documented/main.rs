// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What `docs/hotplug.md` says of the hotplug controller happens.

use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use devices::{CpuHotplug, CpuHotplugEvents, CpuHotplugHandle, PioBus, Trigger};

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/hotplug.md");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines of the page's only block of this kind.
fn block<'a>(page: &'a str, kind: &str) -> Vec<&'a str> {
    let open = format!("```{kind}");
    let inside = page.lines().skip_while(|line| *line != open).skip(1);
    let lines: Vec<_> = inside.take_while(|line| *line != "```").collect();
    assert!(!lines.is_empty(), "the page has no {open}");
    lines
}

struct Line;

impl Trigger for Line {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// What the VMM heard, in the page's words.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl CpuHotplugEvents for Heard {
    fn ejected(&self, cpu: u8, asked: bool) {
        let asked = if asked { "asked" } else { "unasked" };
        self.0
            .lock()
            .unwrap()
            .push(format!("ejected {cpu} {asked}"));
    }

    fn refused(&self, cpu: u8) {
        self.0.lock().unwrap().push(format!("refused {cpu}"));
    }
}

fn number<T: TryFrom<u32>>(word: &str) -> T {
    let hex = word.strip_prefix("0x");
    let value = match hex {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => word.parse(),
    };
    let value = value.unwrap_or_else(|error| panic!("{word}: {error}"));
    T::try_from(value).unwrap_or_else(|_| panic!("{word} is too large"))
}

struct Replay {
    bus: PioBus,
    host: CpuHotplugHandle,
    heard: Arc<Heard>,
}

impl Replay {
    fn new() -> Self {
        let heard = Arc::new(Heard::default());
        let (device, host) = CpuHotplug::new(1, 2, Line, heard.clone()).unwrap();
        let mut bus = PioBus::new();
        bus.insert_shared(CpuHotplug::PORTS, Box::new(device))
            .unwrap();
        Self { bus, host, heard }
    }

    fn step(&self, line: &str) {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["guest:", "in", port, "=", value] => {
                let mut data = [0];
                self.bus.read(number(port), &mut data);
                assert_eq!(data, [number(value)], "{line}");
            }
            ["guest:", "out", port, ",", value] => self.bus.write(number(port), &[number(value)]),
            ["host:", "insert", cpu] => self.host.insert(number(cpu)).unwrap(),
            ["host:", "request", cpu] => self.host.request_removal(number(cpu)).unwrap(),
            ["host:", ..] => {
                let mut heard = self.heard.0.lock().unwrap();
                assert_eq!(*heard, [words[1..].join(" ")], "{line}");
                heard.clear();
            }
            _ => panic!("what is this: {line}"),
        }
    }
}

#[test]
fn the_page_tells_where_it_is() {
    let (first, last) = (CpuHotplug::PORTS.first(), CpuHotplug::PORTS.last());
    let page = page();
    for row in [
        format!("| Ports | {first:#05X} to {last:#05X} |").replace("0X", "0x"),
        format!(
            "| Interrupt | GSI {}, an edge, active high |",
            CpuHotplug::GSI
        ),
    ] {
        assert!(page.lines().any(|line| line == row), "no `{row}`");
    }
    let asl = block(&page, "asl").join("\n");
    assert!(asl.contains(&format!("SystemIO, {first:#05X}, 4)").replace("0X", "0x")));
    assert!(asl.contains(&format!("Exclusive) {{ {} }}", CpuHotplug::GSI)));
}

#[test]
fn the_page_can_be_replayed() {
    let replay = Replay::new();
    let page = page();
    for line in block(&page, "replay") {
        replay.step(line.split('#').next().unwrap_or_default());
    }
    assert_eq!(*replay.heard.0.lock().unwrap(), [""; 0], "heard at the end");
}
