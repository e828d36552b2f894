// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The work there is for mutants that need no guest, done in several workshops at once. Each builds
//! while the tests that it built before are run: a test that hangs holds nobody up.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError, mpsc};
use std::thread;

use anyhow::Result;

use super::native::{Built, Tried, Workshop};
use super::patch::{Killer, Patch, Test};

/// How many tests a workshop may have running. Most are over at once; a dozen may hang, which
/// takes minutes and next to no computing.
const RUNNING: u32 = 16;

/// Something to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job<'a> {
    /// A test on the tree as it is.
    Unmutated(&'a Test),
    /// A mutant, and the test that must notice.
    Mutant(&'a Patch, &'a Test),
}

/// All there is to do for `patches`: each test without a mutant, then its mutants. What is built
/// alike stands together.
pub(crate) fn jobs(patches: &[Patch]) -> Vec<Job<'_>> {
    let mut native: Vec<(&Test, &Patch)> = patches
        .iter()
        .filter_map(|patch| match &patch.killer {
            Killer::Native(test) => Some((test, patch)),
            Killer::Kvm(_) | Killer::Kernel { .. } => None,
        })
        .collect();
    native.sort_by_key(|&(test, _)| test);
    native
        .chunk_by(|(a, _), (b, _)| a == b)
        .flat_map(|of_one_test| {
            let mutants = of_one_test
                .iter()
                .map(|&(test, patch)| Job::Mutant(patch, test));
            [Job::Unmutated(of_one_test[0].0)]
                .into_iter()
                .chain(mutants)
        })
        .collect()
}

/// Does the jobs and reports each as it is done. Half the workshops begin at the other end: so
/// hardly anything is built twice, since what is built alike is mostly left to one of them.
pub(crate) fn work<'a>(
    jobs: Vec<Job<'a>>,
    workshops: &mut [Workshop],
    mut report: impl FnMut(Job<'a>, Result<Tried>),
) {
    let jobs = Mutex::new(VecDeque::from(jobs));
    let (sender, done) = mpsc::channel();
    thread::scope(|scope| {
        for (number, workshop) in workshops.iter_mut().enumerate() {
            let (jobs, sender) = (&jobs, sender.clone());
            scope.spawn(move || {
                let places = Places::new(RUNNING);
                thread::scope(|runs| {
                    while let Some(job) = take(jobs, number % 2 == 0) {
                        let built = match job {
                            Job::Unmutated(test) => workshop.build_unmutated(test),
                            Job::Mutant(patch, test) => workshop.build_mutant(patch, test),
                        };
                        let (place, sender) = (places.take(), sender.clone());
                        runs.spawn(move || {
                            let _place = place;
                            // Whoever hears of it is there to the end.
                            let _ = sender.send((job, built.and_then(Built::run)));
                        });
                    }
                });
            });
        }
        drop(sender);
        for (job, tried) in done {
            report(job, tried);
        }
    });
}

fn take<T>(jobs: &Mutex<VecDeque<T>>, from_front: bool) -> Option<T> {
    let mut jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
    if from_front {
        jobs.pop_front()
    } else {
        jobs.pop_back()
    }
}

/// Places that are taken and given back.
struct Places {
    free: Mutex<u32>,
    given_back: Condvar,
}

/// One of [`Places`], until it is dropped.
struct Place<'a>(&'a Places);

impl Places {
    fn new(free: u32) -> Self {
        Self {
            free: Mutex::new(free),
            given_back: Condvar::new(),
        }
    }

    /// Waits until one is free.
    fn take(&self) -> Place<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self
            .given_back
            .wait_while(free, |free| *free == 0)
            .unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Place(self)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.given_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::super::patch::Binary;
    use super::*;
    use crate::model::Model;

    fn patch(name: &str, model: Option<Model>, test: &str) -> Patch {
        let binary = Binary {
            model,
            package: "vpmu".to_owned(),
            file: Some("rules".to_owned()),
        };
        Patch {
            killer: Killer::Native(Test {
                binary,
                name: test.to_owned(),
            }),
            ..Patch::sample(name)
        }
    }

    #[test]
    fn each_test_is_tried_once_without_and_then_with_its_mutants() {
        let patches = [
            patch("a", None, "t2"),
            patch("b", Some(Model::Loom), "t1"),
            patch("c", None, "t1"),
            patch("d", None, "t2"),
            Patch::sample("of-a-guest"),
        ];
        let order: Vec<String> = jobs(&patches)
            .iter()
            .map(|job| match job {
                Job::Unmutated(test) => test.to_string(),
                Job::Mutant(patch, _) => patch.name.clone(),
            })
            .collect();
        let wanted = [
            "vpmu/rules t1",
            "c",
            "vpmu/rules t2",
            "a",
            "d",
            "vpmu/rules t1",
            "b",
        ];
        assert_eq!(order, wanted);
    }
    #[test]
    fn no_more_are_taken_than_there_are() {
        let places = Places::new(2);
        let (first, _second) = (places.take(), places.take());
        thread::scope(|scope| {
            let (sender, taken) = mpsc::channel();
            let places = &places;
            scope.spawn(move || {
                let _third = places.take();
                sender.send(()).unwrap();
            });
            assert_eq!(*places.free.lock().unwrap(), 0);
            assert_eq!(taken.try_recv(), Err(mpsc::TryRecvError::Empty));
            drop(first);
            taken.recv().unwrap();
        });
        assert_eq!(*places.free.lock().unwrap(), 1);
    }
}
