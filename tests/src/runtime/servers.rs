//! Servers that are configured by files and flags rather than written: nginx as a proxy, and PHP in its two usual ways.

use std::process::Command;

use anyhow::Result;

use super::build::source;
use super::{Lack, Runtime};
use crate::language::python;

pub const ROWS: &[Runtime] = &[
    Runtime {
        name: "nginx-proxy",
        needs: &["python3", "nginx"],
        command: || start("proxy"),
        lacks: &[Lack {
            cases: &["call", "call-8", "fan", "hop"],
            why: "a proxy makes no calls but those that every other case here has",
        }],
        is_proxy: true,
        gateway: None,
    },
    Runtime {
        name: "php-fpm",
        needs: &["python3", "nginx", "/usr/sbin/php-fpm*"],
        command: || start("php-fpm"),
        lacks: &[],
        is_proxy: false,
        gateway: Some("nginx"),
    },
    Runtime {
        name: "php-server",
        needs: &["python3", "php"],
        command: || start("php-server"),
        lacks: &[Lack {
            cases: &["kept-1", "kept-8", "kept-64"],
            why: "this server closes the connection after each answer",
        }],
        is_proxy: false,
        gateway: None,
    },
];

/// nginx with TLS on both sides, with the certificate that CERTIFICATE names.
pub fn tls_proxy() -> Result<Command> {
    start("tls-proxy")
}

/// php-fpm behind nginx, which keeps its connections to it, over TCP.
pub fn php_fpm_over_tcp() -> Result<Command> {
    start("php-fpm-tcp")
}

/// nginx in front of a function, in the way that FRONT names.
pub fn front() -> Result<Command> {
    start("front")
}

fn start(which: &str) -> Result<Command> {
    let mut command = Command::new(python()?);
    command.arg(source("start.py")).arg(which);
    Ok(command)
}
