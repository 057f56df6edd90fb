//! What standard output is: the environment and the terminal in, width, colour and time zone out. Touches both.

use std::io::IsTerminal;
use std::time::{SystemTime, UNIX_EPOCH};

/// Narrower terminals get wrapped lines; on wider ones, long bars help nobody.
const COLUMNS_MIN: usize = 60;
const COLUMNS_MAX: usize = 180;
/// Where there is no terminal to ask.
const COLUMNS_DEFAULT: usize = 120;

/// How wide the screen is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    Fixed(usize),
    /// As wide as the terminal is now: it may be resized.
    OfTerminal,
}

/// How to write for who reads.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    pub columns: Columns,
    pub colour: bool,
    /// Of local time, seconds east of UTC, as it was at start.
    pub utc_offset: i64,
}

impl Screen {
    /// Colours only on a terminal and without `NO_COLOR`; width from `COLUMNS`, else from the terminal.
    pub fn of_stdout() -> Self {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let terminal = std::io::stdout().is_terminal();
        let dumb = set("TERM").is_some_and(|term| term == "dumb");
        let columns = set("COLUMNS").and_then(|columns| columns.parse().ok());
        Self {
            columns: match columns {
                Some(columns) => Columns::Fixed(columns),
                None if terminal => Columns::OfTerminal,
                None => Columns::Fixed(COLUMNS_DEFAULT),
            },
            colour: terminal && !dumb && set("NO_COLOR").is_none(),
            utc_offset: utc_offset(),
        }
    }

    /// Columns to write in, now.
    pub fn width(&self) -> usize {
        let columns = match self.columns {
            Columns::Fixed(columns) => columns,
            Columns::OfTerminal => terminal_columns().unwrap_or(COLUMNS_DEFAULT),
        };
        columns.clamp(COLUMNS_MIN, COLUMNS_MAX)
    }
}

fn terminal_columns() -> Option<usize> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ writes one winsize through the pointer, which is to a live one.
    let result = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &mut size) };
    (result == 0 && size.ws_col > 0).then_some(size.ws_col.into())
}

fn utc_offset() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs() as libc::time_t;
    // SAFETY: a tm of zeros is valid (integers and a pointer that may be null).
    let mut local: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values; localtime_r keeps neither.
    let result = unsafe { libc::localtime_r(&now, &mut local) };
    if result.is_null() {
        return 0;
    }
    local.tm_gmtoff
}
