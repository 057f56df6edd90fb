//! The chart without a cluster: helm finds no fault in it, it renders as `tests/chart` says, and what its schema is for is
//! refused.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::helm::{binary, helm};
use spanlet_e2e::scratch::Scratch;
use spanlet_e2e::system::workspace;
use spanlet_e2e::{agent, collector};

/// The sets of values that are rendered: `tests/chart/NAME.values.yaml` gives `tests/chart/NAME.yaml`.
const SETS: [&str; 5] = [
    "default",
    "capabilities",
    "otlp-secrets",
    "no-kubernetes",
    "everything",
];

/// Values that helm is to refuse, and what it says of each.
const REFUSED: &[(&str, &str)] = &[
    ("tracing=true", "tracing"),
    ("config.otpl.endpoint=http://x", "otpl"),
    ("config.output=xml", "one of"),
    ("config.queue_spans=many", "integer"),
    ("config.thread_clocks=1", "boolean"),
    ("config.socket=/tmp/s", "socket"),
    ("config.go_offsets=/tmp/o", "go_offsets"),
    ("config.kubernetes.node_name=n", "node_name"),
    ("config.kubernetes.select_pods=app", "array"),
    ("config.select.ports={a}", "integer"),
    ("security.mode=none", "one of"),
    ("security.capabilities={CAP_BPF}", "capabilities"),
    ("security.seccompProfile.type=Off", "one of"),
    ("health.port=70000", "maximum"),
    ("health.host=everywhere", "host"),
    ("image.digest=sha256:1", "digest"),
    ("logLevel=verbose", "one of"),
    ("otlp.headersSecret=token", "object"),
    ("resources.limit.memory=1Mi", "limit"),
    ("podMonitor.interval=often", "interval"),
    ("updateStrategy.type=Recreate", "one of"),
];

#[test]
fn helm_finds_no_fault() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let sets = SETS.into_iter().map(values);
    for values in sets.chain(examples()?) {
        let output = helm(&["lint", "--strict", ".", "--values", &values])?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{values}: {said}");
        // Nothing but that a picture is recommended.
        let told = said.lines().filter(|line| line.starts_with('['));
        ensure!(told.count() == 1, "{values}: {said}");
    }
    Ok(())
}

/// To write them anew: `SPANLET_WRITE=1 cargo xtask e2e chart::`.
#[test]
fn it_renders_as_written() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    for set in SETS {
        let rendered = rendered(set, "1.34.0")?;
        let path = folder().join(format!("{set}.yaml"));
        if std::env::var_os("SPANLET_WRITE").is_some() {
            fs::write(&path, &rendered)?;
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        let difference = rendered
            .lines()
            .zip(written.lines())
            .find(|(new, old)| new != old);
        ensure!(
            rendered == written,
            "{} is stale, first at {difference:?}: SPANLET_WRITE=1 writes it anew; look at what changed",
            path.display()
        );
    }
    Ok(())
}

/// Before 1.30, AppArmor's profile was an annotation, and an unknown field would be refused.
#[test]
fn old_clusters_get_their_own_form() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let old = rendered("capabilities", "1.29.3")?;
    let annotation = "container.apparmor.security.beta.kubernetes.io/agent: unconfined";
    ensure!(
        old.contains(annotation) && !old.contains("appArmorProfile"),
        "{old}"
    );
    Ok(())
}

#[test]
fn unknown_names_and_bad_values_are_refused() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    for (setting, word) in REFUSED {
        let output = helm(&["template", "spanlet", ".", "--set", setting])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success(), "{setting} is taken");
        ensure!(
            said.contains("schema") && said.contains(word),
            "{setting}: {said}"
        );
    }
    Ok(())
}

/// What the chart writes is what the agent reads; all that may be missing here are the Secrets' files.
#[test]
fn the_agent_takes_what_is_rendered() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let scratch = Scratch::new()?;
    for set in SETS {
        let rendered = rendered(set, "1.34.0")?;
        let mut file = file_in(&rendered, "spanlet.toml")?;
        // Outside of a pod, something has to be selected.
        if !file.contains("\n[select]\n") {
            file.push_str("\n[select]\nall = true\n");
        }
        fs::write(scratch.join("spanlet.toml"), &file)?;
        let mut check = Command::new(agent::binary()?);
        check.arg("check-config").arg(scratch.join("spanlet.toml"));
        let output = check.output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let mut faults = said.lines().skip(1);
        let only_secrets = faults.all(|fault| fault.contains("/etc/spanlet-otlp/"));
        ensure!(
            output.status.success() || only_secrets,
            "{set}: {said}\n{file}"
        );
    }
    Ok(())
}

/// The collector here has the components that the example names.
#[test]
fn the_examples_collector_takes_its_configuration() -> Result<()> {
    let manifest = fs::read_to_string(workspace().join("deploy/examples/collector.yaml"))?;
    let scratch = Scratch::new()?;
    let file = scratch.join("config.yaml");
    fs::write(&file, file_in(&manifest, "config.yaml")?)?;
    let mut validate = Command::new(collector::binary()?);
    let output = validate
        .args(["validate", "--config"])
        .arg(&file)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    Ok(())
}

/// The notes are for people: each command in them names this release.
#[test]
fn the_notes_say_what_to_type_next() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let install = [
        "install",
        "traces",
        ".",
        "--namespace",
        "observe",
        "--dry-run=client",
    ];
    let notes = |more: &[&str]| -> Result<String> {
        let output = helm(&[&install, more].concat())?;
        let said = String::from_utf8(output.stdout)?;
        let (_, notes) = said
            .split_once("\nNOTES:\n")
            .with_context(|| said.clone())?;
        Ok(notes.to_owned())
    };
    let without = notes(&[])?;
    for command in [
        "kubectl label namespace NAMESPACE spanlet.dev/trace=enabled",
        "--set config.otlp.endpoint=",
        "kubectl exec --namespace observe daemonset/traces-spanlet -- /spanlet probes",
        "helm test traces --namespace observe",
    ] {
        ensure!(without.contains(command), "{command} is not in {without}");
    }
    let with = notes(&["--set", "config.otlp.endpoint=http://collector:4318"])?;
    ensure!(!with.contains("No collector is set"), "{with}");
    Ok(())
}

fn rendered(set: &str, version: &str) -> Result<String> {
    let values = values(set);
    let output = helm(&[
        "template",
        "spanlet",
        ".",
        "--namespace",
        "spanlet",
        "--kube-version",
        version,
        "--values",
        &values,
    ])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{set}: {said}");
    Ok(String::from_utf8(output.stdout)?)
}

fn values(set: &str) -> String {
    folder()
        .join(format!("{set}.values.yaml"))
        .display()
        .to_string()
}

/// A file of a ConfigMap, as it stands in a manifest.
fn file_in(manifest: &str, name: &str) -> Result<String> {
    let (_, rest) = manifest
        .split_once(&format!("  {name}: |\n"))
        .with_context(|| format!("no {name}"))?;
    let lines = rest.lines().map_while(|line| line.strip_prefix("    "));
    Ok(lines.flat_map(|line| [line, "\n"]).collect())
}

/// Those of `deploy/examples`.
fn examples() -> Result<Vec<String>> {
    let folder = fs::read_dir(workspace().join("deploy/examples"))?;
    let paths = folder.map(|entry| Ok(entry?.path().display().to_string()));
    let mut paths = paths.collect::<Result<Vec<_>>>()?;
    paths.retain(|path| path.ends_with(".values.yaml"));
    ensure!(!paths.is_empty(), "no examples");
    Ok(paths)
}

fn folder() -> PathBuf {
    workspace().join("tests/chart")
}

/// Says so where there is no helm; `cargo xtask test` believes it only of a machine that cannot have it.
fn is_left_out() -> bool {
    let left_out = !binary().exists();
    if left_out {
        println!("skipped: helm: `cargo xtask setup` brought none");
    }
    left_out
}
