// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Lays a trace out in rows and draws them: states, what is done, what happened, slots, plots.

use std::collections::{BTreeMap, BTreeSet};

use super::svg::{Anchor, Svg};
use super::trace::{Instant, Slice, Trace, Track};
use super::{axis, colour};

const WIDTH: f64 = 1_200.0;
/// Where the names end and the time begins.
const LEFT: f64 = 112.0;
const RIGHT: f64 = WIDTH - 28.0;
const ROW: f64 = 20.0;
const MARKERS: f64 = 14.0;
const PLOT: f64 = 40.0;
const GAP: f64 = 12.0;
/// What is narrower is drawn together with its neighbours, in pixels.
const NARROW: f64 = 1.0;
/// How wide a letter is about, in pixels.
const LETTER: f64 = 6.3;
const GRID: &str = "#e2e2e2";
const CURVE: &str = "#1d5fa8";

/// The time that is drawn, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) from: f64,
    pub(crate) to: f64,
}

/// A picture that is being drawn, from top to bottom.
struct Picture {
    svg: Svg,
    window: Window,
    y: f64,
    /// What the legend explains.
    slices: BTreeSet<String>,
    instants: BTreeMap<&'static str, &'static str>,
}

/// The part of a trace in `window` as an SVG picture.
pub(crate) fn draw(mut trace: Trace, window: Window, title: &str) -> String {
    trace.cut(window.from, window.to);
    let rows: f64 = trace.tracks.values().map(height).sum();
    let top = if title.is_empty() { 34.0 } else { 58.0 };
    let mut picture = Picture {
        svg: Svg::default(),
        window,
        y: top,
        slices: BTreeSet::new(),
        instants: BTreeMap::new(),
    };
    if !title.is_empty() {
        picture.svg.text(16.0, 26.0, Anchor::Start, 15, title);
    }
    picture.scale(top, top + rows);
    for track in trace.tracks.values() {
        picture.track(track);
    }
    picture.legend();
    let height = picture.y + 14.0;
    let name = if title.is_empty() { "A trace" } else { title };
    picture.svg.finish(WIDTH, height, name)
}

/// How many rows of slices a track has.
fn depths(track: &Track) -> usize {
    let deepest = track.slices.iter().map(|slice| slice.depth + 1).max();
    deepest.unwrap_or(0)
}

fn height(track: &Track) -> f64 {
    let rows: f64 = (0..depths(track)).map(|_| ROW).sum();
    let plots: f64 = track.plots.values().map(|_| PLOT + 6.0).sum();
    let markers = if track.instants.is_empty() {
        0.0
    } else {
        MARKERS
    };
    rows + markers + plots + GAP
}

impl Window {
    fn length(self) -> f64 {
        self.to - self.from
    }

    /// Where a time is, in pixels; at the edge if it is not in the window.
    fn x(self, time: f64) -> f64 {
        let time = time.clamp(self.from, self.to);
        LEFT + (time - self.from) / self.length() * (RIGHT - LEFT)
    }
}

impl Picture {
    fn scale(&mut self, top: f64, bottom: f64) {
        for mark in axis::marks(self.window.from, self.window.to) {
            let x = self.window.x(mark);
            self.svg.line((x, top - 6.0), (x, bottom), GRID);
            let text = axis::time(mark, self.window.length());
            self.svg.text(x, top - 10.0, Anchor::Middle, 11, &text);
        }
    }

    fn track(&mut self, track: &Track) {
        let name_at = self.y + 14.0;
        self.svg
            .text(LEFT - 8.0, name_at, Anchor::End, 12, &track.name);
        if !track.instants.is_empty() {
            self.markers(&track.instants);
            self.y += MARKERS;
        }
        for depth in 0..depths(track) {
            let slices: Vec<_> = track.slices.iter().filter(|it| it.depth == depth).collect();
            self.slices(slices);
            self.y += ROW;
        }
        for (name, values) in &track.plots {
            let name = name.strip_prefix(&track.name).unwrap_or(name).trim();
            self.plot(name, values);
            self.y += PLOT + 6.0;
        }
        self.y += GAP;
    }

    fn slices(&mut self, mut slices: Vec<&Slice>) {
        slices.sort_by(|a, b| a.from.total_cmp(&b.from));
        let mut drawn_to = f64::MIN;
        for slice in slices {
            self.slices.insert(slice.name.clone());
            let (from, to) = (self.window.x(slice.from), self.window.x(slice.to));
            // What shares a pixel is one to the eye, and has no gap in between.
            if to < drawn_to + NARROW / 2.0 {
                continue;
            }
            let from = if from < drawn_to + NARROW {
                drawn_to
            } else {
                from
            };
            let width = (to - from).max(NARROW);
            let fill = colour::of(&slice.name);
            self.svg.rect(from, self.y + 1.0, width, ROW - 2.0, fill);
            if text_width(&slice.name) + 8.0 < width {
                let at = from + 4.0;
                let y = self.y + ROW - 6.0;
                self.svg.text(at, y, Anchor::Start, 11, &slice.name);
            }
            drawn_to = from + width;
        }
    }

    fn markers(&mut self, instants: &[Instant]) {
        let bottom = self.y + MARKERS - 2.0;
        let mut drawn = BTreeMap::new();
        for instant in instants {
            let (fill, what) = colour::of_instant(&instant.name);
            self.instants.insert(what, fill);
            let x = self.window.x(instant.at);
            let last = drawn.insert(what, x);
            if last.is_some_and(|last| x < last + NARROW) {
                drawn.insert(what, last.unwrap_or(x));
                continue;
            }
            self.mark(what, fill, x, bottom);
        }
    }

    /// PMIs are what a reader looks for; everything else is a line.
    fn mark(&mut self, what: &str, fill: &str, x: f64, bottom: f64) {
        if what == "PMI" {
            self.svg.pointer(x, bottom, fill);
        } else {
            self.svg.line((x, bottom - 12.0), (x, bottom), fill);
        }
    }

    /// Each value lasts until the next one. The scale is that of the values that are shown.
    fn plot(&mut self, name: &str, values: &[(f64, f64)]) {
        let (top, bottom) = (self.y + 3.0, self.y + PLOT);
        self.svg
            .rect(LEFT, top, RIGHT - LEFT, bottom - top, "#eef4fa");
        let label = self.y + PLOT / 2.0 + 5.0;
        self.svg.text(LEFT - 8.0, label, Anchor::End, 11, name);
        let least = values.iter().map(|it| it.1).fold(f64::INFINITY, f64::min);
        let most = values
            .iter()
            .map(|it| it.1)
            .fold(f64::NEG_INFINITY, f64::max);
        let Some(&(_, last)) = values.last() else {
            return;
        };
        let span = (most - least).max(1.0);
        let y = |value: f64| bottom - 2.0 - (value - least) / span * (bottom - top - 4.0);
        let mut points: Vec<(f64, f64)> = Vec::new();
        for (at, value) in values {
            let x = self.window.x(*at);
            if let Some(&(_, before)) = points.last() {
                points.push((x, before));
            }
            points.push((x, y(*value)));
        }
        points.push((RIGHT, y(last)));
        points
            .dedup_by(|a, b| (a.0 - b.0).abs() < NARROW / 2.0 && (a.1 - b.1).abs() < NARROW / 2.0);
        self.svg.curve(&points, CURVE);
        let range = format!("{} to {}", axis::count(least), axis::count(most));
        self.svg
            .text(LEFT + 4.0, top + 12.0, Anchor::Start, 10, &range);
    }

    fn legend(&mut self) {
        let mut x = LEFT;
        self.y += 6.0;
        let slices: Vec<_> = std::mem::take(&mut self.slices).into_iter().collect();
        for name in slices.iter().filter(|name| colour::is_known(name)) {
            self.wrap(&mut x, name);
            self.svg.rect(x, self.y, 12.0, 12.0, colour::of(name));
            self.explain(&mut x, name);
        }
        for (what, fill) in std::mem::take(&mut self.instants) {
            self.wrap(&mut x, what);
            self.mark(what, fill, x + 6.0, self.y + 11.0);
            self.explain(&mut x, what);
        }
        self.y += ROW;
    }

    fn wrap(&mut self, x: &mut f64, text: &str) {
        if *x + 18.0 + text_width(text) > RIGHT {
            *x = LEFT;
            self.y += ROW;
        }
    }

    fn explain(&mut self, x: &mut f64, text: &str) {
        self.svg
            .text(*x + 18.0, self.y + 10.0, Anchor::Start, 11, text);
        *x += 18.0 + text_width(text) + 14.0;
    }
}

fn text_width(text: &str) -> f64 {
    text.chars().map(|_| LETTER).sum()
}

#[cfg(test)]
mod tests {
    use super::super::trace::read;
    use super::super::trace::tests::SMALL;
    use super::*;

    const ALL: Window = Window {
        from: 0.0,
        to: 10.0,
    };

    fn count(svg: &str, what: &str) -> usize {
        svg.matches(what).count()
    }

    #[test]
    fn everything_in_the_window_is_drawn_where_it_was() {
        let svg = draw(read(SMALL).unwrap(), ALL, "A VM");
        let per_micro = (RIGHT - LEFT) / 10.0;
        for (name, from, lasted) in [
            ("guest", 2.0, 4.0),
            ("io-out", 6.0, 3.0),
            ("running", 1.0, 8.0),
        ] {
            let (x, width) = (LEFT + from * per_micro, lasted * per_micro);
            let fill = colour::of(name);
            let rect = svg.lines().find(|line| {
                line.contains(&format!(r#"x="{x:.1}""#))
                    && line.contains(&format!(r#"width="{width:.1}""#))
                    && line.contains(fill)
            });
            assert!(rect.is_some(), "{name} at {x:.1} is not in {svg}");
            // In the slice and in the legend.
            assert_eq!(count(&svg, &format!(">{name}</text>")), 2, "{name}");
        }
        assert_eq!(count(&svg, "#d00000"), 2, "the PMI and its legend: {svg}");
        assert!(svg.contains(">10 to 30</text>"), "{svg}");
        assert!(svg.contains(">PMC0</text>"), "{svg}");
        assert!(svg.contains(">A VM</text>"), "{svg}");
    }

    #[test]
    fn what_is_outside_the_window_is_not_drawn() {
        let window = Window { from: 6.5, to: 9.5 };
        let svg = draw(read(SMALL).unwrap(), window, "");
        assert_eq!(count(&svg, ">guest</text>"), 0);
        assert_eq!(count(&svg, "#d00000"), 0);
        assert_eq!(count(&svg, ">io-out</text>"), 2);
    }

    #[test]
    fn a_long_trace_is_no_large_picture() {
        let mut text = String::from("[");
        for at in 0..20_000 {
            let begun = at * 2;
            text += &format!(
                "\n{{\"name\":\"guest\",\"ph\":\"X\",\"ts\":{begun},\"dur\":1,\"tid\":2}},\
                 \n{{\"name\":\"PMI\",\"ph\":\"i\",\"ts\":{begun},\"tid\":2}},"
            );
        }
        let trace = read(&text).unwrap();
        let window = Window {
            from: 0.0,
            to: trace.end(),
        };
        let svg = draw(trace, window, "");
        assert!((1_000..3_000).contains(&svg.lines().count()));
    }
}
