//! The table of runtimes as text. In: rows. Out: a table for a terminal or in Markdown, what its words mean, what its cells
//! cannot say, and the tally.

use std::fmt::Write;

use spanlet_e2e::table::{CASES, STRAYS};

use super::{columns, Cell, Row};

/// The table, then a line for each cell that is not passed, then `N passed, N failed, N skipped`.
pub fn table(rows: &[Row], markdown: bool) -> String {
    let mut lines = vec![header(markdown)];
    if markdown {
        lines.push(format!("|---{}|", "|:-:".repeat(columns().len())));
    }
    lines.extend(rows.iter().map(|row| line(row, markdown)));
    lines.extend([String::new(), legend(), String::new()]);
    lines.extend(rows.iter().flat_map(|row| remarks(row, markdown)));
    lines.push(tally(rows));
    lines.join("\n") + "\n"
}

fn header(markdown: bool) -> String {
    if markdown {
        return format!("| runtime | {} |", columns().join(" | "));
    }
    let mut header = format!("{:<24}", "RUNTIME");
    for column in columns() {
        // Writing to a string cannot fail.
        let _ = write!(header, " {column:<7}");
    }
    header.trim_end().to_owned()
}

fn legend() -> String {
    let cases = CASES
        .iter()
        .map(|case| format!("{}: {}", case.name, case.about));
    let last = format!("{STRAYS}: there are no other spans");
    cases.chain([last]).collect::<Vec<_>>().join("; ") + "."
}

fn line(row: &Row, markdown: bool) -> String {
    let words = row.cells.iter().map(word);
    if markdown {
        return format!(
            "| {} | {} |",
            row.name,
            words.collect::<Vec<_>>().join(" | ")
        );
    }
    let words = words.map(|word| format!(" {word:<7}"));
    let line = format!("{:<24}{}", row.name, words.collect::<String>());
    line.trim_end().to_owned()
}

fn word(cell: &Cell) -> &'static str {
    match cell {
        Cell::Passed => "pass",
        Cell::Failed(_) => "FAIL",
        Cell::Skipped(_) => "-",
    }
}

/// What failed, cell by cell; what is lacking, reason by reason.
fn remarks(row: &Row, markdown: bool) -> Vec<String> {
    let columns = columns();
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut remarks = Vec::new();
    for (cell, column) in row.cells.iter().zip(&columns) {
        match cell {
            Cell::Passed => {}
            Cell::Failed(why) => {
                let failed = why
                    .iter()
                    .map(|why| format!("{}: FAIL: {column}: {why}", row.name));
                remarks.extend(failed);
            }
            Cell::Skipped(why) => match reasons.iter_mut().find(|(other, _)| other == why) {
                Some((_, cases)) => cases.push(column),
                None => reasons.push((why, vec![column])),
            },
        }
    }
    for (why, cases) in reasons {
        let cases = match cases.len() == columns.len() {
            true => "all".to_owned(),
            false => cases.join(", "),
        };
        remarks.push(format!("{}: not in {cases}: {why}", row.name));
    }
    let mark = if markdown { "- " } else { "" };
    remarks
        .iter()
        .map(|remark| format!("{mark}{remark}"))
        .collect()
}

fn tally(rows: &[Row]) -> String {
    let count = |word_of: &str| {
        let cells = rows.iter().flat_map(|row| &row.cells);
        cells.filter(|cell| word(cell) == word_of).count()
    };
    format!(
        "{} passed, {} failed, {} skipped",
        count("pass"),
        count("FAIL"),
        count("-")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        let mut cells = vec![Cell::Passed; columns().len()];
        cells[0] = Cell::Failed(vec!["sys-exit: 2 spans".to_owned()]);
        cells[1] = Cell::Skipped("closes".to_owned());
        cells[3] = Cell::Skipped("closes".to_owned());
        Row { name: "one", cells }
    }

    #[test]
    fn each_cell_is_there_and_explained() {
        let printed = table(&[row()], false);
        let lines: Vec<_> = printed.lines().collect();
        assert!(lines[1].starts_with("one                      FAIL    -       pass    -"));
        assert_eq!(lines[5], "one: FAIL: kept-1: sys-exit: 2 spans");
        assert_eq!(lines[6], "one: not in kept-8, new-1: closes");
        let passed = columns().len() - 3;
        assert_eq!(lines[7], format!("{passed} passed, 1 failed, 2 skipped"));
    }

    #[test]
    fn markdown_has_a_cell_for_each_column() {
        let printed = table(&[row()], true);
        let bars = |line: &str| line.matches('|').count();
        let lines: Vec<_> = printed.lines().take(3).map(bars).collect();
        assert_eq!(lines, [columns().len() + 2; 3]);
    }
}
