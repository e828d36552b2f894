// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `perfvisor ctl` against servers that say what each test has them say.

mod broken;
mod desk;
mod refusals;
mod sockets;
mod verbs;
