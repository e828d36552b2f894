// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The sources that this program has.

use super::listing::Candidate;
use crate::kvm;

/// All of them; asks the host's hardware what it counts, which takes some milliseconds.
pub(super) fn all() -> Vec<Candidate> {
    let clock = Candidate {
        name: "clock",
        what: kvm::PMU_SOURCE.to_owned(),
        supports: Box::new(|_, config| kvm::counts(config)),
    };
    vec![
        clock,
        #[cfg(feature = "host")]
        host::candidate(),
    ]
}

#[cfg(feature = "host")]
mod host {
    use std::sync::Arc;

    use vpmu::source::host::{HostError, HostSource, Probe};
    use vpmu::{CounterSource, EventConfig, Vendor};

    use super::Candidate;

    /// What overflows would be told by; nothing is counted here that could overflow.
    const NO_SIGNAL: i32 = 0;

    pub(super) fn candidate() -> Candidate {
        match HostSource::probe() {
            Ok(probe) => on_hardware(probe),
            Err(why) => Candidate {
                name: "host",
                what: format!("host: counted by hardware, which is not to be had here: {why}"),
                supports: Box::new(|_, _| false),
            },
        }
    }

    fn on_hardware(probe: Probe) -> Candidate {
        let mut what = "host: counted by this host's hardware, for programs that embed vpmu; \
                        `perfvisor run` counts by `clock`"
            .to_owned();
        let refused = probe
            .events()
            .iter()
            .find_map(|event| match &event.everywhere {
                Err(why @ (HostError::Paranoid { .. } | HostError::Forbidden { .. })) => Some(why),
                _ => None,
            });
        if let Some(why) = refused {
            what.push_str(&format!(" (kernel mode: {why})"));
        }
        let probe = Arc::new(probe);
        let sources = [Vendor::Intel, Vendor::Amd].map(|vendor| {
            (
                vendor,
                HostSource::new(Arc::clone(&probe), vendor, NO_SIGNAL),
            )
        });
        let supports = move |vendor: Vendor, config: &EventConfig| {
            let mut all = sources.iter();
            all.any(|(of, source)| *of == vendor && source.supports(config))
        };
        Candidate {
            name: "host",
            what,
            supports: Box::new(supports),
        }
    }
}

#[cfg(test)]
mod tests {
    use vpmu::{Event, EventConfig, Vendor};

    use super::*;

    #[test]
    fn the_clock_counts_cycles_at_every_level_together() {
        let clock = &all()[0];
        let cycles = EventConfig::everywhere(Event::CoreCycles);
        assert_eq!(clock.name, "clock");
        assert!((clock.supports)(Vendor::Amd, &cycles));
        let user = EventConfig {
            os: false,
            ..cycles
        };
        assert!(!(clock.supports)(Vendor::Amd, &user));
        let instructions = EventConfig::everywhere(Event::Instructions);
        assert!(!(clock.supports)(Vendor::Intel, &instructions));
    }

    #[test]
    #[cfg(feature = "host")]
    fn the_host_counts_something_or_says_why_not() {
        let host = &all()[1];
        assert_eq!(host.name, "host");
        let counts = [Vendor::Intel, Vendor::Amd].into_iter().any(|vendor| {
            let events = Event::ARCHITECTURAL.map(EventConfig::everywhere);
            let user = events.map(|config| EventConfig {
                os: false,
                ..config
            });
            let all = events.into_iter().chain(user).collect::<Vec<_>>();
            all.iter().any(|config| (host.supports)(vendor, config))
        });
        assert_ne!(
            counts,
            host.what.contains("not to be had here: "),
            "{}",
            host.what
        );
    }
}
