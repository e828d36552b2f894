// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Forged #GP frames.

use rt::cpu::{rflags, selector};
use rt::probe::{self, Cpl};
use rt::session;

/// A #GP frame as the CPU would push it, from low to high addresses.
#[derive(Clone, Copy)]
pub(crate) struct Forged {
    pub(crate) error: u64,
    pub(crate) rip: u64,
    pub(crate) cs: u64,
    pub(crate) rflags: u64,
    pub(crate) rsp: u64,
    pub(crate) ss: u64,
}

/// Bytes of a frame.
pub(crate) const FRAME: u64 = 48;

impl Forged {
    /// A frame of user code at its RDPMC.
    pub(crate) fn user() -> Self {
        Self {
            error: 0,
            rip: probe::RDPMC.address(Cpl::Three),
            cs: selector::USER_CODE,
            rflags: rflags::FIXED | rflags::IF,
            rsp: session::user_stack(),
            ss: selector::USER_DATA,
        }
    }

    /// A frame of kernel code at its RDPMC, for a place on a stack.
    pub(crate) fn kernel(place: u64) -> Self {
        Self {
            error: 0,
            rip: probe::RDPMC.address(Cpl::Zero),
            cs: selector::KERNEL_CODE,
            rflags: rflags::FIXED,
            rsp: place + FRAME,
            ss: selector::KERNEL_DATA,
        }
    }

    pub(crate) fn put(self, place: u64) {
        let words = [
            self.error,
            self.rip,
            self.cs,
            self.rflags,
            self.rsp,
            self.ss,
        ];
        // SAFETY: the callers name places on stacks that nothing uses at the moment.
        unsafe { (place as *mut [u64; 6]).write(words) };
    }
}

/// The frames user code would like the host to believe.
pub(crate) fn tempting() -> [(&'static str, Forged); 7] {
    let user = Forged::user();
    let all_io = user.rflags | rflags::IOPL;
    let (kernel_code, kernel_data) = (selector::KERNEL_CODE, selector::KERNEL_DATA);
    let kernel_rip = probe::RDPMC.address(Cpl::Zero);
    [
        ("a plausible frame", user),
        (
            "IOPL 3",
            Forged {
                rflags: all_io,
                ..user
            },
        ),
        (
            "kernel CS and SS",
            Forged {
                cs: kernel_code,
                ss: kernel_data,
                ..user
            },
        ),
        (
            "kernel CS, user SS",
            Forged {
                cs: kernel_code,
                ..user
            },
        ),
        (
            "kernel code",
            Forged {
                rip: kernel_rip,
                cs: kernel_code,
                ss: kernel_data,
                ..user
            },
        ),
        (
            "a kernel stack",
            Forged {
                rsp: session::trap_stack(),
                ..user
            },
        ),
        (
            "another error code",
            Forged {
                error: 8,
                rflags: all_io,
                ..user
            },
        ),
    ]
}
