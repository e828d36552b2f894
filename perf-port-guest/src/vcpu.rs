// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The port as one vCPU has it: registers, page, and a method for each command.

use core::ops::Range;

use perf_port::page::OUTS;
use perf_port::{Command, Errno, Id, Leaves, Name, Open, Reading, TrapTotals, decode_result, io};

use crate::{Page, Record, Registers};

/// The port of one vCPU. To be used on that vCPU only, with interrupts off.
///
/// Every command is one exit. An error says that nothing was changed; which errno means what is in
/// the manual's table of commands, and common to all are [`Errno::NoSuchDevice`] if the page is not
/// registered, [`Errno::TryAgain`] if the vCPU made more calls than it may, and EPROTO
/// ([`Errno::Other`]) for an answer that is none.
///
/// ```
/// use perf_port_guest::{Errno, Id, Leaves, Page, Registers, VcpuPort};
///
/// /// A host that asks for no announcements, and refuses every command.
/// struct Refuses<'p>(&'p Page);
///
/// impl Registers for Refuses<'_> {
///     fn write(&self, _offset: u16, _value: u32) {
///         self.0.host_side().store64(0x088, (-22_i64).cast_unsigned());
///     }
///     fn read(&self, _offset: u16) -> u32 {
///         0
///     }
/// }
///
/// let page = Page::new();
/// let vcpu = VcpuPort::new(&page, Refuses(&page));
/// let (one, other) = (Id::new(1), Id::new(2));
/// // Nobody is asked, so nobody refuses.
/// assert_eq!(vcpu.switch_to(one, Leaves::Queued, other), Ok(false));
/// assert_eq!(vcpu.exit(one.unwrap()), Err(Errno::Invalid));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct VcpuPort<'p, R> {
    page: &'p Page,
    registers: R,
}

/// An event that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its id.
    pub event: Id,
    /// How often the host looked for the task; more than once only if the task moved meanwhile.
    pub rounds: u64,
}

/// What RESULT holds until the host answers: no errno.
const UNANSWERED: i64 = i64::MIN;

/// EPROTO: the host's answer makes no sense.
const NO_ANSWER: Errno = Errno::Other(71);

/// RESULT of READ for an event in the error state.
const END_OF_FILE: u64 = 1;

impl<'p, R: Registers> VcpuPort<'p, R> {
    /// The port with these registers, for the vCPU that has this page. Kernels call
    /// [`Port::vcpu`](crate::Port::vcpu).
    pub const fn new(page: &'p Page, registers: R) -> Self {
        Self { page, registers }
    }

    /// The vCPU's page.
    pub const fn page(&self) -> &'p Page {
        self.page
    }

    /// Gives the page, which is at guest-physical `address`, to the host, in place of one that the
    /// vCPU had. To be done whenever the vCPU starts; the same page again does no harm.
    ///
    /// # Safety
    /// The page has to be at that address for as long as it is registered: the host writes there.
    ///
    /// # Errors
    /// [`Errno::Invalid`] for an address that no page has; [`Errno::Fault`] if there is no RAM: then
    /// the vCPU has no page.
    pub unsafe fn register(&self, address: u64) -> Result<(), Errno> {
        let frame = address / perf_port::page::SIZE;
        let whole = address.is_multiple_of(perf_port::page::SIZE);
        match u32::try_from(frame) {
            Ok(frame) if whole && frame != 0 => self.write_page(frame),
            _ => Err(Errno::Invalid),
        }
    }

    /// Takes the page back from the host.
    ///
    /// # Errors
    /// What the host says; it has no reason to refuse.
    pub fn unregister(&self) -> Result<(), Errno> {
        self.write_page(0)
    }

    fn write_page(&self, frame: u32) -> Result<(), Errno> {
        self.registers.write(io::PAGE, frame);
        self.refusal().map_or(Ok(()), Err)
    }

    /// Why the host could not even look, if it could not.
    fn refusal(&self) -> Option<Errno> {
        match self.registers.read(io::COMMAND) {
            0 => None,
            number => Some(u16::try_from(number).map_or(NO_ANSWER, Errno::from_number)),
        }
    }

    fn call(&self, command: &Command) -> Result<u64, Errno> {
        self.page.ask(command, UNANSWERED);
        self.registers.write(io::COMMAND, 0);
        match self.page.answer() {
            UNANSWERED => Err(self.refusal().unwrap_or(NO_ANSWER)),
            answer => decode_result(answer),
        }
    }

    fn call_for_id(&self, command: &Command) -> Result<Id, Errno> {
        Id::new(self.call(command)?).ok_or(NO_ANSWER)
    }

    fn further(&self) -> [u64; OUTS] {
        self.page.further()
    }

    // Tasks

    /// A new task, queued on `vcpu`.
    ///
    /// # Errors
    /// [`Errno::NoSuchVcpu`], [`Errno::NoMemory`].
    pub fn create(&self, vcpu: u32, name: Name) -> Result<Id, Errno> {
        self.call_for_id(&Command::Create { vcpu, name })
    }

    /// A new task that `parent` forked, queued where that is, with its inherited events; called like
    /// it unless it has a name.
    ///
    /// # Errors
    /// [`Errno::NoSuchTask`], [`Errno::NoMemory`].
    pub fn fork(&self, parent: Id, name: Option<Name>) -> Result<Id, Errno> {
        self.call_for_id(&Command::Fork { parent, name })
    }

    /// A task executes another program.
    ///
    /// # Errors
    /// [`Errno::NoSuchTask`].
    pub fn exec(&self, task: Id, name: Name) -> Result<(), Errno> {
        self.call(&Command::Exec { task, name }).map(drop)
    }

    /// A task exits. It stays current until the vCPU switches.
    ///
    /// # Errors
    /// [`Errno::NoSuchTask`].
    pub fn exit(&self, task: Id) -> Result<(), Errno> {
        self.call(&Command::Exit { task }).map(drop)
    }

    /// The vCPU switches from `prev` to `next`: says so in the page and, if the host asks for that,
    /// by a command (U1). Returns whether it was announced, that is, whether there was an exit.
    ///
    /// After an error the page says `next`; the host believes what it did before, or what the page says.
    ///
    /// # Errors
    /// [`Errno::Busy`] if `next` runs elsewhere, [`Errno::NoSuchTask`], [`Errno::Invalid`] if `prev`
    /// does not run here.
    pub fn switch_to(
        &self,
        prev: Option<Id>,
        leaves: Leaves,
        next: Option<Id>,
    ) -> Result<bool, Errno> {
        if !self.page.switch(next) {
            return Ok(false);
        }
        let switch = Command::Switch { prev, leaves, next };
        self.call(&switch).map(|_| true)
    }

    /// A task that does not run waits on `vcpu` from now on. To be said while the page
    /// [asks for it](Page::announces) only.
    ///
    /// # Errors
    /// [`Errno::Busy`], [`Errno::NoSuchTask`], [`Errno::NoSuchVcpu`].
    pub fn migrate(&self, task: Id, vcpu: u32) -> Result<(), Errno> {
        self.call(&Command::Migrate { task, vcpu }).map(drop)
    }

    /// A blocked task is queued on `vcpu`; one that the host does not know to be blocked waits there from
    /// now on. To be said while the page [asks for it](Page::announces) only.
    ///
    /// # Errors
    /// [`Errno::Busy`] if it runs, [`Errno::NoSuchTask`], [`Errno::NoSuchVcpu`], [`Errno::Invalid`] if
    /// somebody else woke it at the same time.
    pub fn wake(&self, task: Id, vcpu: u32) -> Result<(), Errno> {
        self.call(&Command::Wake { task, vcpu }).map(drop)
    }

    // Traps

    /// See [`Page::set_return_window`].
    pub fn set_return_window(&self, window: Range<u64>) {
        self.page.set_return_window(window);
    }

    /// See [`Page::trap_waits`].
    pub fn trap_waits(&self) -> bool {
        self.page.trap_waits()
    }

    /// The current task returns to user mode. Returns whether there is a record in the page now.
    ///
    /// # Errors
    /// Those that are common to all.
    pub fn user(&self) -> Result<bool, Errno> {
        Ok(self.call(&Command::User)? != 0)
    }

    /// Takes the trap that waits for the current task, if one does; without an exit if none does
    /// (U4). To be followed by another look, which [`return_to_user!`](crate::return_to_user) is.
    ///
    /// # Errors
    /// Those that are common to all.
    pub fn take_record(&self) -> Result<Option<Record>, Errno> {
        if self.page.trap_waits() && self.user()? {
            Ok(self.page.record())
        } else {
            Ok(None)
        }
    }

    /// The current task has its trap (U6). Returns whether another one waits.
    ///
    /// # Errors
    /// [`Errno::Invalid`] if it was handed none.
    pub fn trap_done(&self) -> Result<bool, Errno> {
        Ok(self.call(&Command::TrapDone)? != 0)
    }

    // Events

    /// Opens an event.
    ///
    /// # Errors
    /// See OPEN in the manual.
    pub fn open(&self, open: &Open) -> Result<Opened, Errno> {
        let event = self.call_for_id(&Command::Open(*open))?;
        let [rounds, ..] = self.further();
        Ok(Opened { event, rounds })
    }

    /// Closes an event.
    ///
    /// # Errors
    /// [`Errno::BadEvent`].
    pub fn close(&self, event: Id) -> Result<(), Errno> {
        self.call(&Command::Close { event }).map(drop)
    }

    /// Lets an event count.
    ///
    /// # Errors
    /// [`Errno::BadEvent`].
    pub fn enable(&self, event: Id) -> Result<(), Errno> {
        let group = false;
        self.call(&Command::Enable { event, group }).map(drop)
    }

    /// Lets a group count, by its leader.
    ///
    /// # Errors
    /// [`Errno::BadEvent`].
    pub fn enable_group(&self, event: Id) -> Result<(), Errno> {
        let group = true;
        self.call(&Command::Enable { event, group }).map(drop)
    }

    /// Stops an event.
    ///
    /// # Errors
    /// [`Errno::BadEvent`].
    pub fn disable(&self, event: Id) -> Result<(), Errno> {
        let group = false;
        self.call(&Command::Disable { event, group }).map(drop)
    }

    /// Stops a group, by its leader.
    ///
    /// # Errors
    /// [`Errno::BadEvent`].
    pub fn disable_group(&self, event: Id) -> Result<(), Errno> {
        let group = true;
        self.call(&Command::Disable { event, group }).map(drop)
    }

    /// Lets an event count until it overflowed so many times more.
    ///
    /// # Errors
    /// [`Errno::BadEvent`]; [`Errno::Invalid`] if it does not overflow, or is inherited.
    pub fn refresh(&self, event: Id, overflows: u64) -> Result<(), Errno> {
        self.call(&Command::Refresh { event, overflows }).map(drop)
    }

    /// Sets a count to 0.
    ///
    /// # Errors
    /// [`Errno::BadEvent`].
    pub fn reset(&self, event: Id) -> Result<(), Errno> {
        let group = false;
        self.call(&Command::Reset { event, group }).map(drop)
    }

    /// Sets the counts of a group to 0, by its leader.
    ///
    /// # Errors
    /// [`Errno::BadEvent`].
    pub fn reset_group(&self, event: Id) -> Result<(), Errno> {
        let group = true;
        self.call(&Command::Reset { event, group }).map(drop)
    }

    /// Sets how many counts there are between two overflows.
    ///
    /// # Errors
    /// [`Errno::BadEvent`]; [`Errno::Invalid`] if it does not overflow, and for 0 and above 2^63 - 1.
    pub fn set_period(&self, event: Id, period: u64) -> Result<(), Errno> {
        self.call(&Command::Period { event, period }).map(drop)
    }

    /// Reads an event; none is "end of file": it is pinned and found no counter.
    ///
    /// # Errors
    /// [`Errno::BadEvent`].
    pub fn read(&self, event: Id) -> Result<Option<Reading>, Errno> {
        if self.call(&Command::Read { event })? == END_OF_FILE {
            return Ok(None);
        }
        let reading = Reading::from_words(self.further());
        reading.map(Some).ok_or(NO_ANSWER)
    }

    /// What became of an event's overflows.
    ///
    /// # Errors
    /// [`Errno::BadEvent`].
    pub fn traps(&self, event: Id) -> Result<TrapTotals, Errno> {
        self.call(&Command::Traps { event })?;
        Ok(TrapTotals::from_words(self.further()))
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
