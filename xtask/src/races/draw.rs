// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Draws a story: a column for each vCPU and for the host's threads, a row for each step, in the
//! order of their times. Beside each vCPU runs a bar while the task is current there, or while the
//! vCPU is away.

use std::collections::{BTreeMap, BTreeSet};

use super::repeats::{self, Row};
use super::steps::{Lane, Step};
use super::story::Story;
use crate::picture::svg::{Anchor, Svg};

/// Where the times end and the columns begin.
const LEFT: f64 = 92.0;
const COLUMN: f64 = 236.0;
const ROW: f64 = 26.0;
const TOP: f64 = 86.0;
const BAR: f64 = 8.0;
const BOX: f64 = 204.0;

const LINE: &str = "#d6d6d6";
const ARROW: &str = "#577590";
const TASK: &str = "#4c9f70";
const AWAY: &str = "#b9b9b9";

/// The story as an SVG picture.
pub(super) fn draw(story: &Story, title: &str) -> String {
    let lanes: Vec<Lane> = lanes(story).into_iter().collect();
    let takes_part = |step: &&Step| lanes.contains(&step.lane);
    let steps: Vec<Step> = story.steps.iter().filter(takes_part).cloned().collect();
    let rows = repeats::rows(&steps);
    let mut picture = Picture {
        svg: Svg::default(),
        lanes,
        bars: Bars::new(story),
    };
    let height = rows.iter().fold(0.0, |height, _| height + ROW);
    picture.heads(title, story, TOP + height);
    let begin = steps.first().map_or(0.0, |step| step.at);
    let mut y = TOP;
    for row in &rows {
        match row {
            Row::Step(step) => picture.step(step, step.at - begin, y),
            Row::Again { of, times } => picture.again(*of, *times, y),
        }
        y += ROW;
    }
    picture.legend(y + 18.0);
    let columns = picture.lanes.iter().fold(0.0, |width, _| width + COLUMN);
    // A single column has no room for the title.
    let width = (LEFT + columns + 12.0).max(760.0);
    picture.svg.finish(width, y + 36.0, title)
}

/// Who takes part: who does something, and who is called.
fn lanes(story: &Story) -> BTreeSet<Lane> {
    let steps = story.steps.iter();
    let mut lanes: BTreeSet<Lane> = steps
        .clone()
        .filter(|step| step.name != "state")
        .map(|step| step.lane)
        .collect();
    lanes.extend(steps.filter_map(called));
    lanes.extend(story.current_on);
    lanes
}

/// Whom a call goes to.
fn called(step: &Step) -> Option<Lane> {
    let to = step.detail.as_ref()?.parse().ok()?;
    (step.name == "call").then_some(Lane::Vcpu(to))
}

struct Picture {
    svg: Svg,
    lanes: Vec<Lane>,
    bars: Bars,
}

/// What runs beside the columns.
struct Bars {
    task: Option<u64>,
    current_on: Option<Lane>,
    states: BTreeMap<Lane, String>,
}

impl Bars {
    fn new(story: &Story) -> Self {
        Self {
            task: story.task,
            current_on: story.current_on,
            states: story.states.clone(),
        }
    }

    fn pass(&mut self, step: &Step) {
        let own = self.task.is_some() && step.task == self.task;
        match (&*step.name, &step.detail) {
            ("switch in", _) if own => self.current_on = Some(step.lane),
            ("switch out", _) if own && self.current_on == Some(step.lane) => {
                self.current_on = None;
            }
            ("state", Some(state)) => {
                self.states.insert(step.lane, state.clone());
            }
            _ => {}
        }
    }

    fn colour(&self, lane: Lane) -> Option<&'static str> {
        let state = self.states.get(&lane).map(String::as_str);
        match state {
            Some("absent" | "offline" | "finished") => Some(AWAY),
            _ => (self.current_on == Some(lane)).then_some(TASK),
        }
    }
}

impl Picture {
    fn x(&self, lane: Lane) -> Option<f64> {
        let place = self.lanes.iter().position(|at| *at == lane)?;
        let columns = u32::try_from(place).ok()?;
        Some(LEFT + f64::from(columns) * COLUMN)
    }

    fn heads(&mut self, title: &str, story: &Story, bottom: f64) {
        self.svg.text(16.0, 26.0, Anchor::Start, 15, title);
        let about = match story.task {
            Some(task) => format!("event {}, task {task}", story.event),
            None => format!("event {}", story.event),
        };
        self.svg.text(16.0, 46.0, Anchor::Start, 12, &about);
        self.svg
            .text(LEFT - 20.0, TOP - 12.0, Anchor::End, 11, "µs");
        for lane in self.lanes.clone() {
            let Some(x) = self.x(lane) else { continue };
            let name = match lane {
                Lane::Vcpu(vcpu) => format!("vCPU {vcpu}"),
                Lane::Host => "host".to_owned(),
            };
            self.svg
                .text(x + BOX / 2.0, TOP - 12.0, Anchor::Middle, 13, &name);
            let middle = x + BOX / 2.0;
            self.svg.line((middle, TOP - 4.0), (middle, bottom), LINE);
        }
    }

    fn step(&mut self, step: &Step, at: f64, y: f64) {
        self.bars.pass(step);
        self.bars(y);
        let Some(x) = self.x(step.lane) else { return };
        let middle = y + ROW / 2.0;
        let time = format!("{at:.1}");
        self.svg
            .text(LEFT - 20.0, middle + 4.0, Anchor::End, 11, &time);
        if let Some(target) = called(step).and_then(|lane| self.x(lane)) {
            let (from, to) = if target > x {
                (x + BOX, target)
            } else {
                (x, target + BOX)
            };
            self.svg.line((from, middle), (to, middle), ARROW);
            self.svg.arrow_head((to, middle), target > x, ARROW);
        }
        self.svg
            .rect(x, y + 2.0, BOX, ROW - 4.0, colour(&step.name));
        let label = label(step);
        self.svg
            .text(x + BOX / 2.0, middle + 4.0, Anchor::Middle, 12, &label);
    }

    fn again(&mut self, of: usize, times: usize, y: f64) {
        self.bars(y);
        let steps = if of == 1 { "step" } else { "steps" };
        let text = format!("… the last {of} {steps} {times} times more …");
        self.svg
            .text(LEFT, y + ROW / 2.0 + 4.0, Anchor::Start, 12, &text);
    }

    fn bars(&mut self, y: f64) {
        for lane in self.lanes.clone() {
            if let (Some(x), Some(colour)) = (self.x(lane), self.bars.colour(lane)) {
                self.svg.rect(x - BAR - 4.0, y, BAR, ROW, colour);
            }
        }
    }

    fn legend(&mut self, y: f64) {
        let what = [
            (TASK, "the task is current here"),
            (AWAY, "the vCPU is away"),
        ];
        let mut x = LEFT;
        for (colour, text) in what {
            self.svg.rect(x, y - 9.0, BAR, 12.0, colour);
            self.svg.text(x + 14.0, y + 1.0, Anchor::Start, 11, text);
            x += 200.0;
        }
    }
}

/// The colour of a step: what an answer looks for is bright.
fn colour(name: &str) -> &'static str {
    match name {
        "round" | "open" | "close" => "#bcd9f5",
        "call" | "call served" => "#cfe3d4",
        "call refused" | "refused" | "failed" => "#f2b5a7",
        "retry" => "#f7d9a0",
        "overflow" | "limit" | "irq work" => "#f9c98b",
        "trap queued" | "trap merged" | "trap sent" | "traps dropped" => "#dcc3ee",
        "slot in" | "slot out" => "#d5ecec",
        "state" => "#e2e2e2",
        _ => "#ececec",
    }
}

/// What is written into the box of a step.
fn label(step: &Step) -> String {
    let name = match &*step.name {
        "slot in" => "onto counter",
        "slot out" => "off counter",
        "switch in" => "task becomes current",
        "switch out" => "task leaves",
        "state" => "vCPU is",
        name => name,
    };
    let to_vcpu = matches!(&*step.name, "call" | "call refused" | "migrate" | "wake");
    match &step.detail {
        Some(detail) if to_vcpu => format!("{name}: vCPU {detail}"),
        Some(detail) if matches!(name, "task leaves" | "retry") => format!("{name}: {detail}"),
        Some(detail) => format!("{name} {detail}"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::want;
    use super::super::{steps, story};
    use super::*;

    fn drawn(wanted: &[&'static str]) -> String {
        let steps = steps::read(steps::tests::CALLED).unwrap();
        let wanted: Vec<_> = wanted.iter().map(|name| want(name)).collect();
        draw(&story::find(&steps, &wanted, &[]).unwrap(), "A title")
    }

    #[test]
    fn each_step_is_in_the_column_of_whoever_made_it() {
        let svg = drawn(&["call", "call refused"]);
        assert_eq!(
            svg.matches(">A title<").count(),
            2,
            "also for those who listen"
        );
        for text in [
            ">event 5, task 7<",
            ">vCPU 0<",
            ">vCPU 1<",
            ">call: vCPU 1<",
            ">task leaves: queued<",
            ">vCPU is offline<",
            ">call refused: vCPU 1<",
            ">2.0<",
        ] {
            assert_eq!(svg.matches(text).count(), 1, "{text}: {svg}");
        }
        assert!(!svg.contains(">host<"), "it takes no part");
        assert_eq!(svg.matches("<path").count(), 1, "the call's arrow");
    }

    #[test]
    fn bars_tell_where_the_task_is_current_and_who_is_away() {
        let svg = drawn(&["call", "call refused"]);
        let rows = |colour: &str| {
            let bar = format!(r#"height="{ROW:.1}" fill="{colour}""#);
            svg.matches(&bar).count()
        };
        assert_eq!((rows(TASK), rows(AWAY)), (1, 2));
    }
}
