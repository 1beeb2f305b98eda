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

fn draw(frame: &mut Frame<'_>, figures: &Figures) {
    let has_colour = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let heights = figures.sections.iter().map(|s| Constraint::Length(s.rows.len() as u16 + 2));
    let rows: Vec<_> = std::iter::once(Constraint::Length(2)).chain(heights).collect();
    let areas = Layout::vertical(rows).split(frame.area());
    let head = Line::from(vec![
        Span::styled(figures.headline(), Style::new().add_modifier(Modifier::BOLD)),
        Span::raw("   q quits"),
    ]);
    frame.render_widget(head, areas[0]);
    for (section, area) in figures.sections.iter().zip(areas.iter().skip(1)) {
        frame.render_widget(table(section, has_colour), *area);
    }
}

fn table(section: &Section, has_colour: bool) -> Table<'_> {
    let widths: Vec<Constraint> = (0..section.columns.len())
        .map(|at| {
            let cells = section.rows.iter().map(|row| row.cells[at].chars().count());
            let width = cells.chain([section.columns[at].len()]).max().unwrap_or(0);
            Constraint::Length(width as u16)
        })
        .collect();
    let right = |at: usize, text: &str| {
        let line = Line::from(text.to_owned());
        Cell::from(if at == 0 { line } else { line.right_aligned() })
    };
    let heads = section.columns.iter().enumerate().map(|(at, head)| right(at, head));
    let head = Row::new(heads.collect::<Vec<_>>()).style(Style::new().add_modifier(Modifier::DIM));
    let rows = section.rows.iter().map(|row| {
        let cells = row.cells.iter().enumerate().map(|(at, cell)| right(at, cell));
        let style = match row.alarm {
            true if has_colour => Style::new().fg(Color::Red),
            true => Style::new().add_modifier(Modifier::BOLD),
            false => Style::new(),
        };
        Row::new(cells.collect::<Vec<_>>()).style(style)
    });
    Table::new(rows.collect::<Vec<_>>(), widths).header(head).column_spacing(2)
}
