// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Races of the perf core as they happened: found in the traces of guest kernels that provoke them,
//! and drawn step by step.

pub(crate) mod catalogue;
mod draw;
#[cfg(test)]
mod page;
mod repeats;
mod steps;
mod story;

use anyhow::{Context, Result};

use catalogue::Telling;

/// The race that `telling` is about as an SVG picture, out of a trace in which it happened.
pub(crate) fn picture(trace: &str, telling: &Telling) -> Result<String> {
    let steps = steps::read(trace)?;
    let story = story::find(&steps, telling.steps, telling.without).with_context(|| {
        let wanted: Vec<&str> = telling.steps.iter().map(|want| want.name).collect();
        format!(
            "in {} steps of the trace there are none in this order for one event: {}",
            steps.len(),
            wanted.join(", ")
        )
    })?;
    Ok(draw::draw(&story, telling.title))
}

#[cfg(test)]
mod tests {
    use super::*;
    use catalogue::want;

    const TRAPPED: Telling = Telling {
        title: "t",
        steps: &[want("call"), want("trap sent")],
        without: &[],
    };
    const REFUSED: Telling = Telling {
        title: "t",
        steps: &[want("call"), want("call refused")],
        without: &[],
    };

    #[test]
    fn what_did_not_happen_is_not_drawn() {
        let error = picture(steps::tests::CALLED, &TRAPPED).unwrap_err();
        assert!(error.to_string().ends_with("call, trap sent"), "{error:#}");
        assert!(picture(steps::tests::CALLED, &REFUSED).is_ok());
    }
}
