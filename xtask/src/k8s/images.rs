//! The images of the test cluster, made of folders without a daemon. In: programs of this machine and of the checkout. Out: archives in
//! target/k8s/images, made again only when what they hold is newer, and loaded into the node's container runtime.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};

use super::{node, places, rootfs};
use crate::image::{self, Config};
use crate::machine;
use crate::paths;
use crate::run::Run;
use crate::step::Outcome;

/// An image: `localhost/NAME:test`.
struct Image {
    name: &'static str,
    /// What it is made of; it is made again when one of these is newer.
    sources: fn() -> Vec<PathBuf>,
    /// Fills its folder and returns its entry point.
    fill: fn(&Path) -> Result<Vec<String>>,
    environment: &'static [&'static str],
}

const IMAGES: [Image; 6] = [
    Image {
        name: "pause",
        sources: || vec![places::sources().join("images/pause.c")],
        fill: pause,
        environment: &[],
    },
    Image {
        name: "coredns",
        sources: || vec![places::programs().join("coredns")],
        fill: |folder| program(folder, &places::programs().join("coredns")),
        environment: &[],
    },
    Image {
        name: "otelcol",
        sources: || vec![paths::collector()],
        fill: |folder| program(folder, &paths::collector()),
        environment: &[],
    },
    Image {
        name: "go",
        sources: || vec![function("go/function.go")],
        fill: |folder| go(folder, &function("go/function.go")),
        environment: &["HOST=0.0.0.0", "PORT=8080"],
    },
    Image {
        name: "python",
        sources: || vec![function("python/function.py")],
        fill: python,
        environment: &["HOST=0.0.0.0", "PORT=8080"],
    },
    Image {
        name: "brief",
        sources: || vec![places::sources().join("images/brief.go")],
        fill: |folder| go(folder, &places::sources().join("images/brief.go")),
        environment: &[],
    },
];

/// Makes those that are not there or are old.
pub fn build() -> Result<Outcome> {
    fs::create_dir_all(places::images()).context("cannot make target/k8s/images")?;
    let mut made = Vec::new();
    for one in &IMAGES {
        if is_stale(&(one.sources)(), &archive(one.name)) {
            one.build().with_context(|| format!("image {}", one.name))?;
            made.push(one.name);
        }
    }
    Ok(match made.is_empty() {
        true => Outcome::AlreadyThere(format!("{} images", IMAGES.len())),
        false => Outcome::Done(made.join(", ")),
    })
}

/// Loads those, and the agent's, that the running node does not have yet.
pub fn load() -> Result<Outcome> {
    let archives = IMAGES.iter().map(|image| archive(image.name));
    let mut loaded = 0;
    // That of the agent is built apart.
    let agent = Some(image::archive()).filter(|archive| archive.exists());
    for archive in archives.chain(agent) {
        let name = archive.file_name().context("an archive has a name")?;
        let note = places::state().join("imported").join(name);
        if is_stale(std::slice::from_ref(&archive), &note) {
            import(&archive)?;
            fs::write(&note, "")?;
            loaded += 1;
        }
    }
    Ok(match loaded {
        0 => Outcome::AlreadyThere("all".into()),
        _ => Outcome::Done(format!("{loaded} loaded")),
    })
}

impl Image {
    fn build(&self) -> Result<()> {
        let folder = places::images().join(self.name);
        rootfs::empty(&folder)?;
        let config = Config {
            name: format!("localhost/{}:test", self.name),
            entrypoint: (self.fill)(&folder)?,
            environment: self.environment.iter().map(ToString::to_string).collect(),
            ..Config::default()
        };
        image::build(&folder, &config, &archive(self.name))?;
        fs::remove_dir_all(&folder)?;
        Ok(())
    }
}

fn import(archive: &Path) -> Result<()> {
    let mut command = node::inside()?;
    command.args(["ctr", "--namespace=k8s.io", "images", "import"]);
    command.arg(archive);
    Run::new("image", command).captured().map(|_| ())
}

fn pause(folder: &Path) -> Result<Vec<String>> {
    let mut command = machine::command("gcc");
    command.args(["-static", "-Os", "-s", "-Wall", "-Werror", "-o"]);
    command.arg(folder.join("pause"));
    command.arg(places::sources().join("images/pause.c"));
    Run::new("pause", command).captured()?;
    Ok(vec!["/pause".into()])
}

fn go(folder: &Path, source: &Path) -> Result<Vec<String>> {
    let mut command = machine::command("go");
    command.args(["build", "-trimpath", "-o"]);
    command.arg(folder.join("function")).arg(source);
    command.env("CGO_ENABLED", "0");
    Run::new("function", command).captured()?;
    Ok(vec!["/function".into()])
}

fn python(folder: &Path) -> Result<Vec<String>> {
    let interpreter = rootfs::python(folder)?;
    rootfs::put(folder, &function("python/function.py"), "/function.py")?;
    Ok(vec![
        interpreter.display().to_string(),
        "/function.py".into(),
    ])
}

fn program(folder: &Path, file: &Path) -> Result<Vec<String>> {
    let name = file.file_name().context("a program has a name")?;
    let place = format!("/{}", name.to_string_lossy());
    rootfs::put(folder, file, &place)?;
    Ok(vec![place])
}

fn function(source: &str) -> PathBuf {
    paths::root().join("tests/functions").join(source)
}

fn archive(name: &str) -> PathBuf {
    places::images().join(format!("{name}.tar"))
}

fn is_stale(sources: &[PathBuf], made: &Path) -> bool {
    let time = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    let made = time(made).unwrap_or(SystemTime::UNIX_EPOCH);
    sources
        .iter()
        .any(|source| time(source).map_or(true, |changed| changed > made))
}
