//! Where a function that has a symbol is in a file, and where in it a probe is cheap. In: an executable or a library. Out: the
//! place, or why there is none. Touches that file.

use std::fs::File;

use object::ReadCache;

use super::image::Image;
use super::placement::{self, Register, FUNCTION_BYTES_MAX};
use super::plan::{
    Hook, Probe, TOKIO_SCHEDULE, TOKIO_SPAWN, TOKIO_WAKE_BY_REFERENCE, TOKIO_WAKE_BY_VALUE,
    UVLOOP_WRITE, UV_TCP_CONNECT, UV_TCP_INIT,
};
use super::symbol_table::{self, Symbol};
use super::targets::Site;

/// Where a probe's function is in a file. Errors: why there is no place.
pub fn site(file: &File, probe: Probe) -> Result<Site, String> {
    let cache = ReadCache::new(file);
    let image = Image::read(file, &cache).map_err(|fault| fault.to_string())?;
    let function = function(file, &image, probe.function())?;
    site_of(&image, probe, function)
}

/// The same, of a function that was looked for.
pub fn site_of(image: &Image<'_>, probe: Probe, function: Option<Symbol>) -> Result<Site, String> {
    let name = probe.function();
    let function = function.ok_or(format!("it has no symbol {name}"))?;
    if function.bytes > FUNCTION_BYTES_MAX as u64 {
        return Err(placement::Fault::TooLong.to_string());
    }
    let bytes = image.bytes(function.address, function.bytes as usize);
    let start = image.file_offset(function.address);
    let (bytes, start) = bytes
        .zip(start)
        .ok_or_else(|| format!("{name} is not in the file"))?;
    let needed = needed(probe);
    let place = placement::place(&bytes, function.address, needed.as_slice())
        .map_err(|fault| fault.to_string())?;
    if place.repeats && !bears_repetition(probe) {
        return Err(format!(
            "what {name} does at its start may be done again in one call"
        ));
    }
    Ok(Site {
        file_offset: start + place.offset,
        place,
        cookie: 0,
    })
}

/// A return probe needs the stack as the call left it; the others, their argument.
fn needed(probe: Probe) -> Option<Register> {
    match (probe.hook, probe) {
        (Hook::Uretprobe(_), _) => Some(Register::RSP),
        (_, UVLOOP_WRITE) => Some(Register::RDI),
        (_, UV_TCP_INIT | UV_TCP_CONNECT | TOKIO_SPAWN | TOKIO_SCHEDULE) => Some(Register::RSI),
        (_, TOKIO_WAKE_BY_VALUE | TOKIO_WAKE_BY_REFERENCE) => Some(Register::RDI),
        _ => None,
    }
}

/// Whether it is nothing else to be told once more of one call.
fn bears_repetition(probe: Probe) -> bool {
    matches!(probe, TOKIO_WAKE_BY_VALUE | TOKIO_WAKE_BY_REFERENCE)
}

/// A function by its name, whose bytes are known.
fn function(file: &File, image: &Image<'_>, name: &str) -> Result<Option<Symbol>, String> {
    for table in [image.dynamic_symbols(), image.all_symbols()]
        .into_iter()
        .flatten()
    {
        let found = symbol_table::find(file, &table, [name]);
        let [found] = found.map_err(|_| "its tables of symbols are broken".to_owned())?;
        if let Some(found) = found.filter(|found| found.bytes > 0) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This very function is found by its name, which is long and is in the table of symbols of a test's executable.
    #[no_mangle]
    pub extern "C" fn spanlet_symbols_finds_this(number: u64) -> u64 {
        std::hint::black_box(number) + 1
    }

    #[test]
    fn a_function_is_where_its_symbol_says() {
        let file = File::open("/proc/self/exe").unwrap();
        let cache = ReadCache::new(&file);
        let image = Image::read(&file, &cache).unwrap();
        assert_eq!(spanlet_symbols_finds_this(1), 2);
        let found = function(&file, &image, "spanlet_symbols_finds_this").unwrap();
        assert!(found.is_some_and(|found| found.bytes > 0), "{found:?}");
        let none = function(&file, &image, "symbols_finds_this_not");
        assert_eq!(none, Ok(None));
    }
}
