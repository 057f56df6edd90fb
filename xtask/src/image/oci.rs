//! A container image of a folder, made without a daemon or a registry. In: the folder that is its root file system, and
//! what is to be run. Out: one tar that is both an OCI image layout (`ctr images import`) and what `docker load` reads;
//! the same bytes for the same folder, whenever and wherever it is made.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{json, Value};

use super::layer::{self, digest, Compression, Layer};

/// What an image says of itself.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `localhost/spanlet:0.1.0`: what the image is called where it is imported.
    pub name: String,
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    /// `NAME=value`.
    pub environment: Vec<String>,
    /// `user:group`; empty: root.
    pub user: String,
    pub labels: BTreeMap<String, String>,
    pub compression: Compression,
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// Of the whole tar: what is moved about.
    pub tar_bytes: u64,
    /// Of the root file system as a node unpacks it.
    pub unpacked_bytes: u64,
    /// `sha256:…` of the manifest: what the image is, to whoever pulls it by digest.
    pub digest: String,
}

/// The platform that everything here is built for.
const ARCHITECTURE: &str = "amd64";
/// A fixed time, so that the same folder gives the same image.
const CREATED: &str = "1970-01-01T00:00:00Z";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";

/// Writes the image of `rootfs` to `out`, whose folder is made if it is missing.
pub fn build(rootfs: &Path, config: &Config, out: &Path) -> Result<Built> {
    let layer = layer::of(rootfs, config.compression)
        .with_context(|| format!("cannot pack {}", rootfs.display()))?;
    let description = description(config, &layer).to_string().into_bytes();
    let manifest = manifest(&description, &layer).to_string().into_bytes();
    let index = index(config, &manifest).to_string().into_bytes();
    let archive = docker_archive(config, &description, &layer).to_string();
    let files = [
        (
            "oci-layout".to_owned(),
            &br#"{"imageLayoutVersion":"1.0.0"}"#[..],
        ),
        ("index.json".to_owned(), &index),
        ("manifest.json".to_owned(), archive.as_bytes()),
        (blob_path(&description), &description),
        (blob_path(&manifest), &manifest),
        (blob_path(&layer.packed), &layer.packed),
    ];
    write(out, &files).with_context(|| format!("cannot write {}", out.display()))?;
    Ok(Built {
        tar_bytes: fs::metadata(out)?.len(),
        unpacked_bytes: layer.unpacked_bytes,
        digest: digest(&manifest),
    })
}

/// The image's configuration, as the OCI image specification has it.
fn description(config: &Config, layer: &Layer) -> Value {
    let mut run = json!({ "WorkingDir": "/" });
    let mut set = |key: &str, value: Value, is_empty: bool| {
        if !is_empty {
            run[key] = value;
        }
    };
    set(
        "Entrypoint",
        json!(config.entrypoint),
        config.entrypoint.is_empty(),
    );
    set("Cmd", json!(config.command), config.command.is_empty());
    set(
        "Env",
        json!(config.environment),
        config.environment.is_empty(),
    );
    set("User", json!(config.user), config.user.is_empty());
    set("Labels", json!(config.labels), config.labels.is_empty());
    json!({
        "architecture": ARCHITECTURE,
        "os": "linux",
        "created": CREATED,
        "config": run,
        "rootfs": { "type": "layers", "diff_ids": [layer.unpacked_digest] },
        "history": [{ "created": CREATED, "created_by": "cargo xtask image" }],
    })
}

fn manifest(description: &[u8], layer: &Layer) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": descriptor(CONFIG_TYPE, description),
        "layers": [descriptor(layer.compression.media_type(), &layer.packed)],
    })
}

fn index(config: &Config, manifest: &[u8]) -> Value {
    let mut entry = descriptor(MANIFEST_TYPE, manifest);
    entry["platform"] = json!({ "architecture": ARCHITECTURE, "os": "linux" });
    entry["annotations"] = json!({
        "io.containerd.image.name": config.name,
        "org.opencontainers.image.ref.name": tag(&config.name),
    });
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry],
    })
}

/// The same blobs, as `docker load` finds them.
fn docker_archive(config: &Config, description: &[u8], layer: &Layer) -> Value {
    json!([{
        "Config": blob_path(description),
        "RepoTags": [config.name],
        "Layers": [blob_path(&layer.packed)],
    }])
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() })
}

fn blob_path(bytes: &[u8]) -> String {
    format!("blobs/{}", digest(bytes).replace(':', "/"))
}

/// `0.1.0` of `localhost/spanlet:0.1.0`; a port's colon is no tag's.
fn tag(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((_, tag)) if !tag.contains('/') => tag,
        _ => "latest",
    }
}

fn write(out: &Path, files: &[(String, &[u8])]) -> Result<()> {
    if let Some(folder) = out.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut tar = tar::Builder::new(BufWriter::new(File::create(out)?));
    for (path, bytes) in files {
        let mut header = layer::header(tar::EntryType::Regular, 0o644);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, path, *bytes)?;
    }
    tar.into_inner()?.flush()?;
    Ok(())
}
