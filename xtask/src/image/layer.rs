//! The one layer of an image. In: a folder. Out: its files as a tar, sorted, owned by root and without times, so that
//! the same files give the same bytes.

use std::fs::{self, DirEntry, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{bail, Context, Result};
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

/// How a layer lies in its image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Made fastest, for images that stay on this machine.
    #[default]
    None,
    /// For images that are sent about.
    Gzip,
}

/// A packed folder.
pub struct Layer {
    pub compression: Compression,
    pub packed: Vec<u8>,
    /// `sha256:…` of the tar before it was compressed.
    pub unpacked_digest: String,
    pub unpacked_bytes: u64,
}

impl Compression {
    pub fn media_type(self) -> &'static str {
        match self {
            Self::None => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
        }
    }
}

/// Packs a folder.
pub fn of(rootfs: &Path, compression: Compression) -> Result<Layer> {
    let mut tar = tar::Builder::new(Counted::new(Packed::new(compression)));
    append_folder(&mut tar, rootfs, Path::new(""))?;
    let counted = tar.into_inner()?;
    Ok(Layer {
        compression,
        packed: counted.inner.finish()?,
        unpacked_digest: named(&counted.digest.finalize()),
        unpacked_bytes: counted.bytes,
    })
}

/// `sha256:…`
pub fn named(digest: &[u8]) -> String {
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

/// An entry that belongs to root and to no time.
pub fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

/// `inside`: where in the image the folder stands; its own entry is its parent's affair.
fn append_folder(tar: &mut tar::Builder<impl Write>, folder: &Path, inside: &Path) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut entries = entries.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(DirEntry::file_name);
    for entry in entries {
        let (path, inside) = (entry.path(), inside.join(entry.file_name()));
        append(tar, &path, &inside).with_context(|| format!("cannot pack {}", path.display()))?;
    }
    Ok(())
}

fn append(tar: &mut tar::Builder<impl Write>, path: &Path, inside: &Path) -> Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    let mode = metadata.permissions().mode() & 0o7777;
    let kind = metadata.file_type();
    if kind.is_dir() {
        let mut header = header(EntryType::Directory, mode);
        tar.append_data(&mut header, inside.join(""), io::empty())?;
        return append_folder(tar, path, inside);
    }
    if kind.is_symlink() {
        let mut header = header(EntryType::Symlink, 0o777);
        return Ok(tar.append_link(&mut header, inside, fs::read_link(path)?)?);
    }
    if !kind.is_file() {
        bail!("neither a file, a folder nor a link");
    }
    let mut header = header(EntryType::Regular, mode);
    header.set_size(metadata.len());
    Ok(tar.append_data(&mut header, inside, File::open(path)?)?)
}

/// The layer's bytes on their way into memory.
enum Packed {
    Plain(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
}

impl Packed {
    fn new(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::Plain(Vec::new()),
            // Its header holds neither a time nor a name.
            Compression::Gzip => {
                Self::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::best()))
            }
        }
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain(bytes) => Ok(bytes),
            Self::Gzip(encoder) => encoder.finish(),
        }
    }
}

impl Write for Packed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(packed) => packed.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Gzip(encoder) => encoder.flush(),
        }
    }
}

/// Knows the digest of what went through.
struct Counted<W> {
    inner: W,
    digest: Sha256,
    bytes: u64,
}

impl<W> Counted<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            digest: Sha256::new(),
            bytes: 0,
        }
    }
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
