// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Event filters mean what KVM's mean: by tables of the documented cases, and by a reference that
//! follows the documented steps one by one.

mod reference;
mod tables;
mod text;
