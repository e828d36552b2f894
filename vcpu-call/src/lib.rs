// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Run a function on another vCPU's thread and wait for it.
//!
//! A VMM keeps one host thread a vCPU, and some work has to happen on that very thread: changing
//! what its counters count, pausing it, taking it offline. This crate will hold the mailbox that
//! carries such calls, the trait by which the VMM kicks a vCPU out of its guest, and the three
//! rules that keep it from hanging: a vCPU thread that waits for a call serves its own mailbox
//! meanwhile; accepting or refusing a call is atomic with going offline; a call that was accepted
//! always completes. It is empty as yet: the perf core and vCPU hotplug, which stand on it, come
//! with it.
