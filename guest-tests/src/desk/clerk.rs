// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Serves the wishes of a desk, one after the other.

use std::thread;
use std::time::Duration;

use super::Desk;
use super::footprint::Footprint;
use super::host::{Count, Failure, Host, State};
use super::storm;
use super::task_storm::{Storm, Tally};
use super::tasks::{Clients, TaskEvents};
use super::wish::{Answer, Outcome, Wish};

/// Serves the wishes at `desk` until it is closed, those about guest tasks as one or two of
/// `clients`. Storms are as random as `seed` makes them. Returns what is worth printing.
pub fn serve<C: Clients>(desk: &Desk, host: &impl Host, clients: &C, seed: u64) -> Vec<String>
where
    C::Client: Send + 'static,
{
    let mut clerk = Clerk {
        desk,
        host,
        clients,
        watches: Vec::new(),
        tasks: None,
        task_storm: None,
        stormed: Tally::default(),
        seed,
        notes: Vec::new(),
    };
    while let Some(request) = desk.next() {
        let answer = match request.into() {
            Some(wish) => clerk.grant(wish),
            None => Answer::of(Outcome::Unknown),
        };
        desk.answer(answer);
    }
    clerk.end_task_storm();
    clerk.notes
}

struct Clerk<'a, H: Host, C: Clients> {
    desk: &'a Desk,
    host: &'a H,
    clients: &'a C,
    /// By their numbers; those that ended leave a gap.
    watches: Vec<Option<H::Watch>>,
    /// From the first wish about a task on.
    tasks: Option<TaskEvents<C::Client>>,
    task_storm: Option<Storm>,
    /// What the last storm on tasks did.
    stormed: Tally,
    seed: u64,
    notes: Vec<String>,
}

impl<H: Host, C: Clients> Clerk<'_, H, C>
where
    C::Client: Send + 'static,
{
    fn grant(&mut self, wish: Wish) -> Answer {
        let granted = match wish {
            Wish::Add(vcpu) => self.host.add(vcpu).map(|id| [id, 0, 0]),
            Wish::Remove(vcpu, limit) => self.host.remove(vcpu, limit).map(|()| [0; 3]),
            Wish::Pause(stay) => self.pause(stay),
            Wish::State(vcpu) => self.state(vcpu),
            Wish::Watch(vcpu) => self.watch(vcpu),
            Wish::Count(watch) => self.count(watch),
            Wish::Unwatch(watch) => self.unwatch(watch),
            Wish::Footprint => Ok(self.footprint()),
            Wish::Storm(changes) => Ok(self.storm(changes)),
            Wish::TaskOpen(task, event) => self.tasks().and_then(|tasks| tasks.open(task, event)),
            Wish::TaskChange(event, change) => {
                self.tasks().and_then(|tasks| tasks.change(event, change))
            }
            Wish::TaskRead(event) => self.tasks().and_then(|tasks| tasks.read(event)),
            Wish::TaskTraps(event) => self.tasks().and_then(|tasks| tasks.traps(event)),
            Wish::TaskClose(event) => self.tasks().and_then(|tasks| tasks.close(event)),
            Wish::TaskStorm(true) => self.begin_task_storm(),
            Wish::TaskStorm(false) => Ok(self.end_task_storm()),
            Wish::TaskStormTraps => {
                let Tally {
                    exact, least, most, ..
                } = self.stormed;
                Ok([exact, least, most].map(|traps| u32::try_from(traps).unwrap_or(u32::MAX)))
            }
        };
        match granted {
            Ok(words) => Answer::granted(words),
            Err(failure) => {
                if failure.outcome == Outcome::Fault {
                    self.notes.push(format!("{wish:?}: {}", failure.words));
                }
                Answer::of(failure.outcome)
            }
        }
    }

    fn client(&self) -> Result<C::Client, Failure> {
        self.clients.client().map_err(|error| Failure {
            outcome: Outcome::Fault,
            words: format!("the control socket: {error}"),
        })
    }

    fn tasks(&mut self) -> Result<&mut TaskEvents<C::Client>, Failure> {
        if self.tasks.is_none() {
            self.tasks = Some(TaskEvents::new(self.client()?));
        }
        self.tasks.as_mut().ok_or(quiet(Outcome::Unknown))
    }

    fn begin_task_storm(&mut self) -> Result<[u32; 3], Failure> {
        self.end_task_storm();
        let seed = self.seed;
        self.seed = seed.wrapping_add(1);
        self.task_storm = Some(Storm::start(self.client()?, seed));
        Ok([0; 3])
    }

    fn end_task_storm(&mut self) -> [u32; 3] {
        let Some(storm) = self.task_storm.take() else {
            return [0; 3];
        };
        self.stormed = storm.stop();
        self.notes.push(format!("storm on tasks: {}", self.stormed));
        [self.stormed.asked, word(self.stormed.faults.len()), 0]
    }

    fn pause(&self, stay: Duration) -> Result<[u32; 3], Failure> {
        self.host.pause()?;
        let looked = self.look(stay);
        self.host.resume()?;
        looked
    }

    /// While the VM stands still.
    fn look(&self, stay: Duration) -> Result<[u32; 3], Failure> {
        let before = self.counts()?;
        // How long the pause is to be; nothing waits for it.
        thread::sleep(stay);
        let after = self.counts()?;
        let same = before.iter().zip(&after).filter(|(a, b)| a == b).count();
        let awake = self
            .host
            .states()
            .into_iter()
            .filter(|state| !matches!(state, State::Paused | State::Absent | State::Offline))
            .count();
        Ok([same, after.len() - same, awake].map(word))
    }

    fn counts(&self) -> Result<Vec<Count>, Failure> {
        let watches = self.watches.iter().flatten();
        watches.map(|watch| self.host.count(watch)).collect()
    }

    fn state(&self, vcpu: u32) -> Result<[u32; 3], Failure> {
        let states = self.host.states();
        let state = usize::try_from(vcpu).ok().and_then(|id| states.get(id));
        match state {
            Some(state) => Ok([state.number(), 0, 0]),
            None => Err(quiet(Outcome::NoSuchVcpu)),
        }
    }

    fn watch(&mut self, vcpu: u32) -> Result<[u32; 3], Failure> {
        let watch = self.host.watch(vcpu)?;
        self.watches.push(Some(watch));
        Ok([word(self.watches.len() - 1), 0, 0])
    }

    fn count(&self, number: u32) -> Result<[u32; 3], Failure> {
        let watch = usize::try_from(number)
            .ok()
            .and_then(|number| self.watches.get(number)?.as_ref());
        let count = self.host.count(watch.ok_or(quiet(Outcome::Unknown))?)?;
        let [a, b, c, d, e, f, g, h] = count.cycles.to_le_bytes();
        let low = u32::from_le_bytes([a, b, c, d]);
        let high = u32::from_le_bytes([e, f, g, h]);
        Ok([low, high, count.counts_on.into()])
    }

    fn unwatch(&mut self, number: u32) -> Result<[u32; 3], Failure> {
        let watch = usize::try_from(number)
            .ok()
            .and_then(|number| self.watches.get_mut(number)?.take());
        self.host.unwatch(watch.ok_or(quiet(Outcome::Unknown))?)?;
        Ok([0; 3])
    }

    fn footprint(&mut self) -> [u32; 3] {
        let footprint = Footprint::now();
        self.notes.push(format!("the host: {footprint}"));
        [footprint.rss_kib, footprint.files, footprint.threads]
    }

    fn storm(&mut self, changes: u32) -> [u32; 3] {
        let seed = self.seed;
        self.seed = seed.wrapping_add(1);
        let tally = storm::run(self.host, seed, changes, &|| self.desk.is_closed());
        self.notes.push(format!("storm of seed {seed}: {tally}"));
        [tally.came, tally.went, word(tally.faults.len())]
    }
}

fn quiet(outcome: Outcome) -> Failure {
    Failure {
        outcome,
        words: String::new(),
    }
}

/// As many as fit; no count here comes near.
pub(super) fn word(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

    use std::io;

    use devices::BusDevice;
    use serde_json::json;
    use vmm::control::{self, ErrorKind, Refusal, Verb};

    use super::super::tasks::Client;
    use super::super::{DeskDevice, open};
    use super::*;

    /// A VM with a vCPU 0 that runs and a vCPU 1 that never came.
    #[derive(Default)]
    struct Fake {
        paused: AtomicBool,
        /// Every watch reads it.
        cycles: AtomicU64,
        /// Counters run on while the VM is paused.
        leaks: bool,
    }

    impl Host for Fake {
        type Watch = u32;

        fn add(&self, vcpu: Option<u32>) -> Result<u32, Failure> {
            match vcpu {
                None => Ok(1),
                Some(0) => Err(quiet(Outcome::Present)),
                Some(_) => Err(Failure {
                    outcome: Outcome::Fault,
                    words: "it broke".to_owned(),
                }),
            }
        }

        fn remove(&self, _vcpu: u32, limit: Duration) -> Result<(), Failure> {
            assert_eq!(limit, Duration::from_millis(20));
            Err(quiet(Outcome::NotHonoured))
        }

        fn pause(&self) -> Result<(), Failure> {
            self.paused.store(true, SeqCst);
            Ok(())
        }

        fn resume(&self) -> Result<(), Failure> {
            self.paused.store(false, SeqCst);
            Ok(())
        }

        fn states(&self) -> Vec<State> {
            let paused = self.paused.load(SeqCst) && !self.leaks;
            let first = if paused {
                State::Paused
            } else {
                State::Running
            };
            vec![first, State::Absent]
        }

        fn watch(&self, vcpu: u32) -> Result<u32, Failure> {
            if vcpu == 0 {
                Ok(vcpu)
            } else {
                Err(quiet(Outcome::Perf))
            }
        }

        fn count(&self, _watch: &u32) -> Result<Count, Failure> {
            let counts = !self.paused.load(SeqCst) || self.leaks;
            Ok(Count {
                cycles: self.cycles.fetch_add(counts.into(), SeqCst),
                counts_on: true,
            })
        }

        fn unwatch(&self, _watch: u32) -> Result<(), Failure> {
            Ok(())
        }
    }

    /// A control socket with one task, whose one event is of number 9.
    struct Socket;

    struct Plug;

    impl Clients for Socket {
        type Client = Plug;

        fn client(&self) -> io::Result<Plug> {
            Ok(Plug)
        }
    }

    impl Client for Plug {
        fn ask(&mut self, verb: Verb) -> io::Result<control::Answer> {
            let refused = |kind| Err(Refusal::new(kind, "no"));
            let state = json!({ "event": 9, "state": "off" });
            let result = match verb {
                Verb::EventsOpen(open) if open.task == Some(2) => {
                    assert_eq!(open.sigtrap.is_some(), open.period == Some(3));
                    Ok(json!({ "event": 9, "installed": true, "rounds": 5, "state": "active" }))
                }
                Verb::EventsOpen(_) => refused(ErrorKind::NoSuchTask),
                Verb::EventsRefresh { event: 9, .. } => refused(ErrorKind::Perf),
                Verb::EventsDisable { event: 9 } => Ok(state),
                Verb::EventsRead { event: 9 } => Ok(json!({
                    "event": 9, "task": 2, "name": "port.tick", "source": "",
                    "count": 7_u64 << 32 | 5, "enabled_ns": 1, "running_ns": 1, "scaled": 0,
                    "state": "inactive", "overflows": 9, "left": null,
                    "traps": { "queued": 6, "merged": 3, "refused": 0, "sent": 4, "dropped": 1 }
                })),
                Verb::EventsClose { event: 9 } => Ok(json!({ "closed": 9 })),
                _ => refused(ErrorKind::Internal),
            };
            Ok(control::Answer { id: None, result })
        }
    }

    #[test]
    fn events_on_tasks_go_by_their_numbers_at_the_desk() {
        let (answers, notes) = answers(
            &Fake::default(),
            &[
                (10, [2, 0x302]),
                (10, [3, 0]),
                (11, [0, 1]),
                (11, [0, 0x503]),
                (12, [0, 0]),
                (13, [0, 0]),
                (12, [1, 0]),
                (11, [0, 2]),
                (14, [0, 0]),
                (14, [0, 0]),
            ],
        );
        let outcomes: Vec<u32> = answers.iter().map(|answer| answer[0]).collect();
        let wanted = [
            Outcome::Done,
            Outcome::NoSuchTask,
            Outcome::Done,
            Outcome::Perf,
            Outcome::Done,
            Outcome::Done,
            Outcome::Unknown,
            Outcome::Fault,
            Outcome::Done,
            Outcome::Unknown,
        ];
        assert_eq!(outcomes, wanted.map(Outcome::number));
        assert_eq!(answers[0][1..], [0, 5, 4]);
        assert_eq!(answers[2][1..], [2, 0, 0]);
        assert_eq!(answers[4][1..], [5, 7, 3]);
        assert_eq!(answers[5][1..], [6, 3, 4]);
        assert_eq!(notes, ["TaskChange(0, Reset): no"]);
    }

    /// Asks for each of these wishes in turn; their answers, and what the clerk noted.
    fn answers(host: &Fake, wishes: &[(u32, [u32; 2])]) -> (Vec<[u32; 4]>, Vec<String>) {
        let (desk, mut device) = open();
        thread::scope(|threads| {
            let clerk = threads.spawn(|| serve(&desk, host, &Socket, 1));
            let answers = wishes.iter().map(|wish| ask(&mut device, *wish)).collect();
            desk.close();
            (answers, clerk.join().unwrap())
        })
    }

    fn ask(device: &mut DeskDevice, (number, arguments): (u32, [u32; 2])) -> [u32; 4] {
        for (offset, word) in [(0, arguments[0]), (4, arguments[1]), (8, number)] {
            device.write(offset, &word.to_le_bytes());
        }
        let mut read = |offset| {
            let mut data = [0; 4];
            device.read(offset, &mut data);
            u32::from_le_bytes(data)
        };
        while read(8) != 2 {
            thread::yield_now();
        }
        [12, 16, 20, 24].map(read)
    }

    #[test]
    fn wishes_are_granted_or_refused_with_the_outcome() {
        let host = Fake::default();
        let (answers, notes) = answers(
            &host,
            &[
                (1, [u32::MAX, 0]),
                (1, [0, 0]),
                (1, [7, 0]),
                (2, [1, 20]),
                (4, [0, 0]),
                (4, [1, 0]),
                (4, [2, 0]),
                (77, [0, 0]),
            ],
        );
        let outcomes: Vec<u32> = answers.iter().map(|answer| answer[0]).collect();
        let wanted = [
            Outcome::Done,
            Outcome::Present,
            Outcome::Fault,
            Outcome::NotHonoured,
            Outcome::Done,
            Outcome::Done,
            Outcome::NoSuchVcpu,
            Outcome::Unknown,
        ];
        assert_eq!(outcomes, wanted.map(Outcome::number));
        assert_eq!(answers[0][1], 1);
        let states = [answers[4][1], answers[5][1]];
        assert_eq!(states, [State::Running, State::Absent].map(State::number));
        assert_eq!(notes, ["Add(Some(7)): it broke"]);
    }

    #[test]
    fn a_pause_says_what_moved_during_it() {
        let wishes = [(5, [0, 0]), (5, [0, 0]), (3, [1, 0]), (3, [0, 0])];
        for (leaks, wanted) in [(false, [0, 2, 0, 0]), (true, [0, 0, 2, 1])] {
            let host = Fake {
                leaks,
                ..Fake::default()
            };
            let (answers, _) = answers(&host, &wishes);
            assert_eq!(answers[2..], [wanted, wanted]);
            assert!(!host.paused.load(SeqCst));
        }
    }

    #[test]
    fn a_watch_counts_until_it_is_ended() {
        let host = Fake {
            cycles: AtomicU64::new(7 << 32 | 5),
            ..Fake::default()
        };
        let wishes = [
            (5, [1, 0]),
            (5, [0, 0]),
            (6, [0, 0]),
            (6, [1, 0]),
            (7, [0, 0]),
            (7, [0, 0]),
            (6, [0, 0]),
        ];
        let (answers, _) = answers(&host, &wishes);
        assert_eq!(answers[0][0], Outcome::Perf.number());
        assert_eq!(answers[1], [0, 0, 0, 0]);
        assert_eq!(answers[2], [0, 5, 7, 1]);
        let outcomes: Vec<u32> = answers[3..].iter().map(|answer| answer[0]).collect();
        let unknown = Outcome::Unknown.number();
        assert_eq!(outcomes, [unknown, 0, unknown, unknown]);
    }

    #[test]
    fn the_footprint_is_answered_and_noted() {
        let (answers, notes) = answers(&Fake::default(), &[(8, [0, 0])]);
        assert!(answers[0][1..].iter().all(|&figure| figure > 0));
        assert!(notes[0].contains("threads"), "{notes:?}");
    }
}
