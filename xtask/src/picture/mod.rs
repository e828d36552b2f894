// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A trace as a picture: read, laid out in rows, drawn.

mod axis;
mod colour;
mod draw;
pub(crate) mod svg;
mod trace;

pub(crate) use draw::{Window, draw};
pub(crate) use trace::read;
