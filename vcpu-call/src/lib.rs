// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Run a function on another vCPU's thread and wait for it.
