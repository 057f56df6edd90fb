//! A table for people and the same as Markdown. In: columns and rows in groups. Out: text.

/// Rows under a title each; the first column is left-aligned, the others right.
#[derive(Clone, Debug)]
pub struct Sheet {
    columns: Vec<String>,
    groups: Vec<(String, Vec<Vec<String>>)>,
}

impl Sheet {
    pub fn new(columns: &[&str]) -> Self {
        Self {
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            groups: Vec::new(),
        }
    }

    /// Rows that belong together; an empty title is not written.
    pub fn group(&mut self, title: impl Into<String>, rows: Vec<Vec<String>>) {
        self.groups.push((title.into(), rows));
    }

    /// Aligned, for a terminal.
    pub fn text(&self) -> String {
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|index| self.width(index))
            .collect();
        let line = |row: &[String]| {
            let cells = row.iter().zip(&widths).enumerate();
            let cells = cells.map(|(index, (cell, width))| match index {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            format!("  {}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
        };
        let mut text = String::new();
        for (title, rows) in &self.groups {
            if !title.is_empty() {
                text += &format!("\n{title}\n");
            }
            text += &line(&self.columns);
            text.extend(rows.iter().map(|row| line(row)));
        }
        text
    }

    /// A table for each group, its title in bold above.
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut text = String::new();
        for (title, rows) in &self.groups {
            if !title.is_empty() {
                text += &format!("\n**{title}**\n");
            }
            text += "\n";
            text += &line(&self.columns);
            text += &format!("|---|{}\n", "--:|".repeat(self.columns.len() - 1));
            text.extend(rows.iter().map(|row| line(row)));
        }
        text
    }

    fn width(&self, index: usize) -> usize {
        let rows = self.groups.iter().flat_map(|(_, rows)| rows);
        let cells = rows.chain([&self.columns]).filter_map(|row| row.get(index));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet() -> Sheet {
        let mut table = Sheet::new(&["what", "µs"]);
        let row = |name: &str, value: &str| vec![name.to_owned(), value.to_owned()];
        table.group("go", vec![row("nothing", "0.1"), row("agent", "12.5")]);
        table
    }

    #[test]
    fn columns_are_aligned() {
        assert_eq!(
            sheet().text(),
            "\ngo\n  what       µs\n  nothing   0.1\n  agent    12.5\n"
        );
    }

    #[test]
    fn markdown_has_the_same_cells() {
        assert_eq!(
            sheet().markdown(),
            "\n**go**\n\n| what | µs |\n|---|--:|\n| nothing | 0.1 |\n| agent | 12.5 |\n"
        );
    }
}
