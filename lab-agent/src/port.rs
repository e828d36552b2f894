// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The virtio-serial port to the host, as a stream of messages.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

use lab_agent::wire::{self, Decoder, Reply, Request, WireError};
use thiserror::Error;

/// What can go wrong on the port.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// The port's device failed.
    #[error("Port to the host: {0}")]
    Io(#[from] io::Error),
    /// The host sent something that is not our protocol.
    #[error("Host sent garbage: {0}")]
    Wire(#[from] WireError),
    /// The host closed the port.
    #[error("Host is gone")]
    Closed,
}

/// Both directions of the port.
pub(crate) struct Port {
    device: File,
    sender: Sender,
    decoder: Decoder,
}

/// The direction to the host; several threads may speak.
#[derive(Clone)]
pub(crate) struct Sender(Arc<Mutex<File>>);

impl Sender {
    /// Sends one message; waits while the host is slow to take it.
    pub(crate) fn send(&self, reply: &Reply) -> Result<(), Error> {
        let frame = wire::encode(reply)?;
        let mut device = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        device.write_all(&frame)?;
        Ok(())
    }
}

impl Port {
    /// Speaks over an opened port device.
    pub(crate) fn new(device: File) -> io::Result<Self> {
        Ok(Self {
            sender: Sender(Arc::new(Mutex::new(device.try_clone()?))),
            device,
            decoder: Decoder::default(),
        })
    }

    /// Sends one message; waits while the host is slow to take it.
    pub(crate) fn send(&mut self, reply: &Reply) -> Result<(), Error> {
        self.sender.send(reply)
    }

    /// The direction to the host alone.
    pub(crate) fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// Tells the host why the lab ends. There is nobody to tell if that fails.
    pub(crate) fn send_last_words(&mut self, why: &str) {
        let _ = self.send(&Reply::Broken(why.to_owned()));
    }

    /// Takes in what the host has sent; call when the port polls readable.
    pub(crate) fn receive(&mut self) -> Result<(), Error> {
        let mut buffer = vec![0; wire::CHUNK];
        let length = self.device.read(&mut buffer)?;
        if length == 0 {
            return Err(Error::Closed);
        }
        self.decoder.push(&buffer[..length]);
        Ok(())
    }

    /// The next whole request taken in.
    pub(crate) fn next_request(&mut self) -> Result<Option<Request>, Error> {
        Ok(self.decoder.next_message()?)
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}
