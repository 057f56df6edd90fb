//! Cells of a terminal line: foreign text in, harmless text of a known width out. Pure.

use std::time::Duration;

/// How a piece of text is shown where colours are on (SGR parameters).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Plain,
    Dim,
    Bold,
    Red,
    Yellow,
    Green,
    /// One of a few well-told-apart colours.
    Service(usize),
}

/// Blue, magenta, cyan, and their bright forms: those that mean nothing else here.
const SERVICE_COLOURS: [&str; 6] = ["36", "35", "34", "96", "95", "94"];

impl Style {
    /// The colour of a service: the same wherever its name is shown.
    pub fn of_service(name: &str) -> Self {
        let sum = name.bytes().fold(5381usize, |sum, byte| {
            sum.wrapping_mul(33).wrapping_add(byte.into())
        });
        Self::Service(sum % SERVICE_COLOURS.len())
    }

    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Dim => "2",
            Self::Bold => "1",
            Self::Red => "31",
            Self::Yellow => "33",
            Self::Green => "32",
            Self::Service(index) => SERVICE_COLOURS[index % SERVICE_COLOURS.len()],
        }
    }
}

/// A line under construction.
pub struct Cells {
    text: String,
    used: usize,
    colour: bool,
}

impl Cells {
    pub fn new(colour: bool) -> Self {
        Self {
            text: String::new(),
            used: 0,
            colour,
        }
    }

    /// Appends text up to column `end`; what does not fit ends in `…`.
    pub fn put(&mut self, style: Style, text: &str, end: usize) {
        let room = self.room(end);
        let length = text.chars().count();
        let code = style.code();
        let painted = self.colour && !code.is_empty() && length > 0 && room > 0;
        if painted {
            self.text.push_str(&format!("\x1b[{code}m"));
        }
        if length <= room {
            self.text.push_str(text);
        } else if room > 0 {
            self.text.extend(text.chars().take(room - 1));
            self.text.push('…');
        }
        self.used += length.min(room);
        if painted {
            self.text.push_str("\x1b[0m");
        }
    }

    /// Columns up to `end`.
    pub fn room(&self, end: usize) -> usize {
        end.saturating_sub(self.used)
    }

    /// Appends text so that it ends at column `end`.
    pub fn put_right(&mut self, style: Style, text: &str, end: usize) {
        self.pad(end.saturating_sub(text.chars().count()));
        self.put(style, text, end);
    }

    /// Appends spaces up to column `column`.
    pub fn pad(&mut self, column: usize) {
        let spaces = column.saturating_sub(self.used);
        self.text.extend(std::iter::repeat_n(' ', spaces));
        self.used += spaces;
    }

    /// The line, without what is blank at its end.
    pub fn finish(self) -> String {
        format!("{}\n", self.text.trim_end())
    }
}

/// Text from outside with everything escaped that would move the cursor, change colours or hide itself.
pub fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\'' | '"' => clean.push(c),
            _ => clean.extend(c.escape_debug()),
        }
    }
    clean
}

/// Three significant digits: `356 µs`, `1.23 ms`, `12.4 s`, `2 m 05 s`.
pub fn duration(duration: Duration) -> String {
    let nanos = duration.as_nanos() as f64;
    let (value, unit) = match duration.as_secs() {
        // What rounds up to the next unit is written in it.
        0 if nanos < 999.5e3 => (nanos / 1e3, "µs"),
        0 if nanos < 999.5e6 => (nanos / 1e6, "ms"),
        seconds @ 60..3600 => return format!("{} m {:02} s", seconds / 60, seconds % 60),
        seconds @ 3600.. => return format!("{} h {:02} m", seconds / 3600, seconds / 60 % 60),
        _ => (nanos / 1e9, "s"),
    };
    match value {
        _ if value < 9.995 => format!("{value:.2} {unit}"),
        _ if value < 99.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// `12:04:31.218` of nanoseconds since the epoch.
pub fn time_of_day(nanos: u64, utc_offset: i64) -> String {
    let millis = (nanos / 1_000_000) as i64 + utc_offset * 1000;
    let day = millis.rem_euclid(86_400_000);
    format!(
        "{:02}:{:02}:{:02}.{:03}",
        day / 3_600_000,
        day / 60_000 % 60,
        day / 1000 % 60,
        day % 1000
    )
}
