// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The rules the registers keep. The tests that hold a rule carry its number.
//!
//! The register file is a pure state machine: every access of the guest and every entry to it is
//! a call, time and counts come in through [`CounterSource`](crate::CounterSource) and
//! [`Nanos`](crate::Nanos), interrupts go out through [`PmiSink`](crate::PmiSink). This module has
//! no items of its own to call; [`VcpuPmu`](crate::VcpuPmu) is the door.
//!
//! "SDM" is the Intel 64 and IA-32 Architectures Software Developer's Manual, "APM" the AMD64
//! Architecture Programmer's Manual. The SDM's chapter "Performance Monitoring" has been number 18,
//! 19, 20 and 21 of volume 3B as editions went by, so that sections are named here by their titles.
//! "Version" is that of Intel's architectural performance monitoring; W is the width of a counter.
//!
//! # Registers
//!
//! | MSR | Name | Models | Reset | Rules |
//! |---|---|---|---|---|
//! | 0C1H + n | IA32_PMCn | Intel | 0 | P02, P10 |
//! | 186H + n | IA32_PERFEVTSELn | Intel | 0 | P03 |
//! | 1D9H | IA32_DEBUGCTL | from version 2 on | 0 | P26 to P28 |
//! | 309H + i | IA32_FIXED_CTRi | from version 2 on | 0 | P22, P10 |
//! | 345H | IA32_PERF_CAPABILITIES | with full-width writes | 2000H | P23 |
//! | 38DH | IA32_FIXED_CTR_CTRL | from version 2 on | 0 | P22 |
//! | 38EH | IA32_PERF_GLOBAL_STATUS | from version 2 on | 0 | P05 |
//! | 38FH | IA32_PERF_GLOBAL_CTRL | from version 2 on | a one for each general-purpose counter | P04 |
//! | 390H | IA32_PERF_GLOBAL_OVF_CTRL, later IA32_PERF_GLOBAL_STATUS_RESET | from version 2 on | reads 0 | P06 |
//! | 391H | IA32_PERF_GLOBAL_STATUS_SET | from version 4 on | reads 0 | P24 |
//! | 392H | IA32_PERF_GLOBAL_INUSE | from version 4 on | 0 | P25 |
//! | 4C1H + n | IA32_A_PMCn | with full-width writes | that of IA32_PMCn | P23 |
//! | C000_0300H | PerfCntrGlobalStatus | amd-v2 | 0 | P33 |
//! | C000_0301H | PerfCntrGlobalCtl | amd-v2 | a one for each counter | P33 |
//! | C000_0302H | PerfCntrGlobalStatusClr | amd-v2 | reads 0 | P33 |
//! | C000_0303H | PerfCntrGlobalStatusSet | amd-v2 | reads 0 | P24 |
//! | C001_0000H + n, n < 4 | PerfEvtSeln | AMD | 0 | P30, P32 |
//! | C001_0004H + n, n < 4 | PerfCtrn | AMD | 0 | P31, P32 |
//! | C001_0200H + 2n | PERF_CTLn | amd-core, amd-v2 | 0 | P30, P32 |
//! | C001_0201H + 2n | PERF_CTRn | amd-core, amd-v2 | 0 | P31, P32 |
//!
//! Numbers, names and reset values are those of the SDM volume 4, table "IA-32 Architectural MSRs",
//! of volume 3A, table "IA-32 and Intel 64 Processor States Following Power-up, Reset, or INIT", and
//! of the APM volume 2, section "Performance Monitoring Counters" and appendix "MSR
//! Cross-Reference".
//!
//! - **P01** Every other MSR of [`PMU_MSR_RANGES`](crate::PMU_MSR_RANGES) takes #GP on RDMSR and
//!   WRMSR: counters that the model does not have, the other vendor's, PEBS, branch records, topdown
//!   metrics. An MSR outside them is not handled, but for IA32_DEBUGCTL where it is there.
//! - **P02** WRMSR to IA32_PMCn takes bits 31:0, sign-extended from bit 31 to the counter's width;
//!   bits 63:32 are ignored and never fault (SDM "Full-Width Writes to Performance Counter
//!   Registers": what WRMSR puts into IA32_PMCx is EAX\[31:0\], sign-extended; EDX matters to
//!   IA32_A_PMCx only). Reads return the counter's width, zeroes above.
//! - **P03** WRMSR to IA32_PERFEVTSELn takes #GP, and changes nothing, if one of bits 63:32 is set
//!   or, but in versions 3 and 4, bit 21: AnyThread comes with version 3 (SDM "Architectural
//!   Performance Monitoring Version 3"), figure "Layout of IA32_PERFEVTSELx MSRs" of version 1 has
//!   bit 21 reserved, and version 5 reports it as deprecated (SDM "Architectural Performance
//!   Monitoring Version 5", "AnyThread Deprecation"). Any other value is accepted and read back as
//!   written. PC (bit 19) is legal and does nothing: a virtual CPU has no PMi pins to toggle, and
//!   what is counted does not depend on it.
//! - **P04** IA32_PERF_GLOBAL_CTRL starts with the bits of all general-purpose counters set, those of
//!   the fixed-function ones clear (SDM volume 3A, table "IA-32 and Intel 64 Processor States
//!   Following Power-up, Reset, or INIT"); any bit that is no counter's is reserved: #GP, nothing
//!   changes.
//! - **P05** IA32_PERF_GLOBAL_STATUS holds one bit a counter and, from version 4 on, what P24 and P28
//!   set. It is read-only: WRMSR takes #GP (SDM "Architectural Performance Monitoring Version 2").
//! - **P06** IA32_PERF_GLOBAL_OVF_CTRL clears the status bits that are written as one. Bits 62
//!   (ClrOvfBuffer) and 63 (ClrCondChgd) are defined and accepted, and from version 4 on, where it is
//!   IA32_PERF_GLOBAL_STATUS_RESET, bits 58 (LBR_FRZ), 59 (CTR_FRZ) and 61 (Ovf_Uncore) as well (SDM
//!   "IA32_PERF_GLOBAL_STATUS_RESET and IA32_PERF_GLOBAL_STATUS_SET MSRS"). Any other bit is
//!   reserved: #GP, nothing changes. Reads return 0.
//! - **P07** RDPMC with ECX = n returns what RDMSR of general-purpose counter n does; with bit 30
//!   set, Intel's returns that of fixed-function counter ECX\[29:0\]. Any other ECX takes #GP: no
//!   such counter, bit 31 (fast read), bit 30 on AMD's (SDM volume 2B and APM volume 3, RDPMC).
//!
//! # Counting
//!
//! - **P08** A general-purpose counter is *enabled* while EN (bit 22) of its select is set and, where
//!   there is a global control register (from version 2 on, amd-v2), its bit there, and while CTR_FRZ
//!   (P28) is clear (SDM table "IA-32 Architectural MSRs", 38FH). In place of EN a fixed-function
//!   counter has bits 1:0 of its field (P22), of which one has to be set. A counter *runs* while it
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
//! bit is set and the value wraps, in one step; where there is no status register, when the value
//! wraps. INT is bit 20 of a select, and bit 3 of a fixed-function counter's field.
//!
//! - **P13** Without INT, a due overflow of a running counter is visible at once: no access and no
//!   entry ever finds it hidden.
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
//!   than overflows (and status bits set by hand, P24), and never an overflow that waits for nothing.
//! - **P19** After a PMI that was delivered, overflows with INT that are found due are held as in
//!   P14 until the minimum re-arm interval is over. Each counts once as throttled.
//! - **P20** Each entry says by when the next is needed: at the end of the throttle if an overflow
//!   is held by it, else when the nearest overflow with INT can be due, if any counter counts
//!   towards one.
//! - **P21** The *skid* of an overflow with INT is how many counts past 2^width the counter was
//!   when it became visible. It stays in the counter.
//!
//! # More of Intel's
//!
//! - **P22** WRMSR to IA32_FIXED_CTRi takes all W bits; a set bit at W or above takes #GP. Bits
//!   4i+3..4i of IA32_FIXED_CTR_CTRL are its field: count at CPL 0 (bit 0), at CPL 1 to 3 (bit 1),
//!   AnyThread (bit 2; reserved but in versions 3 and 4), PMI on overflow (bit 3). Reserved bits, and
//!   all of a counter that is not there, take #GP (SDM "Architectural Performance Monitoring Version
//!   2", figure "Layout of IA32_FIXED_CTR_CTRL MSR"). Counter 0 counts instructions, 1 core cycles, 2
//!   reference cycles (SDM "Association of Fixed-Function Performance Counters with Architectural
//!   Performance Events").
//! - **P23** IA32_A_PMCn is IA32_PMCn by another number, but WRMSR takes all W bits, and #GP for a bit
//!   at W or above. IA32_PERF_CAPABILITIES says so by FW_WRITE (bit 13), has nothing else, and is
//!   read-only: #GP (SDM "Full-Width Writes to Performance Counter Registers").
//! - **P24** WRMSR to IA32_PERF_GLOBAL_STATUS_SET, or to AMD's, sets the status bits that are written
//!   as one. On Intel's those are the counters' bits, 59 (CTR_FRZ, see P28), 62 and 63; any other
//!   takes #GP (SDM "IA32_PERF_GLOBAL_STATUS_RESET and IA32_PERF_GLOBAL_STATUS_SET MSRS"). AMD's
//!   ignores all but the counters'. Reads return 0. A counter's bit that goes from 0 to 1 while the
//!   counter has INT asks for one PMI, as if it had overflowed: it comes with whatever else is due
//!   (P14), once the counter runs with INT (P15), by P16, P17 and P19. Clearing the bit before takes
//!   it back, and so does the counter running without INT. There was no overflow: the value stays,
//!   and overflows, throttled ones and skid are not counted.
//! - **P25** IA32_PERF_GLOBAL_INUSE has bit n while bits 7:0 of IA32_PERFEVTSELn are not 0, bit 32 + i
//!   while one of bits 1:0 of fixed-function counter i's field is set, and bit 63 while any counter
//!   has INT. It is read-only: #GP (SDM "IA32_PERF_GLOBAL_INUSE MSR").
//! - **P26** IA32_DEBUGCTL keeps bit 12 (FREEZE_PERFMON_ON_PMI). Bits 0 (LBR) and 1 (BTF) are taken
//!   and dropped, as KVM does where it has neither; they read 0. Any other bit takes #GP: what it is
//!   for is not there (SDM volume 3B, "IA32_DEBUGCTL MSR").
//! - **P27** In versions 2 and 3, while that bit is set, a PMI that is delivered clears
//!   IA32_PERF_GLOBAL_CTRL in the same step, after all counts were taken (SDM "Freezing LBR and
//!   Performance Counters on PMI", legacy). One that is not delivered (P16) freezes nothing.
//! - **P28** From version 4 on it sets CTR_FRZ, bit 59 of IA32_PERF_GLOBAL_STATUS, instead; the
//!   counters stand still as long as that is set, and run on once it is cleared (P06; SDM "Freezing
//!   LBR and Performance Counters on PMI", streamlined).
//! - **P29** IA32_MISC_ENABLE is not among these registers. What its bits 7, 11 and 12 have to be is
//!   [`PmuModel::misc_enable`](crate::PmuModel::misc_enable).
//!
//! # AMD's
//!
//! - **P30** WRMSR to a select never faults. Bits 19, 21, 39:36 and 63:42 are ignored and read 0. The
//!   event is bits 35:32 and 7:0. Bits 40 (GuestOnly) and 41 (HostOnly) are kept and do nothing: they
//!   distinguish by EFER.SVME, and SVM is not offered (APM volume 2, "Performance Monitoring
//!   Counters", PerfEvtSeln).
//! - **P31** WRMSR to a counter takes bits 47:0, and ignores the others; reads have zeroes there.
//! - **P32** The first four of PERF_CTLn and PERF_CTRn are PerfEvtSeln and PerfCtrn by other numbers
//!   (APM volume 2, "Performance Monitoring Counters", core performance counters).
//! - **P33** PerfCntrGlobalCtl and PerfCntrGlobalStatusClr have one bit a counter and ignore the
//!   others; a one written to StatusClr clears that bit of PerfCntrGlobalStatus, which is read-only:
//!   #GP. There is no freeze.
//!
//! # The whole PMU
//!
//! - **P34** [`VcpuPmu::reset`](crate::VcpuPmu::reset) is power-up, RESET and a vCPU that is added
//!   again: all registers at their reset values, nothing pending, every counter stopped. An INIT
//!   changes nothing (SDM volume 3A, table "IA-32 and Intel 64 Processor States Following Power-up,
//!   Reset, or INIT"), so there is no call for it. What is the host's stays: statistics, filter,
//!   re-arm interval, and the throttle of the last PMI.
//! - **P35** A counter that asks for something which the host's [`EventFilter`](crate::EventFilter)
//!   refuses is accepted, reads back, and counts nothing, whether or not the source could count it.
//!   Observer and statistics are told like in P11, apart from those.
//! - **P36** A [snapshot](crate::VcpuPmu::snapshot) in the midst of counting, restored into a PMU of
//!   the same model, loses nothing: all counts were taken, and what is due, held or asked for goes
//!   along, the rest of the throttle's interval as a span (cut to the re-arm interval there). The
//!   state of another model, or a value that no register could have, is refused and changes nothing.

mod amd;
mod counters;
pub(crate) mod file;
mod intel;
mod layout;
mod overflows;
pub(crate) mod ports;
mod saved;
pub(crate) mod slots;
mod steering;
