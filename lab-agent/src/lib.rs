// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the host side (`xtask`) and the lab's process 1 have in common: the wire format between
//! them.
//!
//! The lab is a small Linux in an emulated machine, booted only for its real `/dev/kvm`. Its
//! process 1 is this crate's binary: it runs the commands that the host asks for over a
//! virtio-serial port, one at a time, and sends back their output, exit and files.

pub mod wire;
