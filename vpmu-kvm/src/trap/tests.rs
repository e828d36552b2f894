// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The proofs of the RDPMC trap, each against the state that breaks just it.
