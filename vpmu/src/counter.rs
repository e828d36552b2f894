// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One counter: its width, its writes, its distance to overflow.
