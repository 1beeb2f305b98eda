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

/// A line of a plot.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Label.
    pub name: String,
    /// Places, in order.
    pub points: Vec<(f64, f64)>,
}

/// Draws curves over axes that begin at 0; `level` is a line across.
pub fn plot(title: &str, axes: [&str; 2], curves: &[Curve], level: Option<f64>) -> String {
    const HEIGHT: f64 = 420.0;
    const LEFT: f64 = 60.0;
    const TOP: f64 = 40.0;
    const RIGHT: f64 = 600.0;
    const BOTTOM: f64 = 370.0;
    const TICKS: u32 = 5;
    const COLOURS: [&str; 6] = ["#1f77b4", "#c9a227", "#2ca02c", "#d62728", "#9467bd", "#7f7f7f"];
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let x_max = points().map(|p| p.0).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let y_max = points().map(|p| p.1).chain(level).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let x = |value: f64| LEFT + value / x_max * (RIGHT - LEFT);
    let y = |value: f64| BOTTOM - value / y_max * (BOTTOM - TOP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"22\" font-size=\"15\">{}</text>\n\
         <path d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}\" fill=\"none\" stroke=\"black\"/>\n\
         <text x=\"{:.0}\" y=\"{HEIGHT:.0}\" dy=\"-8\" text-anchor=\"middle\">{}</text>\n\
         <text transform=\"translate(14 {:.0}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
        escape(title),
        f64::midpoint(LEFT, RIGHT),
        escape(axes[0]),
        f64::midpoint(TOP, BOTTOM),
        escape(axes[1]),
    );
    for tick in 0..=TICKS {
        let share = f64::from(tick) / f64::from(TICKS);
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text><text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>",
            x(share * x_max),
            BOTTOM + 16.0,
            short(share * x_max),
            LEFT - 5.0,
            y(share * y_max) + 4.0,
            short(share * y_max),
        );
    }
    if let Some(level) = level {
        let y = y(level);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#d62728\" stroke-dasharray=\"4 3\"/>"
        );
    }
    for (curve, colour, row) in
        curves.iter().zip(COLOURS.into_iter().cycle()).enumerate().map(|(i, (c, l))| (c, l, i))
    {
        let places: Vec<String> =
            curve.points.iter().map(|p| format!("{:.1},{:.1}", x(p.0), y(p.1))).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\"/>",
            places.join(" ")
        );
        for place in &places {
            let (cx, cy) = place.split_once(',').unwrap_or_default();
            let _ = writeln!(svg, "<circle cx=\"{cx}\" cy=\"{cy}\" r=\"3\" fill=\"{colour}\"/>");
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.0}\" fill=\"{colour}\">{}</text>",
            RIGHT + 12.0,
            TOP + 18.0 * row as f64,
            escape(&curve.name)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// A number of an axis.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.1}M", v / 1e6),
        v if v >= 1e4 => format!("{:.0}k", v / 1e3),
        v if v == 0.0 || v >= 10.0 => format!("{v:.0}"),
        v => format!("{v:.2}"),
    }
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

    #[test]
    fn every_point_of_a_curve_is_drawn() {
        let points = vec![(0.0, 0.0), (2.0e6, 10.0)];
        let svg = plot("t", ["a", "b"], &[Curve { name: "<x>".into(), points }], Some(2.0));
        assert_eq!((svg.matches("<circle").count(), svg.matches("<polyline").count()), (2, 1));
        assert!(svg.contains("2.0M") && svg.contains("&lt;x&gt;") && svg.ends_with("</svg>\n"));
    }
}
