// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One vCPU's life, with nobody else about.

mod model;
mod orders;
mod steps;
mod table;
