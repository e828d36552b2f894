// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The host desk: a device at which a test kernel asks the host for what a guest cannot do itself,
//! such as to add a vCPU, and reads what came of it.
//!
//! Six registers of 32 bits from port 0xD00 on. Accesses of another width or place read ones and
//! are dropped.
//!
//! | offset | read | write |
//! |---|---|---|
//! | 0, 4 | ones | the two arguments of the next wish |
//! | 8 | 0 nothing asked for yet, 1 the wish is being served, 2 it is answered | the wish's number ([`wish::Wish`]): asks for it, unless one is being served |
//! | 12 | the [`wish::Outcome`] of the answered wish | - |
//! | 16, 20, 24 | the three words of its answer | - |
//!
//! No access waits for anything: a thread of the host serves the wishes ([`clerk`]), and the guest
//! looks until its wish is answered.

pub mod clerk;
pub mod footprint;
pub mod host;
pub mod storm;
pub mod task_storm;
pub mod tasks;
mod vm;
pub mod wish;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use devices::{BusDevice, PortRange};

use wish::{Answer, Request};

/// The desk's ports.
pub const PORTS: PortRange = match PortRange::new(0xd00, 0xd1b) {
    Some(ports) => ports,
    None => unreachable!(),
};

const ARGUMENTS: [u16; 2] = [0, 4];
const ASK: u16 = 8;
const OUTCOME: u16 = 12;
const WORDS: [u16; 3] = [16, 20, 24];

const IDLE: u32 = 0;
const BUSY: u32 = 1;
const ANSWERED: u32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Nothing,
    /// Nobody has taken it up yet.
    Posted(Request),
    BeingServed,
    Answered(Answer),
}

#[derive(Debug)]
struct State {
    wanted: Wanted,
    closed: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The guest's side: a device.
#[derive(Debug)]
pub struct DeskDevice {
    shared: Arc<Shared>,
    arguments: [u32; 2],
}

/// The host's side: where the wishes come from.
#[derive(Clone, Debug)]
pub struct Desk {
    shared: Arc<Shared>,
}

/// A desk: both of its sides.
///
/// ```
/// use devices::BusDevice;
/// use guest_tests::desk::{self, wish::{Answer, Outcome, Request}};
///
/// let (desk, mut device) = desk::open();
/// device.write(0, &3u32.to_le_bytes());
/// device.write(8, &4u32.to_le_bytes());
/// assert_eq!(desk.next(), Some(Request { number: 4, arguments: [3, 0] }));
/// desk.answer(Answer::of(Outcome::Done));
/// let mut status = [0; 4];
/// device.read(8, &mut status);
/// assert_eq!(status, 2u32.to_le_bytes());
/// ```
#[must_use]
pub fn open() -> (Desk, DeskDevice) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            wanted: Wanted::Nothing,
            closed: false,
        }),
        changed: Condvar::new(),
    });
    let desk = Desk {
        shared: Arc::clone(&shared),
    };
    let device = DeskDevice {
        shared,
        arguments: [0; 2],
    };
    (desk, device)
}

impl Desk {
    /// Waits for the next wish; `None` once the desk is closed.
    #[must_use]
    pub fn next(&self) -> Option<Request> {
        let mut state = self.shared.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Wanted::Posted(request) = state.wanted {
                state.wanted = Wanted::BeingServed;
                return Some(request);
            }
            state = self
                .shared
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Answers the wish that is being served.
    pub fn answer(&self, answer: Answer) {
        let mut state = self.shared.lock();
        if state.wanted == Wanted::BeingServed {
            state.wanted = Wanted::Answered(answer);
        }
    }

    /// No wish is served any more.
    pub fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }

    /// Whether [`close`](Self::close) was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.lock().closed
    }
}

impl BusDevice for DeskDevice {
    fn read(&mut self, offset: u16, data: &mut [u8]) {
        data.fill(0xff);
        let Ok(data) = <&mut [u8; 4]>::try_from(data) else {
            return;
        };
        let wanted = self.shared.lock().wanted;
        let word = match (offset, wanted) {
            (ASK, Wanted::Nothing) => IDLE,
            (ASK, Wanted::Posted(_) | Wanted::BeingServed) => BUSY,
            (ASK, Wanted::Answered(_)) => ANSWERED,
            (OUTCOME, Wanted::Answered(answer)) => answer.outcome.number(),
            (_, Wanted::Answered(answer)) => {
                let place = WORDS.iter().position(|&word| word == offset);
                let Some(place) = place else { return };
                answer.words[place]
            }
            _ => return,
        };
        *data = word.to_le_bytes();
    }

    fn write(&mut self, offset: u16, data: &[u8]) {
        let Ok(data) = <[u8; 4]>::try_from(data) else {
            return;
        };
        let word = u32::from_le_bytes(data);
        if let Some(place) = ARGUMENTS.iter().position(|&argument| argument == offset) {
            self.arguments[place] = word;
            return;
        }
        if offset != ASK {
            return;
        }
        let mut state = self.shared.lock();
        if matches!(state.wanted, Wanted::Nothing | Wanted::Answered(_)) {
            state.wanted = Wanted::Posted(Request {
                number: word,
                arguments: self.arguments,
            });
            drop(state);
            self.shared.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::wish::Outcome;
    use super::*;

    fn read(device: &mut DeskDevice, offset: u16) -> u32 {
        let mut data = [0; 4];
        device.read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    fn ask(device: &mut DeskDevice, number: u32, arguments: [u32; 2]) {
        device.write(0, &arguments[0].to_le_bytes());
        device.write(4, &arguments[1].to_le_bytes());
        device.write(8, &number.to_le_bytes());
    }

    #[test]
    fn a_wish_goes_to_the_host_and_its_answer_to_the_guest() {
        let (desk, mut device) = open();
        assert_eq!(read(&mut device, 8), IDLE);
        ask(&mut device, 2, [3, 500]);
        assert_eq!(read(&mut device, 8), BUSY);
        let wish = Request {
            number: 2,
            arguments: [3, 500],
        };
        assert_eq!(desk.next(), Some(wish));
        assert_eq!(read(&mut device, 8), BUSY);
        assert_eq!(read(&mut device, 12), u32::MAX);
        desk.answer(Answer {
            outcome: Outcome::NotHonoured,
            words: [7, 8, 9],
        });
        assert_eq!(read(&mut device, 8), ANSWERED);
        assert_eq!(read(&mut device, 12), Outcome::NotHonoured.number());
        let words = [16, 20, 24].map(|offset| read(&mut device, offset));
        assert_eq!(words, [7, 8, 9]);
    }

    #[test]
    fn one_wish_is_served_at_a_time() {
        let (desk, mut device) = open();
        ask(&mut device, 1, [1, 0]);
        ask(&mut device, 2, [2, 0]);
        assert_eq!(desk.next().unwrap().number, 1);
        ask(&mut device, 3, [3, 0]);
        desk.answer(Answer::of(Outcome::Done));
        ask(&mut device, 4, [4, 0]);
        let wish = desk.next().unwrap();
        assert_eq!((wish.number, wish.arguments), (4, [4, 0]));
    }

    #[test]
    fn an_answer_to_nothing_is_none() {
        let (desk, mut device) = open();
        desk.answer(Answer::of(Outcome::Done));
        assert_eq!(read(&mut device, 8), IDLE);
    }

    #[test]
    fn a_closed_desk_serves_nobody() {
        let (desk, mut device) = open();
        let waits = thread::spawn({
            let desk = desk.clone();
            move || desk.next()
        });
        desk.close();
        assert_eq!(waits.join().unwrap(), None);
        ask(&mut device, 1, [0; 2]);
        assert_eq!(desk.next(), None);
        assert!(desk.is_closed());
    }

    #[test]
    fn what_is_no_register_reads_ones_and_takes_nothing() {
        let (desk, mut device) = open();
        for offset in 0..28 {
            device.write(offset, &[1]);
            device.write(offset, &[1, 0]);
        }
        for offset in [1, 2, 3, 5, 9, 10, 12, 16, 27] {
            device.write(offset, &[1, 0, 0, 0]);
            assert_eq!(read(&mut device, offset), u32::MAX, "{offset}");
        }
        assert_eq!(read(&mut device, 8), IDLE);
        let mut byte = [0];
        device.read(8, &mut byte);
        assert_eq!(byte, [0xff]);
        desk.close();
        assert_eq!(desk.next(), None);
    }
}
