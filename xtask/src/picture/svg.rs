// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The few shapes that a picture is made of.

use std::fmt::{self, Display, Write as _};

/// An SVG that is being drawn. Lengths are in pixels.
#[derive(Debug, Default)]
pub(crate) struct Svg(String);

/// Where a text stands to its point.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    pub(crate) fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, fill: &str) {
        self.add(format_args!(
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="{fill}"/>"#
        ));
    }

    pub(crate) fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), stroke: &str) {
        self.add(format_args!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{stroke}"/>"#
        ));
    }

    /// A triangle that points at `(x, y)` from above.
    pub(crate) fn pointer(&mut self, x: f64, y: f64, fill: &str) {
        let (left, right, top) = (x - 4.0, x + 4.0, y - 8.0);
        self.add(format_args!(
            r#"<path d="M{left:.1} {top:.1}H{right:.1}L{x:.1} {y:.1}Z" fill="{fill}"/>"#
        ));
    }

    /// The head of an arrow that ends at `(x, y)`, to the right or to the left.
    pub(crate) fn arrow_head(&mut self, (x, y): (f64, f64), to_right: bool, fill: &str) {
        let back = if to_right { x - 7.0 } else { x + 7.0 };
        let (above, below) = (y - 4.0, y + 4.0);
        self.add(format_args!(
            r#"<path d="M{back:.1} {above:.1}V{below:.1}L{x:.1} {y:.1}Z" fill="{fill}"/>"#
        ));
    }

    pub(crate) fn curve(&mut self, points: &[(f64, f64)], stroke: &str) {
        let mut path = String::new();
        for (at, (x, y)) in points.iter().enumerate() {
            let command = if at == 0 { 'M' } else { 'L' };
            // A string takes everything.
            let _ = write!(path, "{command}{x:.1} {y:.1}");
        }
        self.add(format_args!(
            r#"<path d="{path}" fill="none" stroke="{stroke}" stroke-width="1.5"/>"#
        ));
    }

    pub(crate) fn text(&mut self, x: f64, y: f64, anchor: Anchor, size: u32, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        self.add(format_args!(
            r##"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-size="{size}" fill="#222">{}</text>"##,
            Escaped(text)
        ));
    }

    fn add(&mut self, shape: fmt::Arguments<'_>) {
        // A string takes everything.
        let _ = writeln!(self.0, "{shape}");
    }

    /// The picture, of this size. It brings its own background, so that it reads the same on a light
    /// and on a dark page.
    pub(crate) fn finish(self, width: f64, height: f64, title: &str) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             width=\"{width:.0}\" height=\"{height:.0}\" \
             font-family=\"system-ui, sans-serif\">\n\
             <title>{}</title>\n\
             <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"#fbfbfb\" stroke=\"#d0d0d0\"/>\n\
             {}</svg>\n",
            Escaped(title),
            self.0
        )
    }
}

/// A text that is no markup.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '&' => f.write_str("&amp;"),
            c => f.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_no_markup() {
        let mut svg = Svg::default();
        svg.text(1.0, 2.0, Anchor::End, 10, "<a> & b");
        let text = svg.finish(10.0, 20.0, "<t>");
        assert!(text.contains("&lt;a&gt; &amp; b</text>"), "{text}");
        assert!(text.contains("<title>&lt;t&gt;</title>"), "{text}");
    }
}
