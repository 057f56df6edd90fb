//! Images: the same bytes for the same files, blobs that are what they are named, and a Dockerfile that says the same.

use std::collections::BTreeMap;
use std::fs::{self, FileTimes};
use std::io::Read;
use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;

use super::*;

#[test]
fn the_same_files_give_the_same_image() {
    let place = Place::new("same");
    let [first, second] = ["first", "second"].map(|name| {
        let rootfs = place.0.join(name);
        fs::create_dir_all(rootfs.join("etc")).unwrap();
        let mut files = [("etc/b", "two"), ("a", "one")];
        if name == "second" {
            files.reverse();
        }
        for (path, text) in files {
            fs::write(rootfs.join(path), text).unwrap();
            let file = fs::File::options().write(true).open(rootfs.join(path));
            let times = FileTimes::new().set_modified(match name {
                "first" => SystemTime::UNIX_EPOCH,
                _ => SystemTime::now(),
            });
            file.unwrap().set_times(times).unwrap();
        }
        let out = place.0.join(name).with_extension("tar");
        build(&rootfs, &config("localhost/x:1", "abc"), &out).unwrap();
        fs::read(out).unwrap()
    });
    assert!(first == second, "the images differ");
}

#[test]
fn an_image_holds_the_folder_and_names_its_parts_truly() {
    let place = Place::new("parts");
    let rootfs = place.0.join("rootfs");
    fs::create_dir_all(rootfs.join("bin")).unwrap();
    fs::write(rootfs.join("bin/run"), "#!").unwrap();
    fs::set_permissions(rootfs.join("bin/run"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("run", rootfs.join("bin/link")).unwrap();
    for compression in [Compression::None, Compression::Gzip] {
        let config = Config {
            name: "localhost:5000/x".to_owned(),
            command: vec!["/bin/run".to_owned()],
            environment: vec!["A=b".to_owned()],
            compression,
            ..Config::default()
        };
        let out = place.0.join("x.tar");
        let built = build(&rootfs, &config, &out).unwrap();
        assert_eq!(built.tar_bytes, fs::metadata(&out).unwrap().len());
        let files = unpacked(&fs::read(&out).unwrap());
        let json = |path: &str| serde_json::from_slice::<Value>(&files[path].bytes).unwrap();
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap();
            let blob = &files[&format!("blobs/{}", digest.replace(':', "/"))].bytes;
            assert_eq!(layer::digest(blob), digest);
            assert_eq!(descriptor["size"].as_u64(), Some(blob.len() as u64));
            blob.clone()
        };
        let entry = &json("index.json")["manifests"][0];
        assert_eq!(entry["digest"], built.digest);
        assert_eq!(
            entry["annotations"]["org.opencontainers.image.ref.name"],
            "latest"
        );
        let manifest: Value = serde_json::from_slice(&blob(entry)).unwrap();
        let description: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
        assert_eq!(description["config"]["Cmd"][0], "/bin/run");
        assert_eq!(description["config"]["Env"][0], "A=b");
        let layer = layer_tar(&blob(&manifest["layers"][0]), compression);
        assert_eq!(layer::digest(&layer), description["rootfs"]["diff_ids"][0]);
        assert_eq!(built.unpacked_bytes, layer.len() as u64);
        let inside = unpacked(&layer);
        let names: Vec<_> = inside.keys().map(String::as_str).collect();
        assert_eq!(names, ["bin/", "bin/link", "bin/run"]);
        assert_eq!(inside["bin/run"].mode, 0o755);
        assert_eq!(inside["bin/run"].bytes, b"#!");
        assert_eq!(inside["bin/link"].link.as_deref(), Some(Path::new("run")));
        let archive = &json("manifest.json")[0];
        assert_eq!(archive["RepoTags"][0], "localhost:5000/x");
        for path in [&archive["Config"], &archive["Layers"][0]] {
            assert!(files.contains_key(path.as_str().unwrap()), "{path}");
        }
    }
}

#[test]
fn an_image_that_grew_is_refused() {
    let built = |unpacked_bytes| Built {
        tar_bytes: 1,
        unpacked_bytes,
        digest: String::new(),
    };
    assert!(ensure_fits(&built(UNPACKED_BYTES_MAX)).is_ok());
    let fault = ensure_fits(&built(17_100_000)).unwrap_err().to_string();
    assert!(fault.contains("17.1 MB and may be 17.0"), "{fault}");
}

/// There is no docker here: what the file says is held against the image that is made here.
#[test]
fn the_dockerfile_makes_the_same_image() {
    let text = fs::read_to_string(paths::root().join("deploy/Dockerfile")).unwrap();
    let text = text.replace("\\\n", " ");
    let (build, image) = text
        .split_once("\nFROM scratch\n")
        .expect("two stages, the last of them empty");
    assert!(build.contains("cargo xtask build --static"), "{build}");
    let of = |instruction: &str| -> Vec<&str> {
        let lines = image
            .lines()
            .filter_map(|line| line.strip_prefix(instruction));
        lines.map(str::trim).collect()
    };
    let config = config(NAME, "${REVISION}");
    let arguments = of("ARG ");
    assert_eq!(
        arguments[0],
        format!("VERSION={}", env!("CARGO_PKG_VERSION"))
    );
    let entrypoint: Vec<String> = serde_json::from_str(of("ENTRYPOINT ")[0]).unwrap();
    assert_eq!(entrypoint, config.entrypoint);
    assert_eq!(of("USER "), [config.user.as_str()]);
    assert_eq!(
        of("COPY "),
        ["--from=build --chmod=0755 /source/target/spanlet /spanlet"]
    );
    let labels: BTreeMap<String, String> = of("LABEL ")
        .iter()
        .map(|label| {
            let (key, value) = label.split_once('=').unwrap();
            let value = value
                .trim_matches('"')
                .replace("${VERSION}", env!("CARGO_PKG_VERSION"));
            (key.to_owned(), value)
        })
        .collect();
    assert_eq!(labels, config.labels);
    let known = ["ARG ", "ENTRYPOINT ", "USER ", "COPY ", "LABEL "];
    let other = image.lines().find(|line| {
        !line.is_empty()
            && !line.starts_with('#')
            && !known.iter().any(|known| line.starts_with(known))
    });
    assert_eq!(other, None);
}

/// A folder of one test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("spanlet-image-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

struct File {
    bytes: Vec<u8>,
    mode: u32,
    link: Option<PathBuf>,
}

fn unpacked(tar: &[u8]) -> BTreeMap<String, File> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let header = entry.header();
        let owner = (
            header.uid().unwrap(),
            header.gid().unwrap(),
            header.mtime().unwrap(),
        );
        assert_eq!(owner, (0, 0, 0));
        let mut file = File {
            bytes: Vec::new(),
            mode: header.mode().unwrap(),
            link: entry.link_name().unwrap().map(|link| link.into_owned()),
        };
        entry.read_to_end(&mut file.bytes).unwrap();
        (
            String::from_utf8(entry.path_bytes().into_owned()).unwrap(),
            file,
        )
    });
    entries.collect()
}

fn layer_tar(packed: &[u8], compression: Compression) -> Vec<u8> {
    let mut layer = Vec::new();
    match compression {
        Compression::None => layer.extend_from_slice(packed),
        Compression::Gzip => {
            flate2::read::GzDecoder::new(packed)
                .read_to_end(&mut layer)
                .unwrap();
        }
    }
    layer
}
