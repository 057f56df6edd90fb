//! Go: where a program's `net/http` client begins to send a request, in the goroutine that asks for it. In: an executable
//! file. Out: the place for the uprobe and what its program has to know, or why there is none. Touches that file.

use std::fs::File;

use object::ReadCache;

use super::program::{Code, Fault, Program};
use crate::attach::placement::{self, Place, Register, FUNCTION_BYTES_MAX};
use crate::attach::targets::Site;

/// It runs once for each request over HTTP/1, with its receiver in the first register of arguments (Go's ABIInternal).
pub const FUNCTION: &str = "net/http.(*persistConn).roundTrip";
const RECEIVER: Register = Register::RAX;

/// Finds the place.
pub fn site(file: &File) -> Result<Site, Fault> {
    let cache = ReadCache::new(file);
    let program = Program::parse(file, &cache)?;
    let offsets = program.release()?.client;
    let function = program.function(FUNCTION)?;
    let place = place(&program, function)?;
    let file_offset = function.file_offset.checked_add(place.offset);
    Ok(Site {
        file_offset: file_offset.ok_or(Fault::NoText)?,
        place,
        cookie: offsets.cookie(),
    })
}

/// Where in the file a program starts: a place that every executable has.
pub fn start(file: &File) -> Option<u64> {
    let cache = ReadCache::new(file);
    Program::parse(file, &cache).ok()?.start()
}

fn place(program: &Program<'_>, function: Code) -> Result<Place, Fault> {
    if function.bytes as usize > FUNCTION_BYTES_MAX {
        return Err(placement::Fault::TooLong.into());
    }
    let bytes = program.read(function)?;
    Ok(placement::place(&bytes, function.address, &[RECEIVER])?)
}
