//! The five languages of the other cases, as rows of the table of runtimes.

use super::Runtime;
use crate::language::Language;

pub const ROWS: &[Runtime] = &[
    Runtime::new("go", &["go"], || Language::Go.command()),
    Runtime::new("python", &["python3"], || Language::Python.command()),
    Runtime::new("node", &["node"], || Language::Node.command()),
    Runtime::new("java", &["javac", "java"], || Language::Java.command()),
    Runtime::new("c", &["gcc"], || Language::C.command()),
];
