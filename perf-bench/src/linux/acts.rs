// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What Linux is asked to do in turn with ours, ready to be measured.

use std::hint::black_box;

use super::{Error, Event, Target, Trap, Trigger};
use crate::measure::Side;

/// System calls of a microsecond and more: the clock is small beside a few of them.
const BATCH: u32 = 8;

/// Opens a task clock, which installs it, and closes it.
///
/// # Errors
/// When the kernel refuses.
pub fn open_close<'a>(target: Target) -> Result<Side<'a>, Error> {
    Event::task_clock(target)?;
    Ok(Side::new(BATCH, move || {
        Event::task_clock(target)?;
        Ok(())
    }))
}

/// Enables an event and disables it.
///
/// # Errors
/// When the kernel refuses.
pub fn enable_disable<'a>(target: Target) -> Result<Side<'a>, Error> {
    let event = Event::sampling_task_clock(target)?;
    Ok(Side::new(BATCH, move || {
        event.enable()?;
        event.disable()?;
        Ok(())
    }))
}

/// Refreshes an event of the calling thread for one overflow, and disables it.
///
/// # Errors
/// When the kernel refuses.
pub fn refresh_disable<'a>() -> Result<Side<'a>, Error> {
    let event = Event::sampling_task_clock(Target::Own)?;
    Ok(Side::new(BATCH, move || {
        event.refresh(1)?;
        event.disable()?;
        Ok(())
    }))
}

/// Reads the count of an event that the calling thread runs.
///
/// # Errors
/// When the kernel refuses.
pub fn read<'a>() -> Result<Side<'a>, Error> {
    let event = Event::task_clock(Target::Own)?;
    Ok(Side::new(BATCH, move || {
        black_box(event.read()?);
        Ok(())
    }))
}

/// Lets an event of the calling thread overflow and trap; also says what made it.
///
/// # Errors
/// When the kernel refuses.
pub fn overflow_to_trap<'a>() -> Result<(Side<'a>, Trigger), Error> {
    let mut trap = Trap::new(BATCH)?;
    let trigger = trap.trigger();
    let side = Side::timing_itself(BATCH, move |times| Ok(trap.run(times)?));
    Ok((side, trigger))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::Keepalive;
    use crate::measure::{Method, medians};
    use crate::threads::{Blocked, Cpus};

    #[test]
    fn every_act_can_be_repeated() {
        let cpu = Cpus::allowed().unwrap().ours;
        let blocked = Blocked::on(cpu).unwrap();
        let thread = Target::Thread(blocked.id());
        if let Err(error) = Keepalive::new(cpu) {
            eprintln!("not available: {error}");
            return;
        }
        let method = Method {
            blocks: 1,
            samples: 2,
        };
        let mut sides = [
            open_close(Target::Own).unwrap(),
            open_close(thread).unwrap(),
            enable_disable(thread).unwrap(),
            refresh_disable().unwrap(),
            read().unwrap(),
        ];
        let medians = medians(method, &mut sides).unwrap();
        assert!(medians.iter().all(|&ns| ns > 0.0), "{medians:?}");
    }
}
