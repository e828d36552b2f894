// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The two hundred cycles.

use rt::arrivals::{self, Leaving};
use rt::tap::Outcome;
use rt::text::Text;
use rt::{books, diag, host, time};

use crate::CPUS;
use rt::footprint;

const CYCLES: usize = 200;

/// After so many each CPU has gone in each way, and all that is made once is made.
const FIRST: usize = (CPUS - 1) * WAYS.len();

const WAYS: [Leaving; 3] = [Leaving::Tidy, Leaving::AllOn, Leaving::AtWork];

pub(crate) fn all() -> Outcome {
    let mut spent = [0; 3];
    for cycle in 0..CYCLES {
        if cycle % 50 == 0 {
            diag!("{cycle} cycles; TSC ticks to go, to come, to count: {spent:?}");
            host::grant(host::Wish::Footprint)?;
        }
        if cycle == FIRST {
            footprint::before()?;
        }
        let cpu = 1 + cycle % (CPUS - 1);
        let way = WAYS[cycle / (CPUS - 1) % WAYS.len()];
        let in_cycle =
            |why: Text| Text::format(format_args!("cycle {cycle}, CPU {cpu}, {way:?}: {why}"));
        one(cpu, way, &mut spent).map_err(in_cycle)?;
    }
    for cpu in 0..CPUS {
        diag!("CPU {cpu}: {} PMIs in all", books::pmis_ever(cpu));
    }
    footprint::after()
}

/// One CPU goes and comes again; the others count and take their PMIs meanwhile.
fn one(cpu: usize, way: Leaving, spent: &mut [u64; 3]) -> Outcome {
    let before: [u64; CPUS] = core::array::from_fn(books::pmis);
    let start = time::tsc();
    arrivals::one_goes(cpu, way)?;
    let gone = time::tsc();
    arrivals::one_comes(cpu, host::id(cpu))?;
    let come = time::tsc();
    books::await_pmis(cpu, 1)?;
    for staying in (0..CPUS).filter(|&other| other != cpu) {
        books::verdict(staying)?;
        if books::pmis(staying) == before[staying] {
            books::await_pmis(staying, 1)?;
        }
    }
    spent[0] += gone - start;
    spent[1] += come - gone;
    spent[2] += time::tsc() - come;
    Ok(())
}
