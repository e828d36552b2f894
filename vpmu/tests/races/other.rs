// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A second thread beside the rig's, which runs only when and as far as a test wants.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{JoinHandle, spawn};

use vcpu_call::{Calls, NotRun, Park, VcpuId, Waker};
use vpmu::context::{Caller, HostThread, PerfCall, PerfCallRef, PerfReply};

use crate::rig::*;

/// What the other thread is doing.
enum Doing {
    /// It waits for somebody who holds a gate.
    Waits,
    /// It calls a vCPU, which is the rig's.
    Calls(VcpuId, PerfCall, Sender<Result<PerfReply, NotRun>>),
}

/// The other thread as a caller: its calls are run by the rig's thread.
pub(crate) struct OtherCaller {
    host: HostThread,
    tell: Sender<Doing>,
}

/// The other thread as the test holds it.
pub(crate) struct Other<T> {
    doing: Receiver<Doing>,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Other<T> {
    /// Starts it.
    pub(crate) fn start(
        rig: &Rig,
        does: impl FnOnce(&RigPerf, &mut OtherCaller) -> T + Send + 'static,
    ) -> Self {
        let perf = rig.perf.clone();
        let (tell, doing) = channel();
        let thread = spawn(move || {
            // Calls of its own go through `tell`; this one waits and is woken only.
            let host = HostThread::new(&Calls::new(0, |_| ()));
            does(&perf, &mut OtherCaller { host, tell })
        });
        Self { doing, thread }
    }

    /// Returns when it stands in front of a gate.
    pub(crate) fn until_it_waits(&self) {
        match self.doing.recv() {
            Ok(Doing::Waits) => {}
            Ok(Doing::Calls(vcpu, call, _)) => panic!("it calls vCPU {vcpu}: {call:?}"),
            Err(_) => panic!("it ended without having waited"),
        }
    }

    /// Lets it go on to its end.
    pub(crate) fn finish(self, rig: &mut Rig) -> T {
        for doing in self.doing {
            match doing {
                Doing::Waits => {}
                Doing::Calls(vcpu, call, answer) => {
                    answer.send(rig.call(vcpu, call.by_ref())).unwrap();
                }
            }
        }
        self.thread.join().unwrap()
    }
}

impl Park for OtherCaller {
    fn waker(&self) -> Waker {
        self.host.waker()
    }

    fn park(&mut self) {
        self.tell.send(Doing::Waits).unwrap();
        self.host.park();
    }
}

impl Caller for OtherCaller {
    fn here(&self) -> Option<VcpuId> {
        None
    }

    fn call(&mut self, target: VcpuId, call: PerfCallRef<'_>) -> Result<PerfReply, NotRun> {
        let (answer, answered) = channel();
        self.tell
            .send(Doing::Calls(target, call.to_call(), answer))
            .unwrap();
        answered.recv().unwrap()
    }
}

/// Others that stand in front of a gate in this order.
pub(crate) struct Queue<T>(Rc<RefCell<Vec<Other<T>>>>);

/// What one of them is to do.
pub(crate) type Act<T> = Box<dyn FnOnce(&RigPerf, &mut OtherCaller) -> T + Send>;

impl<T: Send + 'static> Queue<T> {
    /// While the rig's next call is on its way, and the caller inside a gate, each of `acts` comes
    /// to that gate.
    pub(crate) fn while_called(rig: &mut Rig, acts: Vec<Act<T>>) -> Self {
        let queue = Rc::new(RefCell::new(Vec::new()));
        let line = Rc::clone(&queue);
        rig.before_call(move |rig, _| {
            for act in acts {
                let other = Other::start(rig, act);
                other.until_it_waits();
                line.borrow_mut().push(other);
            }
        });
        Self(queue)
    }

    /// Lets them in, one after the other.
    pub(crate) fn finish(self, rig: &mut Rig) -> Vec<T> {
        assert_eq!(rig.script_left(), 0, "nobody came to the gate");
        let others = self.0.take();
        others.into_iter().map(|other| other.finish(rig)).collect()
    }
}
