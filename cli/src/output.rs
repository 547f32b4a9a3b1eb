//! Text for people: tables, details, and secrets that stay hidden.

use std::io::{ErrorKind, Write};

use crate::{failure::Failure, style::Style};

/// Writes to standard output. Whoever reads it may stop reading: that is no
/// failure.
///
/// # Errors
///
/// The text can't be written.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out
        .write_all(text.as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
    {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::new(format!(
            "standard output can't be written: {error}"
        ))),
        _ => Ok(()),
    }
}

/// What stands for a secret: its length helps to tell two apart, and nothing
/// of it is shown.
pub fn hidden(secret: &str) -> String {
    format!("•••• ({} characters)", secret.chars().count())
}

/// A text that others chose, without what a terminal would act on.
pub fn harmless(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '·' } else { c };
    text.chars().map(shown).collect()
}

/// One cell: its text, and how it is painted.
#[derive(Debug, Clone)]
pub struct Cell {
    text: String,
    paint: fn(Style, &str) -> String,
}

impl Cell {
    /// A cell that `paint` colours, for instance `Style::good`.
    pub fn painted(text: &str, paint: fn(Style, &str) -> String) -> Self {
        let text = harmless(text);
        Self { text, paint }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::painted(text.as_ref(), |_, text| text.to_owned())
    }
}

/// Rows under a header, aligned.
#[derive(Debug)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    empty: &'static str,
}

impl Table {
    /// A table with this header; `empty` is said where it has no rows.
    pub fn new<const N: usize>(header: [&'static str; N], empty: &'static str) -> Self {
        Self {
            header: header.to_vec(),
            rows: Vec::new(),
            empty,
        }
    }

    /// Adds a row, which has as many cells as the header.
    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        debug_assert_eq!(N, self.header.len(), "a row as wide as the header");
        self.rows.push(cells.to_vec());
    }

    /// The table as text, without a line break at its end.
    pub fn render(&self, style: Style) -> String {
        if self.rows.is_empty() {
            return self.empty.to_owned();
        }
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].text.as_str());
            let texts = cells.chain([self.header[column]]);
            texts.map(|text| text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        let header: Vec<Cell> = self
            .header
            .iter()
            .map(|title| Cell::painted(title, Style::dim))
            .collect();
        let rows = [&header].into_iter().chain(&self.rows);
        let lines: Vec<String> = rows.map(|row| line(row, &widths, style)).collect();
        lines.join("\n")
    }
}

fn line(cells: &[Cell], widths: &[usize], style: Style) -> String {
    let mut line = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        line.push_str(&(cell.paint)(style, &cell.text));
        if column + 1 < cells.len() {
            let gap = width - cell.text.chars().count() + 2;
            line.extend(std::iter::repeat_n(' ', gap));
        }
    }
    line
}

/// One thing: names and values below each other. Empty values are left out.
#[derive(Debug, Default)]
pub struct Details {
    lines: Vec<(String, Cell)>,
}

impl Details {
    /// Adds a line.
    pub fn line(mut self, name: &str, value: impl Into<Cell>) -> Self {
        let value = value.into();
        if !value.text.is_empty() {
            self.lines.push((harmless(name), value));
        }
        self
    }

    /// The details as text, without a line break at its end.
    pub fn render(&self, style: Style) -> String {
        let widths = self.lines.iter().map(|(name, _)| name.chars().count());
        let widths = [widths.max().unwrap_or(0), 0];
        let lines: Vec<String> = self
            .lines
            .iter()
            .map(|(name, value)| {
                line(
                    &[Cell::painted(name, Style::dim), value.clone()],
                    &widths,
                    style,
                )
            })
            .collect();
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["NAME", "STATUS"], "No names yet.");
        table.row(["a-long-name".into(), Cell::painted("ACTIVE", Style::good)]);
        table.row(["é".into(), "PENDING".into()]);
        table
    }

    #[test]
    fn columns_align_by_characters_and_lines_end_without_blanks() {
        let text = "NAME         STATUS\na-long-name  ACTIVE\né            PENDING";
        assert_eq!(table().render(Style::plain()), text);
    }

    #[test]
    fn colours_do_not_shift_columns() {
        let text = table().render(Style::coloured());
        let line = text.lines().nth(1).unwrap();
        assert_eq!(line, "a-long-name  \x1b[32mACTIVE\x1b[0m");
    }

    #[test]
    fn an_empty_table_says_so() {
        let table = Table::new(["NAME"], "No names yet.");
        assert_eq!(table.render(Style::plain()), "No names yet.");
    }

    #[test]
    fn details_leave_out_what_is_empty() {
        let details = Details::default()
            .line("Name", "acme")
            .line("Category", "")
            .line("Display name", "Acme");
        assert_eq!(
            details.render(Style::plain()),
            "Name          acme\nDisplay name  Acme"
        );
    }

    #[test]
    fn what_others_chose_can_not_command_the_terminal() {
        let details = Details::default().line("User", "ada\x1b[2J\r\nroot");
        assert_eq!(details.render(Style::plain()), "User  ada·[2J··root");
    }

    #[test]
    fn a_hidden_secret_shows_its_length_only() {
        assert_eq!(hidden("made-up-sécret"), "•••• (14 characters)");
    }
}
