//! The figures on a terminal.

use std::path::Path;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Row, Table};
use ratatui::{DefaultTerminal, Frame};

use super::figures::{Figures, Reading, Section};
use super::read;
use crate::failure::Failure;

/// How often the keyboard is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Shows a run until `q`, Esc or Ctrl-C.
pub fn show(path: &Path, first: Reading, delay: Duration) -> Result<(), Failure> {
    let mut terminal = ratatui::init();
    let shown = run(&mut terminal, path, first, delay);
    ratatui::restore();
    shown
}

fn run(
    terminal: &mut DefaultTerminal,
    path: &Path,
    first: Reading,
    delay: Duration,
) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::Environment(format!("the terminal: {e}"));
    let mut figures = Figures::new(&first, &first);
    let (mut last, mut read_at) = (first, Instant::now());
    loop {
        terminal.draw(|frame| draw(frame, &figures)).map_err(failed)?;
        while read_at.elapsed() < delay {
            if event::poll(LOOK_EVERY.min(delay)).map_err(failed)? {
                match event::read().map_err(failed)? {
                    Event::Key(key) if key.kind == KeyEventKind::Press => {
                        let is_ctrl_c = key.code == KeyCode::Char('c')
                            && key.modifiers.contains(KeyModifiers::CONTROL);
                        if is_ctrl_c || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                            return Ok(());
                        }
                    }
                    Event::Resize(..) => break,
                    _ => {}
                }
            }
        }
        let next = read(path)?;
        read_at = Instant::now();
        figures = Figures::new(&last, &next);
        last = next;
    }
}

/// Lines of the headline, and of a section beside its rows.
const HEAD_LINES: usize = 2;
const SECTION_LINES: usize = 2;
/// Fewest characters of a name, however narrow the terminal is.
const NAME_MIN: usize = 8;

fn draw(frame: &mut Frame<'_>, figures: &Figures) {
    let has_colour = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let counts: Vec<usize> = figures.sections.iter().map(|section| section.rows.len()).collect();
    let area = frame.area();
    let shown = fit(&counts, usize::from(area.height).saturating_sub(HEAD_LINES));
    // The empty line behind the last one is not needed.
    let is_last = |at: usize| usize::from(at + 1 == shown.len());
    let heights = shown.iter().enumerate();
    let heights = heights.map(|(at, rows)| rows + SECTION_LINES - is_last(at));
    let heights = heights.map(|lines| Constraint::Length(lines as u16));
    let lines = std::iter::once(Constraint::Length(HEAD_LINES as u16)).chain(heights);
    // What is left over belongs to nobody.
    let lines: Vec<_> = lines.chain([Constraint::Fill(1)]).collect();
    let areas = Layout::vertical(lines).split(area);
    let head = Line::from(vec![
        Span::styled(figures.headline(), Style::new().add_modifier(Modifier::BOLD)),
        Span::raw("   q quits"),
    ]);
    frame.render_widget(head, areas[0]);
    for ((section, rows), area) in figures.sections.iter().zip(shown).zip(areas.iter().skip(1)) {
        frame.render_widget(table(section, rows, usize::from(area.width), has_colour), *area);
    }
}

/// How many rows of each section are shown in so many lines: all, or the longest sections are cut first, to one row at least.
fn fit(counts: &[usize], lines: usize) -> Vec<usize> {
    let mut shown = counts.to_vec();
    while shown.iter().map(|rows| rows + SECTION_LINES).sum::<usize>() > lines + 1 {
        match shown.iter_mut().max() {
            Some(most) if *most > 1 => *most -= 1,
            _ => break,
        }
    }
    shown
}

/// Widths of columns and the space between them in so many characters: closer together where it is narrow, then with a shorter name.
fn squeeze(mut widths: Vec<usize>, available: usize) -> (Vec<usize>, u16) {
    let total: usize = widths.iter().sum();
    let gaps = widths.len().saturating_sub(1);
    let spacing = if total + 2 * gaps <= available { 2 } else { 1 };
    let excess = (total + usize::from(spacing) * gaps).saturating_sub(available);
    if let Some(name) = widths.first_mut() {
        *name = name.saturating_sub(excess).max(NAME_MIN.min(*name));
    }
    (widths, spacing)
}

/// A text in so many characters.
fn shorten(text: &str, width: usize) -> String {
    match text.chars().count() > width {
        true => text.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

/// A section as a table of at most so many rows, the last of which says how many are left out.
fn table(section: &Section, rows_max: usize, available: usize, has_colour: bool) -> Table<'_> {
    let (widths, spacing) = squeeze(section.widths(), available);
    let cell = |at: usize, text: &str| match at {
        0 => Cell::from(Line::from(shorten(text, widths[0]))),
        _ => Cell::from(Line::from(text.to_owned()).right_aligned()),
    };
    let heads = section.columns.iter().enumerate().map(|(at, head)| cell(at, head));
    let head = Row::new(heads.collect::<Vec<_>>()).style(Style::new().add_modifier(Modifier::DIM));
    let is_cut = rows_max < section.rows.len();
    let whole = if is_cut { rows_max.saturating_sub(1) } else { section.rows.len() };
    let left = section.rows.len() - whole;
    // Losses must be seen, whatever else is cut off.
    let is_alarming = section.rows[whole..].iter().any(|row| row.alarm);
    let style = |alarm: bool| match alarm {
        true if has_colour => Style::new().fg(Color::Red),
        true => Style::new().add_modifier(Modifier::BOLD),
        false => Style::new(),
    };
    let rows = section.rows[..whole].iter().map(|row| {
        let cells = row.cells.iter().enumerate().map(|(at, text)| cell(at, text));
        Row::new(cells.collect::<Vec<_>>()).style(style(row.alarm))
    });
    let more = is_cut.then(|| {
        let text = format!("… {left} more");
        Row::new([Cell::from(Line::from(shorten(&text, widths[0])))]).style(style(is_alarming))
    });
    let widths = widths.iter().map(|width| Constraint::Length(*width as u16));
    let all: Vec<Row<'_>> = rows.chain(more).collect();
    Table::new(all, widths.collect::<Vec<_>>()).header(head).column_spacing(spacing)
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::top::figures;

    /// What a terminal of this size shows, without blank ends of lines.
    fn shown(figures: &Figures, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, figures)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..height).map(|y| line(y).trim_end().to_owned()).collect()
    }

    fn figures(queries: usize) -> Figures {
        let row = |number: usize| figures::Row {
            cells: ["_fta_requests @ eth0", "8.83k", "8.83k", "29022", "0", "0", "0", "0"]
                .map(str::to_owned)
                .into_iter()
                .chain([number.to_string()])
                .collect(),
            alarm: false,
        };
        let columns = [
            "query",
            "matched/s",
            "sent/s",
            "matched",
            "groups",
            "ejected",
            "late",
            "lost",
            "shed",
        ];
        let result = figures::Row { cells: vec!["requests".into(), "7".into()], alarm: false };
        Figures {
            title: "Web".into(),
            lasted: Duration::from_secs(3),
            sections: vec![
                Section { columns: columns.to_vec(), rows: (0..queries).map(row).collect() },
                Section { columns: vec!["result", "rows"], rows: vec![result] },
            ],
        }
    }

    #[test]
    fn a_narrow_terminal_shows_all_numbers() {
        let wide = shown(&figures(1), 120, 10);
        assert!(wide[3].starts_with("_fta_requests @ eth0      8.83k   8.83k"), "{wide:#?}");
        for width in [80, 70] {
            let lines = shown(&figures(1), width, 10);
            let head = lines[2].split_whitespace().collect::<Vec<_>>();
            assert_eq!(head.len(), 9, "{lines:#?}");
            assert!(head.contains(&"matched") && head.contains(&"ejected"), "{lines:#?}");
            assert!(lines[3].ends_with("29022      0       0    0    0    0"), "{lines:#?}");
        }
        assert!(shown(&figures(1), 70, 10)[3].starts_with("_fta_requests …  "));
    }

    #[test]
    fn a_low_terminal_says_how_much_it_leaves_out() {
        let lines = shown(&figures(20), 100, 14);
        assert_eq!(lines[10], "… 13 more", "{lines:#?}");
        assert_eq!(lines[12..], ["result    rows", "requests     7"], "{lines:#?}");
        assert_eq!(shown(&figures(3), 100, 14).join("\n").matches("more").count(), 0);
        assert_eq!(fit(&[20, 1], 12), [8, 1]);
        // Less than anything fits in: as much as there is room for, and no panic.
        assert_eq!(fit(&[20, 1], 2), [1, 1]);
        shown(&figures(20), 3, 1);
    }
}
