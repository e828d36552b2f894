// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Why a control socket cannot be served.

use std::io;
use std::path::PathBuf;

/// Why a control socket cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Somebody answers there.
    #[error("The control socket {} is in use by another perfvisor", .0.display())]
    InUse(PathBuf),
    /// There is a file of another kind, which is left alone.
    #[error("{} is there and no socket: choose another path or remove it", .0.display())]
    NoSocket(PathBuf),
    /// The socket cannot be made there.
    #[error("Cannot make the control socket {}", .path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The host gives no thread or descriptor.
    #[error("Cannot serve the control socket")]
    Host(#[source] io::Error),
}
