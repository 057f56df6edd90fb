//! One line for a span: a span in, a line out. Pure.

use super::text::{duration, time_of_day, Cells, Style};
use super::view::View;
use super::Screen;
use crate::enrich::Span;

/// From here on there is room for the evidence.
const WIDE_COLUMNS: usize = 100;
const SERVICE_COLUMNS: usize = 16;
/// With the space before it.
const EVIDENCE_COLUMNS: usize = 17;
const DURATION_COLUMNS: usize = 9;
/// `✗ 503`
const STATUS_COLUMNS: usize = 5;

/// `12:04:31.218  checkout  ← GET  /cart/42  200  12.4 ms  header`, its columns aligned with every other line's.
pub fn line(span: &Span, screen: &Screen) -> String {
    let width = screen.width();
    let view = View::of(span);
    let duration_end = match width >= WIDE_COLUMNS {
        true => width - EVIDENCE_COLUMNS,
        false => width,
    };
    let status_end = duration_end - DURATION_COLUMNS - 1;
    let mut cells = Cells::new(screen.colour);
    let time = time_of_day(span.started().0, screen.utc_offset);
    cells.put(Style::Dim, &time, 12);
    cells.pad(14);
    let service_end = 14 + SERVICE_COLUMNS;
    cells.put(Style::of_service(&view.service), &view.service, service_end);
    cells.pad(service_end + 1);
    cells.put(Style::Dim, view.arrow, status_end);
    cells.put(Style::Plain, " ", status_end);
    let target_end = status_end - STATUS_COLUMNS - 1;
    if !view.method.is_empty() {
        cells.put(Style::Bold, &format!("{:<4} ", view.method), target_end);
    }
    view.put_target(&mut cells, true, target_end);
    cells.put_right(view.status_style, &view.marked_status(), status_end);
    cells.put_right(Style::Plain, &duration(view.duration), duration_end);
    if duration_end < width {
        cells.pad(duration_end + 2);
        cells.put(Style::Dim, view.evidence, width);
    }
    cells.finish()
}
