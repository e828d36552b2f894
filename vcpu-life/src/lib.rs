// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The life cycle of a VM's vCPUs: added, run, paused, removed, added again, stopped.
//!
//! A vCPU that goes away is where VMMs hang: somebody holds a lock and waits for a thread that wants
//! the lock, or a request slips past a thread on its way into the guest. Here all transitions of a
//! vCPU are in one pure type, [`Life`], and what threads do with them is in another, [`Cpus`], whose
//! rules are numbered and searched by a model checker. It knows no KVM: it wants to be told how a vCPU
//! is kicked ([`Kick`]), and stands on [`vcpu_call`] for the rest. A vCPU that is paused or removed
//! waits in [`Park::park`](vcpu_call::Park::park), so that whoever calls a function on it is answered.
//!
//! # A vCPU's thread
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicBool, Ordering};
//! use std::thread;
//! use std::time::Duration;
//!
//! use vcpu_call::{Calls, Park, Vcpu, VcpuId, Waker};
//! use vcpu_life::{Cpus, Goal, Kick, Next, Plug, VcpuState};
//!
//! /// Stands for a vCPU of KVM; the flag for its `immediate_exit`.
//! struct Machine {
//!     mail: Vcpu<(), ()>,
//!     kicked: Arc<AtomicBool>,
//! }
//!
//! impl Park for Machine {
//!     fn waker(&self) -> Waker {
//!         self.mail.waker()
//!     }
//!
//!     fn park(&mut self) {
//!         self.mail.park(|()| ());
//!     }
//! }
//!
//! struct SetsFlag(Arc<AtomicBool>);
//!
//! impl Kick for SetsFlag {
//!     fn kick(&self) -> bool {
//!         self.0.store(true, Ordering::SeqCst);
//!         true
//!     }
//! }
//!
//! fn thread_of(cpus: &Cpus, id: usize, mut vcpu: Machine) {
//!     cpus.bind(id, Box::new(SetsFlag(vcpu.kicked.clone())), vcpu.waker());
//!     loop {
//!         vcpu.kicked.store(false, Ordering::SeqCst); // First forget the kicks,
//!         cpus.expect_kicks(id);                      // then expect new ones,
//!         match cpus.advance(id, &mut vcpu) {         // then look.
//!             Next::Enter => {
//!                 // KVM_RUN, until it is kicked.
//!                 while !vcpu.kicked.load(Ordering::SeqCst) {
//!                     thread::yield_now();
//!                 }
//!             }
//!             Next::Plug => {
//!                 vcpu.mail.go_online(); // and registers as after power-up
//!                 cpus.plugged(id);
//!             }
//!             Next::Unplug => {
//!                 vcpu.mail.go_offline(|()| ());
//!                 cpus.unplugged(id);
//!             }
//!             Next::Leave | Next::Wait => break,
//!         }
//!     }
//!     cpus.finish(id);
//! }
//!
//! let calls: Calls<(), ()> = Calls::new(1, |_| ());
//! let cpus = Cpus::new(1, Arc::new(()));
//! let limit = Duration::from_secs(60);
//! assert_eq!(cpus.plug(0), Ok(Plug::Create));
//! let vcpu = Machine {
//!     mail: calls.vcpu(VcpuId(0)).unwrap(),
//!     kicked: Arc::default(),
//! };
//! thread::scope(|threads| {
//!     threads.spawn(|| thread_of(&cpus, 0, vcpu));
//!     cpus.ask_all(Goal::Run);
//!     cpus.wait_all(Goal::Run, limit).unwrap();
//!     // The guest gives it back, and the host adds it again.
//!     cpus.unplug(0).unwrap();
//!     cpus.wait_state(0, limit, |state| state == VcpuState::Offline);
//!     assert_eq!(cpus.plug(0), Ok(Plug::Wake));
//!     assert_eq!(cpus.wait_plugged(0, limit), Ok(VcpuState::Running));
//!     cpus.ask_all(Goal::Stop);
//!     cpus.wait_all(Goal::Stop, limit).unwrap();
//! });
//! ```

pub mod cpus;
mod life;
mod sync;

pub use cpus::{Cpus, Kick, Stuck, Watch};
pub use life::{Goal, Life, Next, Plug, Refused, VcpuState};
