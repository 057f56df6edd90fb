//! How truly the agent says who called whom. A driver sends random trees of requests and remembers them; a scorer reads
//! the spans that a collector received and compares. In: functions, rows of a table to fill. Out: scores.
//!
//! Nothing here knows how the agent finds parents, and the agent takes the ids in the paths for any path.

pub mod controls;
pub mod drive;
pub mod durations;
pub mod fronts;
pub mod habits;
pub mod plan;
pub mod random;
pub mod run;
pub mod score;
pub mod spans;
pub mod subjects;
pub mod table;
mod throttle;

pub use fronts::Front;
pub use habits::Habit;
pub use plan::{Row, Service, Shape};
pub use run::{Run, Setting};
pub use score::Score;
