//! A namespace of a test's own, and what runs in it. In: what to run. Out: objects in the API server, gone with the value; the ground
//! truth that the functions in it write.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{json, Value as Json};
use spanlet_e2e::system::monotonic_ns;

use crate::api::{self, apply, kubectl, state};

/// What Spanlet looks for, on namespaces and pods.
pub const TRACE: &str = "spanlet.dev/trace";
pub const PORT: u16 = 8080;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A namespace. Deleted with the value.
#[derive(Debug)]
pub struct Namespace {
    pub name: String,
}

/// A Deployment of the test function.
#[derive(Clone, Debug)]
pub struct Function {
    pub name: &'static str,
    /// `go` or `python`.
    pub language: &'static str,
    pub replicas: usize,
    /// Base URL of what `/chain` calls.
    pub next: String,
    pub labels: Json,
    pub annotations: Json,
    pub environment: Vec<(&'static str, String)>,
}

impl Function {
    pub fn new(name: &'static str, language: &'static str) -> Self {
        Self {
            name,
            language,
            replicas: 1,
            next: String::new(),
            labels: json!({}),
            annotations: json!({}),
            environment: Vec::new(),
        }
    }
}

impl Namespace {
    /// A new one, not labelled.
    pub fn new(purpose: &str) -> Result<Self> {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let age = monotonic_ns() / 1_000_000 % 10_000_000;
        let name = format!("{purpose}-{age}-{count}");
        apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))?;
        let namespace = Self { name };
        fs::create_dir_all(namespace.truth_folder())?;
        Ok(namespace)
    }

    /// A new one that is traced.
    pub fn traced(purpose: &str) -> Result<Self> {
        let namespace = Self::new(purpose)?;
        namespace.label("enabled")?;
        Ok(namespace)
    }

    /// Sets Spanlet's label.
    pub fn label(&self, value: &str) -> Result<()> {
        let label = format!("{TRACE}={value}");
        kubectl(&["label", "--overwrite", "namespace", &self.name, &label]).map(drop)
    }

    /// Takes Spanlet's label off.
    pub fn unlabel(&self) -> Result<()> {
        let label = format!("{TRACE}-");
        kubectl(&["label", "namespace", &self.name, &label]).map(drop)
    }

    /// Deploys functions, and waits until they serve.
    pub fn run(&self, functions: &[Function]) -> Result<()> {
        apply(&api::list(
            functions.iter().map(|one| self.deployment(one)).collect(),
        ))?;
        for function in functions {
            api::rolled_out(&self.name, &format!("deployment/{}", function.name))?;
        }
        Ok(())
    }

    /// A Service before a function of this name; its address.
    pub fn service(&self, name: &str) -> Result<String> {
        apply(&json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": self.name},
            "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": PORT}]},
        }))?;
        let service = api::get(&["service", "-n", &self.name, name])?;
        Ok(api::text(&service, "/spec/clusterIP").to_owned())
    }

    /// The one pod of a function, ready.
    pub fn pod(&self, function: &str) -> Result<Json> {
        api::ready_pod(&self.name, &format!("app={function}"))
    }

    /// The targets of the requests that the functions of a name answered, by their own word.
    pub fn answered(&self, function: &str) -> Result<Vec<String>> {
        let mut targets = Vec::new();
        for entry in fs::read_dir(self.truth_folder())? {
            let entry = entry?;
            let is_its = entry.file_name().to_string_lossy().starts_with(function);
            if is_its {
                targets.extend(read_truth(&entry.path())?);
            }
        }
        Ok(targets)
    }

    /// The files of ground truth, each named after its pod.
    pub fn truth_files(&self) -> Result<BTreeSet<PathBuf>> {
        fs::read_dir(self.truth_folder())?
            .map(|entry| Ok(entry?.path()))
            .collect()
    }

    /// A Deployment as the API server takes it.
    pub fn deployment(&self, function: &Function) -> Json {
        let mut labels = function.labels.clone();
        labels["app"] = json!(function.name);
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": function.name, "namespace": self.name},
            "spec": {
                "replicas": function.replicas,
                "selector": {"matchLabels": {"app": function.name}},
                "template": {
                    "metadata": {"labels": labels, "annotations": function.annotations},
                    "spec": self.pod_spec(function),
                },
            },
        })
    }

    /// What pods of a function are made of.
    pub fn pod_spec(&self, function: &Function) -> Json {
        let mut environment = vec![
            pod_name(),
            json!({"name": "TRUTH", "value": "/truth/$(POD).jsonl"}),
        ];
        if !function.next.is_empty() {
            environment.push(json!({"name": "NEXT", "value": function.next}));
        }
        let more = function.environment.iter();
        environment.extend(more.map(|(name, value)| json!({"name": name, "value": value})));
        json!({
            "terminationGracePeriodSeconds": 1,
            "enableServiceLinks": false,
            "containers": [{
                "name": "function",
                "image": format!("localhost/{}:test", function.language),
                "imagePullPolicy": "Never",
                "env": environment,
                "ports": [{"containerPort": PORT}],
                "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
                "volumeMounts": [{"name": "truth", "mountPath": "/truth"}],
            }],
            "volumes": [self.truth_volume()],
        })
    }

    /// The folder of this namespace's ground truth, for pods.
    pub fn truth_volume(&self) -> Json {
        json!({"name": "truth", "hostPath": {"path": self.truth_folder(), "type": "Directory"}})
    }

    pub fn truth_folder(&self) -> PathBuf {
        state().join("truth").join(&self.name)
    }
}

/// The pod's own name, as a variable.
pub fn pod_name() -> Json {
    json!({"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The cluster ends soon after; what stays meanwhile is in nobody's way.
        let _ = kubectl(&["delete", "namespace", &self.name, "--wait=false"]);
    }
}

fn read_truth(path: &std::path::Path) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Line {
        path: String,
    }
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    text.lines()
        .map(|line| Ok(serde_json::from_str::<Line>(line)?.path))
        .collect()
}
