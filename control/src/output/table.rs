//! Aligned columns for people: numbers to the right, a rule under the header. Widths are those of the first rows; a later
//! value that is wider than its column pushes its line, so that memory stays bounded on any result.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;
use wt_catalog::{Type, Value};
use wt_plan::physical::Schema;

use super::{Writer, text};

/// Rows looked at to choose the widths.
const WIDTH_ROWS_MAX: usize = 1000;
/// Widest column that alignment pads to.
const WIDTH_MAX: usize = 60;

/// Writes a table.
pub struct Table<W: Write> {
    out: W,
    title: Option<String>,
    names: Vec<String>,
    types: Vec<Type>,
    widths: Vec<usize>,
    waiting: Vec<Vec<String>>,
    started: bool,
    rows: u64,
}

impl<W: Write> Table<W> {
    /// A writer; `title` stands above the columns where several results share the stream.
    pub fn new(out: W, schema: &Schema, title: Option<String>) -> Self {
        let names: Vec<String> = schema.columns.iter().map(|c| c.name.clone()).collect();
        let types = schema.columns.iter().map(|c| c.ty).collect();
        let widths = names.iter().map(|n| n.width()).collect();
        Self { out, title, names, types, widths, waiting: Vec::new(), started: false, rows: 0 }
    }

    fn start(&mut self) -> io::Result<()> {
        self.started = true;
        for row in &self.waiting {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width().min(WIDTH_MAX));
            }
        }
        if let Some(title) = &self.title {
            writeln!(self.out, "-- {title}")?;
        }
        let names = self.names.clone();
        self.line(&names)?;
        let rule: Vec<String> = self.widths.iter().map(|w| "─".repeat(*w)).collect();
        writeln!(self.out, "{}", rule.join("  "))?;
        for row in std::mem::take(&mut self.waiting) {
            self.line(&row)?;
        }
        Ok(())
    }

    fn line(&mut self, cells: &[String]) -> io::Result<()> {
        let mut line = String::new();
        for (i, cell) in cells.iter().enumerate() {
            let pad = self.widths[i].saturating_sub(cell.width());
            let right = is_right_aligned(self.types[i]);
            if i > 0 {
                line.push_str("  ");
            }
            if right {
                line.extend(std::iter::repeat_n(' ', pad));
            }
            line.push_str(cell);
            if !right && i + 1 < cells.len() {
                line.extend(std::iter::repeat_n(' ', pad));
            }
        }
        writeln!(self.out, "{line}")
    }
}

fn is_right_aligned(ty: Type) -> bool {
    ty.is_numeric() || matches!(ty, Type::Duration | Type::TimeVal)
}

impl<W: Write + Send> Writer for Table<W> {
    fn row(&mut self, values: &[Value]) -> io::Result<()> {
        let cells: Vec<String> =
            values.iter().zip(&self.types).map(|(v, ty)| text(v, *ty)).collect();
        self.rows += 1;
        if self.started {
            return self.line(&cells);
        }
        self.waiting.push(cells);
        if self.waiting.len() < WIDTH_ROWS_MAX {
            return Ok(());
        }
        self.start()?;
        // Under a title the table comes in blocks, each with its header: rows of other results may stand between.
        self.started = self.title.is_none();
        Ok(())
    }

    fn window(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        if !self.started && (self.rows == 0 || !self.waiting.is_empty()) {
            self.start()?;
        }
        let plural = if self.rows == 1 { "" } else { "s" };
        writeln!(self.out, "({} row{plural})", self.rows)?;
        if self.title.is_some() {
            writeln!(self.out)?;
        }
        self.out.flush()
    }
}
