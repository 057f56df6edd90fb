//! A message in, the bytes that are sent out. Pure.

use std::io::Write;

use flate2::write::GzEncoder;

use super::Compression;

/// The message as it is sent.
pub fn compress(plain: Vec<u8>, how: Compression) -> Vec<u8> {
    match how {
        Compression::None => plain,
        Compression::Gzip => gzip(&plain),
        Compression::Zstd => {
            zstd::bulk::compress(&plain, zstd::DEFAULT_COMPRESSION_LEVEL).unwrap_or_default()
        }
    }
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // Writing to memory does not fail.
    let _ = encoder.write_all(plain);
    encoder.finish().unwrap_or_default()
}
