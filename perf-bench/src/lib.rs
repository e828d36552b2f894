// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the perf core costs, each figure beside a peer's in the same run.
//!
//! The peer is, where there is one, Linux's own perf core doing the same to a thread that ours does
//! to a guest's task. The two are not of one kind: ours is called as a library, Linux by a system
//! call, and every row says so ([`row::Kind`]). The figures are what a VMM would pay for either.
//!
//! What a guest's registers cost on top of it is here as well.
//!
//! [`measure`] times things that take turns, [`engine`] sets up ours, [`linux`] and [`baseline`] are
//! peers, [`running`] and [`kick`] make vCPU threads without KVM, [`rows`] says what is measured.
//! Nothing here needs privileges, and no figure fails anything.

pub mod baseline;
pub mod engine;
pub mod kick;
pub mod linux;
pub mod measure;
pub mod row;
pub mod rows;
pub mod running;
pub mod threads;
