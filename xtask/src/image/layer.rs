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
    let mut tar = tar::Builder::new(Vec::new());
    append_folder(&mut tar, rootfs, Path::new(""))?;
    let unpacked = tar.into_inner()?;
    Ok(Layer {
        compression,
        unpacked_digest: digest(&unpacked),
        unpacked_bytes: unpacked.len() as u64,
        packed: match compression {
            Compression::None => unpacked,
            Compression::Gzip => gzip(&unpacked)?,
        },
    })
}

/// `sha256:…`
pub fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
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

/// Its header holds neither a time nor a name.
fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}
