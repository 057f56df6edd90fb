//! Go: where a program's `net/http` client begins to send a request, in the goroutine that asks for it. In: a program and its
//! function. Out: the place for the uprobe and what its program has to know, or why there is none. Touches the program's file.

use std::fs::File;

use object::ReadCache;

use super::program::{Code, Fault, Program};
use super::releases::Release;
use crate::attach::placement::{self, Register};
use crate::attach::targets::Site;

/// It runs once for each request over HTTP/1, with its receiver in the first register of arguments (Go's ABIInternal).
pub const FUNCTION: &str = "net/http.(*persistConn).roundTrip";
const RECEIVER: Register = Register::RAX;

/// Finds the place.
pub fn site(program: &Program<'_>, release: &Release, function: Code) -> Result<Site, Fault> {
    let client = release.client.ok_or(Fault::NoClient)?;
    let bytes = program.read(function)?;
    let place = placement::place(&bytes, function.address, &[RECEIVER])?;
    function.site(place, client.cookie())
}

/// Where in the file a program starts: a place that every executable has.
pub fn start(file: &File) -> Option<u64> {
    let cache = ReadCache::new(file);
    Program::parse(file, &cache).ok()?.start()
}
