//! A trace as an indented waterfall: its spans in, lines out. Pure but for the width of the screen.
//!
//! Each span stands under its parent, the first started first, with a bar to scale and, at the end of its line, what
//! its parent is known by. The service is named where it changes.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::text::{duration, time_of_day, Cells, Style};
use super::view::View;
use super::Screen;
use crate::enrich::span::{Kind, Span, SpanId};
use crate::enrich::Evidence;

/// Lines of one trace; what is over is only counted.
const LINES_MAX: usize = 60;
/// Levels that are indented; deeper spans stand at the last.
const INDENTED_LEVELS_MAX: usize = 10;
/// Each with the space before it.
const STATUS_COLUMNS: usize = 6;
const FIGURE_COLUMNS: usize = 10;
const EVIDENCE_COLUMNS: usize = 12;
const WIDE_EVIDENCE_COLUMNS: usize = 16;
/// From here on there is room for when each span started, which the bars show too.
const WIDE_COLUMNS: usize = 110;

/// The trace, with a line above it that sums it up.
pub fn waterfall(spans: &[Span], screen: &Screen) -> String {
    let started = spans.iter().map(|span| span.started().0).min().unwrap_or(0);
    let ended = spans.iter().map(|span| span.ended().0).max().unwrap_or(0);
    let frame = Frame::new(started, ended, screen);
    let rows = rows(spans);
    let mut text = heading(spans, &frame, screen);
    for row in rows.iter().take(LINES_MAX) {
        text.push_str(&frame.line(row));
    }
    if let Some(more @ 1..) = rows.len().checked_sub(LINES_MAX) {
        text.push_str(&format!("  … {more} more spans\n"));
    }
    text
}

fn heading(spans: &[Span], frame: &Frame, screen: &Screen) -> String {
    let failed = |span: &&Span| View::of(span).error.is_some();
    let errors = spans.iter().filter(failed).count();
    let mut cells = Cells::new(screen.colour);
    let end = frame.width;
    let time = time_of_day(frame.started, screen.utc_offset);
    cells.put(Style::Dim, &time, end);
    let whole = duration(Duration::from_nanos(frame.whole));
    cells.put(Style::Bold, &format!("  {whole}"), end);
    let number = counted(spans.len(), "span");
    cells.put(Style::Plain, &format!("  {number}"), end);
    if errors > 0 {
        cells.put(Style::Plain, ", ", end);
        cells.put(Style::Red, &counted(errors, "error"), end);
    }
    if let Some(span) = spans.first() {
        cells.put(Style::Plain, "  ", end);
        cells.put_right(Style::Dim, &span.trace_id.to_string(), end);
    }
    cells.finish()
}

fn counted(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

/// A span at its place in the tree.
struct Row<'a> {
    span: &'a Span,
    /// Lines of the tree before it.
    prefix: String,
    /// Its parent's service is the same, and shown.
    same_service: bool,
    /// The other end of its connection is among its children.
    answered: bool,
}

/// Spans in tree order. Every span is in it once, also where parents are missing or go round in a circle.
fn rows(spans: &[Span]) -> Vec<Row<'_>> {
    let present: HashSet<SpanId> = spans.iter().map(|span| span.span_id).collect();
    let mut children: HashMap<Option<SpanId>, Vec<&Span>> = HashMap::new();
    for span in spans {
        let parent = span
            .parent_span_id
            .filter(|parent| present.contains(parent) && *parent != span.span_id);
        children.entry(parent).or_default().push(span);
    }
    for siblings in children.values_mut() {
        siblings.sort_by_key(|span| (span.started(), span.span_id));
    }
    let mut rows = Vec::with_capacity(spans.len());
    for root in children.remove(&None).unwrap_or_default() {
        grow(root, &mut children, &mut rows);
    }
    // What is left hangs on a circle: begin it anywhere.
    while let Some(key) = children.keys().min().copied() {
        for span in children.remove(&key).unwrap_or_default() {
            grow(span, &mut children, &mut rows);
        }
    }
    rows
}

/// Appends a span and what is under it, without recursion: the depth is foreign.
fn grow<'a>(
    root: &'a Span,
    children: &mut HashMap<Option<SpanId>, Vec<&'a Span>>,
    rows: &mut Vec<Row<'a>>,
) {
    // The span, the tree before it, the tree before its children, its parent.
    let mut open = vec![(root, String::new(), String::new(), None)];
    while let Some((span, prefix, below, parent)) = open.pop() {
        let same_service = parent.is_some_and(|parent: &Span| {
            parent.resource.text("service.name") == span.resource.text("service.name")
        });
        let under = children.remove(&Some(span.span_id)).unwrap_or_default();
        rows.push(Row {
            span,
            prefix,
            same_service,
            answered: under
                .iter()
                .any(|child| child.evidence == Some(Evidence::Connection)),
        });
        let deep = below.chars().count() / 3 >= INDENTED_LEVELS_MAX;
        for (index, child) in under.iter().enumerate().rev() {
            let last = index + 1 == under.len();
            let (branch, trunk) = match last {
                true => ("└─ ", "   "),
                false => ("├─ ", "│  "),
            };
            let child_below = match deep {
                true => below.clone(),
                false => format!("{below}{trunk}"),
            };
            open.push((child, format!("{below}{branch}"), child_below, Some(span)));
        }
    }
}

/// Where the columns are, and what the bars are to the scale of.
struct Frame {
    started: u64,
    whole: u64,
    colour: bool,
    label_end: usize,
    bar_start: usize,
    bar_columns: usize,
    width: usize,
    wide: bool,
}

impl Frame {
    fn new(started: u64, ended: u64, screen: &Screen) -> Self {
        let width = screen.width();
        let wide = width >= WIDE_COLUMNS;
        let (figures, evidence) = match wide {
            true => (STATUS_COLUMNS + 2 * FIGURE_COLUMNS, WIDE_EVIDENCE_COLUMNS),
            false => (STATUS_COLUMNS + FIGURE_COLUMNS, EVIDENCE_COLUMNS),
        };
        let flexible = width - figures - 2 - evidence;
        let label_end = flexible * 2 / 3;
        Self {
            started,
            whole: ended.saturating_sub(started),
            colour: screen.colour,
            label_end,
            bar_start: label_end + figures + 2,
            bar_columns: flexible - label_end,
            width,
            wide,
        }
    }

    fn line(&self, row: &Row) -> String {
        let view = View::of(row.span);
        let mut cells = Cells::new(self.colour);
        self.label(&mut cells, row, &view);
        let mut end = self.label_end + STATUS_COLUMNS;
        cells.put_right(view.status_style, &view.marked_status(), end);
        if self.wide {
            end += FIGURE_COLUMNS;
            cells.put_right(Style::Dim, &self.offset(row.span), end);
        }
        end += FIGURE_COLUMNS;
        cells.put_right(Style::Plain, &duration(view.duration), end);
        let style = match view.error {
            Some(_) => Style::Red,
            None => Style::of_service(&view.service),
        };
        let (start, bar) = self.bar(row.span);
        cells.pad(self.bar_start + start);
        let bar_end = self.bar_start + self.bar_columns;
        cells.put(style, &bar, bar_end);
        cells.pad(bar_end + 1);
        cells.put(Style::Dim, view.evidence, self.width);
        cells.finish()
    }

    fn label(&self, cells: &mut Cells, row: &Row, view: &View) {
        cells.put(Style::Dim, &format!("  {}", row.prefix), self.label_end);
        if !row.same_service {
            let style = Style::of_service(&view.service);
            cells.put(style, &format!("{} ", view.service), self.label_end);
        }
        cells.put(Style::Dim, &format!("{} ", view.arrow), self.label_end);
        if !view.method.is_empty() {
            cells.put(Style::Bold, &format!("{} ", view.method), self.label_end);
        }
        // The service that answers is named in the line below.
        view.put_target(cells, !row.answered, self.label_end);
    }

    /// How long after the trace; nothing where it begins it.
    fn offset(&self, span: &Span) -> String {
        match span.started().0.saturating_sub(self.started) {
            0 => String::new(),
            offset => format!("+{}", duration(Duration::from_nanos(offset))),
        }
    }

    /// The column where the bar starts, and the bar: eighths of a column at its end, never nothing.
    fn bar(&self, span: &Span) -> (usize, String) {
        const EIGHTHS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];
        let eighths = (self.bar_columns * 8) as f64;
        let place = |time: u64| match self.whole {
            0 => 0.0,
            whole => time.saturating_sub(self.started) as f64 / whole as f64 * eighths,
        };
        let start = (place(span.started().0) as usize / 8).min(self.bar_columns - 1);
        let end = place(span.ended().0).round() as usize;
        let length = end.saturating_sub(start * 8).max(1);
        if span.kind() == Kind::Client {
            return (start, "▒".repeat(length.div_ceil(8)));
        }
        let mut bar = "█".repeat(length / 8);
        bar.extend(
            (length % 8)
                .checked_sub(1)
                .and_then(|rest| EIGHTHS.get(rest)),
        );
        (start, bar)
    }
}
