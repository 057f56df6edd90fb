//! The function in Ruby.

use std::process::Command;

use super::build::source;
use super::Runtime;

pub const ROWS: &[Runtime] = &[Runtime::new("ruby-puma", &["ruby", "puma"], || {
    let mut command = Command::new("ruby");
    command.arg(source("ruby/function.rb"));
    Ok(command)
})];
