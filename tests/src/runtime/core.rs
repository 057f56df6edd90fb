//! The five languages of the other cases, as rows of the table of runtimes.

use super::{Lack, Runtime};
use crate::language::Language;

pub const ROWS: &[Runtime] = &[
    Runtime {
        name: "go",
        needs: &["go"],
        command: || Language::Go.command(),
        lacks: NOTHING,
        is_proxy: false,
    },
    Runtime {
        name: "python",
        needs: &["python3"],
        command: || Language::Python.command(),
        lacks: NOTHING,
        is_proxy: false,
    },
    Runtime {
        name: "node",
        needs: &["node"],
        command: || Language::Node.command(),
        lacks: NOTHING,
        is_proxy: false,
    },
    Runtime {
        name: "java",
        needs: &["javac", "java"],
        command: || Language::Java.command(),
        lacks: NOTHING,
        is_proxy: false,
    },
    Runtime {
        name: "c",
        needs: &["gcc"],
        command: || Language::C.command(),
        lacks: NOTHING,
        is_proxy: false,
    },
];

const NOTHING: &[Lack] = &[];
