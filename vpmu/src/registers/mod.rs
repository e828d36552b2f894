// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The rules the registers keep. The tests that hold a rule carry its number.
//!
//! The register files are pure state machines: every access of the guest and every entry to it is
//! a call, time and counts come in through [`CounterSource`] and [`Nanos`], interrupts go out
//! through [`PmiSink`](crate::PmiSink). This module has no items of its own to call;
//! [`VcpuPmu`](crate::VcpuPmu) is the door.
//!
//! "SDM" is the Intel 64 and IA-32 Architectures Software Developer's Manual. Its chapter
//! "Performance Monitoring" has been number 18, 19, 20 and 21 of volume 3B as editions went by, so
//! that sections are named here by their titles.
//!
//! # Registers
//!
//! | MSR | Name | Reset | Rules |
//! |---|---|---|---|
//! | 0C1H + n | IA32_PMCn | 0 | P02, P10 |
//! | 186H + n | IA32_PERFEVTSELn | 0 | P03 |
//! | 38EH | IA32_PERF_GLOBAL_STATUS | 0 | P05 |
//! | 38FH | IA32_PERF_GLOBAL_CTRL | a one for each counter | P04 |
//! | 390H | IA32_PERF_GLOBAL_OVF_CTRL | reads 0 | P06 |
//!
//! - **P01** Every other MSR of [`PMU_MSR_RANGES`](crate::PMU_MSR_RANGES), counters that the model
//!   does not have included, takes #GP on RDMSR and WRMSR. An MSR outside them is not handled.
//! - **P02** WRMSR to IA32_PMCn takes bits 31:0, sign-extended from bit 31 to the counter's width;
//!   bits 63:32 are ignored and never fault (SDM "Full-Width Writes to Performance Counter
//!   Registers": what WRMSR puts into IA32_PMCx is EAX\[31:0\], sign-extended; EDX matters to
//!   IA32_A_PMCx only). Reads return the counter's width, zeroes above.
//! - **P03** WRMSR to IA32_PERFEVTSELn takes #GP, and changes nothing, if one of bits 63:32 is set
//!   or, below architectural version 3, bit 21: AnyThread comes with version 3 (SDM "Architectural
//!   Performance Monitoring Version 3"), and figure "Layout of IA32_PERFEVTSELx MSRs" of version 1
//!   has bit 21 reserved. Any other value is accepted and read back as written. PC (bit 19) is
//!   legal and does nothing: a virtual CPU has no PMi pins to toggle, and what is counted does not
//!   depend on it.
//! - **P04** IA32_PERF_GLOBAL_CTRL starts with the bits of all general-purpose counters set (SDM
//!   volume 3A, table "IA-32 and Intel 64 Processor States Following Power-up, Reset, or INIT");
//!   any other bit is reserved: #GP, nothing changes.
//! - **P05** IA32_PERF_GLOBAL_STATUS holds one bit a counter, nothing else, and is read-only: WRMSR
//!   takes #GP (SDM "Architectural Performance Monitoring Version 2").
//! - **P06** IA32_PERF_GLOBAL_OVF_CTRL clears the status bits that are written as one. Bits 62
//!   (ClrOvfBuffer) and 63 (ClrCondChgd) are defined and accepted, and have nothing to clear. Any
//!   other bit is reserved: #GP, nothing changes. Reads return 0.
//! - **P07** RDPMC with ECX = n returns what RDMSR of IA32_PMCn does. Any other ECX, bit 30 (fixed
//!   counters) and bit 31 (fast read) included, takes #GP (SDM volume 2B, RDPMC).
//!
//! # Counting
//!
//! - **P08** A counter is *enabled* while EN (bit 22) of its select and its bit of
//!   IA32_PERF_GLOBAL_CTRL are set (SDM table "IA-32 Architectural MSRs", 38FH). It *runs* while it
//!   is enabled and the source counts its event. It counts while it runs and at no other time:
//!   whatever changes that first takes the counts so far. A counter that does not run stands
//!   still: value, status bit and PMI.
//! - **P09** Between two writes, reads of a counter never go back, except where a visible overflow
//!   (P13, P14) takes 2^width away. No count is lost or made up: what was written, plus what the
//!   source counted, is the value plus 2^width for each visible overflow (plus what is held, P14).
//! - **P10** A write to a counter counts from the new value on, also while it is enabled. An
//!   overflow that was due and not yet visible is gone: the guest never saw it.
//! - **P11** A select that the source cannot count is accepted and counts nothing. Each distinct
//!   one (EN, INT and PC apart) is told to the observer once, when a counter is first enabled with
//!   it, and kept in the statistics, as long as there is room there.
//! - **P12** A select with neither USR nor OS set asks for nothing: it counts nothing, and that is
//!   right and not reported.
//!
//! # Overflow
//!
//! An overflow is *due* when the counter has run past 2^width. It becomes *visible* when the status
//! bit is set and the value wraps, in one step.
//!
//! - **P13** Without INT (bit 20 of the select), a due overflow of a running counter is visible at
//!   once: no access and no entry ever finds it hidden.
//! - **P14** With INT it becomes visible in one step with its PMI, and only in
//!   [`enter_guest`](crate::VcpuPmu::enter_guest). Until then reads return 2^width - 1 and the
//!   status bit is clear. All overflows due at that moment become visible together and ask for one
//!   PMI.
//! - **P15** Whether the counter runs, and has INT, is judged at that moment. A guest that disabled
//!   the counter gets neither status bit nor PMI: the counter stays at 2^width - 1 until it runs
//!   again, when the overflow is due as before, or is written (P10). If it runs with INT cleared,
//!   P13 holds.
//! - **P16** If the sink finds the LVTPC masked, or its delivery mode impossible, the overflow is
//!   visible without a PMI, as on hardware; later unmasking brings none.
//! - **P17** If the sink fails, nothing became visible: the next entry tries again.
//! - **P18** A counter that wrapped several times unseen becomes visible as one: the wraps are
//!   counted in the statistics, there is one status bit and at most one PMI. Hence never more PMIs
//!   than overflows, and never an overflow that waits for nothing.
//! - **P19** After a PMI that was delivered, overflows with INT that are found due are held as in
//!   P14 until the minimum re-arm interval is over. Each counts once as throttled.
//! - **P20** Each entry says by when the next is needed: at the end of the throttle if an overflow
//!   is held by it, else when the nearest overflow with INT can be due, if any counter counts
//!   towards one.
//! - **P21** The *skid* of an overflow with INT is how many counts past 2^width the counter was
//!   when it became visible. It stays in the counter.

mod amd;
mod counters;
pub(crate) mod file;
mod intel;
mod layout;
pub(crate) mod ports;
mod saved;
pub(crate) mod slots;
