//! A bar chart as SVG text: one group of bars for each task, on a logarithmic scale of ratios.

use std::fmt::Write;

/// Bars under one heading.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Heading.
    pub title: String,
    /// Label and ratio of each bar.
    pub bars: Vec<(String, f64)>,
}

const WIDTH: f64 = 860.0;
const LABELS: f64 = 220.0;
const VALUES: f64 = 60.0;
const ROW: f64 = 17.0;
const HEADING: f64 = 28.0;

/// Draws the groups. A bar's length is the logarithm of its ratio; the line is at 1.
pub fn chart(title: &str, groups: &[Group]) -> String {
    let ratios = || groups.iter().flat_map(|g| g.bars.iter().map(|b| b.1)).filter(|r| *r > 0.0);
    let low = ratios().fold(0.5, f64::min).log10();
    let high = ratios().fold(10.0, f64::max).log10();
    let span = WIDTH - LABELS - VALUES;
    let place = |ratio: f64| LABELS + (ratio.log10() - low) / (high - low) * span;
    let rows: usize = groups.iter().map(|g| g.bars.len()).sum();
    let height = 50.0 + groups.len() as f64 * HEADING + rows as f64 * ROW;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"22\" font-size=\"15\">{}</text>\n",
        escape(title)
    );
    let mut y = 36.0;
    for group in groups {
        y += HEADING;
        let _ = writeln!(
            svg,
            "<text x=\"10\" y=\"{:.0}\" font-weight=\"bold\">{}</text>",
            y - 8.0,
            escape(&group.title)
        );
        for (label, ratio) in &group.bars {
            let width = (place(*ratio) - LABELS).max(1.0);
            let colour = match label {
                l if l.starts_with("wiretable") => "#1f77b4",
                l if l.starts_with("bound") => "#7f7f7f",
                _ => "#c9a227",
            };
            let _ = writeln!(
                svg,
                "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>\
                 <rect x=\"{LABELS}\" y=\"{y:.0}\" width=\"{width:.1}\" height=\"13\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{:.0}\">{ratio:.2}</text>",
                LABELS - 6.0,
                y + 11.0,
                escape(label),
                LABELS + width + 4.0,
                y + 11.0,
            );
            y += ROW;
        }
    }
    let one = place(1.0);
    let _ = writeln!(
        svg,
        "<line x1=\"{one:.1}\" x2=\"{one:.1}\" y1=\"36\" y2=\"{:.0}\" stroke=\"#d62728\" stroke-dasharray=\"4 3\"/>\n</svg>",
        y + 4.0
    );
    svg
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bar_is_drawn_and_text_is_escaped() {
        let bars = vec![("a<b".to_owned(), 1.0), ("wiretable".to_owned(), 40.0)];
        let svg = chart("r & d", &[Group { title: "T1".into(), bars }]);
        assert_eq!(svg.matches("<rect").count(), 3);
        assert!(svg.contains("a&lt;b") && svg.contains("r &amp; d") && svg.ends_with("</svg>\n"));
    }
}
