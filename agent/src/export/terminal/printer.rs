//! Spans and the time in, what is written about them out. Pure but for the width of the screen.

use std::time::Instant;

use super::json::json;
use super::line::line;
use super::traces::{Held, Traces};
use super::waterfall::waterfall;
use super::Screen;
use crate::enrich::Span;
use crate::export::Output;

/// Writes spans down as one of the outputs has it.
pub struct Printer {
    output: Output,
    screen: Screen,
    traces: Traces,
    text: String,
    spans: usize,
    /// What was written last.
    last: Option<Shape>,
}

/// A blank line stands around waterfalls, and none between lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Line,
    Waterfall,
}

impl Printer {
    pub fn new(output: Output, held: Held, screen: Screen) -> Self {
        Self {
            output,
            screen,
            traces: Traces::new(held),
            text: String::new(),
            spans: 0,
            last: None,
        }
    }

    /// A span finished.
    pub fn push(&mut self, span: Span, now: Instant) {
        match self.output {
            Output::Text => {
                if let Some(trace) = self.traces.push(span, now) {
                    self.write_trace(&trace);
                }
            }
            Output::Lines => self.write(&line(&span, &self.screen), 1),
            Output::Json => self.write(&json(&span), 1),
            Output::None => self.write("", 1),
        }
    }

    /// Time passed: traces may be complete.
    pub fn tick(&mut self, now: Instant) {
        for trace in self.traces.due(now) {
            self.write_trace(&trace);
        }
    }

    /// There will be no more spans.
    pub fn finish(&mut self) {
        for trace in self.traces.all() {
            self.write_trace(&trace);
        }
    }

    /// The text written since the last time, and how many spans it is about.
    pub fn take(&mut self) -> (String, usize) {
        (
            std::mem::take(&mut self.text),
            std::mem::take(&mut self.spans),
        )
    }

    fn write_trace(&mut self, trace: &[Span]) {
        let (shape, text) = match trace {
            [span] => (Shape::Line, line(span, &self.screen)),
            _ => (Shape::Waterfall, waterfall(trace, &self.screen)),
        };
        let last = self.last.replace(shape);
        if last.is_some() && (last, shape) != (Some(Shape::Line), Shape::Line) {
            self.text.push('\n');
        }
        self.write(&text, trace.len());
    }

    fn write(&mut self, text: &str, spans: usize) {
        self.text.push_str(text);
        self.spans += spans;
    }
}
