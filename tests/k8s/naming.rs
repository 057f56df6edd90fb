//! What spans are called: each attribute of a resource against the objects that the API server has. In: workloads of every kind.
//! Out: spans of each, held to a table made of its pod, its owners, its node and its cluster.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{ensure, Context, Result};
use serde_json::{json, Value as Json};
use spanlet_e2e::otlp::{Kind, Span, Value};
use spanlet_e2e::wait::wait_until;

use crate::agent;
use crate::api::{self, apply, get, kubectl, state, text, PATIENCE};
use crate::driver::{reachable, Plan};
use crate::namespace::{Function, Namespace};
use crate::pods::{address, name};
use crate::spans::Arrivals;

/// Attributes that are the API server's to say, by how they begin; what else a resource has is held by other tests.
const OURS: [&str; 7] = [
    "k8s.",
    "container.",
    "cloud.",
    "host.",
    "service.",
    "deployment.",
    "faas.",
];

/// What a resource must say.
type Truth = BTreeMap<String, Value>;

#[test]
fn every_attribute_is_what_the_api_server_says() -> Result<()> {
    agent::ensure_default()?;
    let namespace = Namespace::traced("naming")?;
    let function = Function {
        labels: json!({"app.kubernetes.io/version": "1.2.3"}),
        ..Function::new("function", "go")
    };
    namespace.run(std::slice::from_ref(&function))?;
    let others = ["StatefulSet", "DaemonSet", "Job", "CronJob", "Pod"];
    for kind in others {
        create(&namespace, kind, &function)?;
    }
    let mut arrivals = Arrivals::from_now()?;
    for kind in ["Deployment"].iter().chain(&others) {
        let label = match *kind {
            "Deployment" => "app=function".to_owned(),
            kind => format!("app={}", kind.to_lowercase()),
        };
        let pod = api::ready_pod(&namespace.name, &label)?;
        hold(&mut arrivals, &pod).with_context(|| format!("a pod of a {kind}"))?;
    }
    Ok(())
}

#[test]
fn a_static_pod_has_its_names() -> Result<()> {
    agent::ensure_default()?;
    let namespace = Namespace::traced("static")?;
    let manifest = state()
        .join("static-pods")
        .join(format!("{}.json", namespace.name));
    let spec = namespace.pod_spec(&Function::new("static", "go"));
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "static", "namespace": namespace.name, "labels": {"app": "static"}}, "spec": spec,
    });
    fs::write(&manifest, pod.to_string())?;
    let held = api::ready_pod(&namespace.name, "app=static")
        .and_then(|pod| hold(&mut Arrivals::from_now()?, &pod));
    fs::remove_file(&manifest)?;
    held
}

#[test]
fn a_container_that_restarted_has_its_new_names() -> Result<()> {
    agent::ensure_default()?;
    let namespace = Namespace::traced("restart")?;
    namespace.run(&[Function::new("function", "go")])?;
    let pod = namespace.pod("function")?;
    // The function ends with code 3 in the middle of its answer.
    Plan::new(address(&pod)?, "die", "/die").send(1)?;
    let pod = wait_until(PATIENCE, "restarted container", || {
        let pod = namespace.pod("function")?;
        let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
        Ok((restarts == 1).then_some(pod))
    })?;
    reachable(address(&pod)?)?;
    hold(&mut Arrivals::from_now()?, &pod)
}

#[test]
fn annotations_name_the_service() -> Result<()> {
    agent::ensure_default()?;
    let namespace = Namespace::traced("service")?;
    namespace.run(&[
        Function {
            annotations: json!({
                "resource.opentelemetry.io/service.name": "checkout",
                "resource.opentelemetry.io/service.version": "7",
                "resource.opentelemetry.io/team": "shop",
            }),
            ..Function::new("annotated", "go")
        },
        Function {
            labels: json!({
                "serving.knative.dev/service": "hello", "serving.knative.dev/revision": "hello-00001",
                "serving.knative.dev/configuration": "hello",
            }),
            ..Function::new("knative", "python")
        },
    ])?;
    let mut arrivals = Arrivals::from_now()?;
    let mut said = |function: &str, expected: &[(&str, &str)]| -> Result<()> {
        let pod = namespace.pod(function)?;
        let ids = format!("{}-{function}", namespace.name);
        Plan::new(address(&pod)?, &ids, "/hello").send(1)?;
        let spans = arrivals.wait_for(Kind::Server, &ids, 1)?;
        for (key, value) in expected {
            let found = spans[0].resource.get(*key);
            let wanted = Value::Text(value.replace("POD", name(&pod)));
            ensure!(
                found == Some(&wanted),
                "{function}: {key} is {found:?}, not {wanted:?}"
            );
        }
        Ok(())
    };
    said(
        "annotated",
        &[
            ("service.name", "checkout"),
            ("service.version", "7"),
            ("team", "shop"),
        ],
    )?;
    let knative = [
        ("service.name", "hello"),
        ("faas.name", "hello"),
        ("faas.version", "hello-00001"),
        ("faas.instance", "POD"),
    ];
    said("knative", &knative)
}

/// Sends requests to a pod and holds the resource of their spans to the truth.
fn hold(arrivals: &mut Arrivals, pod: &Json) -> Result<()> {
    let ids = format!("hold-{}", text(pod, "/metadata/uid"));
    Plan::new(address(pod)?, &ids, "/hello").send(3)?;
    let truth = truth(pod)?;
    for span in arrivals.wait_for(Kind::Server, &ids, 3)? {
        compare(&span, &truth)?;
    }
    Ok(())
}

fn compare(span: &Span, truth: &Truth) -> Result<()> {
    let mut faults = Vec::new();
    for (key, expected) in truth {
        let found = span.resource.get(key);
        if found != Some(expected) {
            faults.push(format!("{key} is {found:?}, not {expected:?}"));
        }
    }
    let told = span
        .resource
        .keys()
        .filter(|key| OURS.iter().any(|ours| key.starts_with(ours)));
    for key in told.filter(|key| !truth.contains_key(*key)) {
        faults.push(format!(
            "{key} is {:?}, of which nothing is known here",
            span.resource[key]
        ));
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

/// Made of what the API server says, by the semantic conventions and the rules of the OpenTelemetry operator.
fn truth(pod: &Json) -> Result<Truth> {
    let mut truth = Truth::new();
    let mut say = |key: &str, value: &str| {
        truth.insert(key.to_owned(), Value::Text(value.to_owned()));
    };
    let node = get(&["node", text(pod, "/spec/nodeName")])?;
    let system = get(&["namespace", "kube-system"])?;
    say("k8s.cluster.name", "test-cluster");
    say("k8s.cluster.uid", text(&system, "/metadata/uid"));
    say("deployment.environment.name", "staging");
    say("k8s.namespace.name", text(pod, "/metadata/namespace"));
    say("k8s.pod.name", name(pod));
    say("k8s.pod.uid", text(pod, "/metadata/uid"));
    say("k8s.pod.start_time", text(pod, "/status/startTime"));
    say("k8s.node.name", text(&node, "/metadata/name"));
    say("k8s.node.uid", text(&node, "/metadata/uid"));
    // Of the node's provider id, aws:///eu-test-1a/i-0123456789abcdef0, and its labels.
    say("cloud.provider", "aws");
    say(
        "cloud.region",
        text(&node, "/metadata/labels/topology.kubernetes.io~1region"),
    );
    say(
        "cloud.availability_zone",
        text(&node, "/metadata/labels/topology.kubernetes.io~1zone"),
    );
    say("host.id", "i-0123456789abcdef0");
    say(
        "host.type",
        text(&node, "/metadata/labels/node.kubernetes.io~1instance-type"),
    );
    say("host.name", text(&node, "/metadata/name"));
    say("host.arch", text(&node, "/status/nodeInfo/architecture"));
    let container = text(pod, "/status/containerStatuses/0/containerID");
    let (runtime, id) = container
        .split_once("://")
        .context("the container has no id")?;
    let image = text(pod, "/spec/containers/0/image");
    let (image, tag) = image.rsplit_once(':').context("the image has no tag")?;
    let container = text(pod, "/spec/containers/0/name");
    say("container.id", id);
    say("container.runtime.name", runtime);
    say("container.image.name", image);
    say("k8s.container.name", container);
    let owners = owners(pod)?;
    for (kind, owner) in &owners {
        say(&format!("k8s.{}.name", kind.to_lowercase()), owner);
    }
    let service = owners.last().map_or(name(pod), |(_, owner)| owner.as_str());
    say("service.name", service);
    say("service.namespace", text(pod, "/metadata/namespace"));
    // Well-known labels are heeded only where the configuration says so.
    say("service.version", tag);
    let instance = [text(pod, "/metadata/namespace"), name(pod), container].join(".");
    say("service.instance.id", &instance);
    let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_i64();
    truth.insert(
        "k8s.container.restart_count".into(),
        Value::Integer(restarts.context("no restart count")?),
    );
    truth.insert(
        "container.image.tags".into(),
        Value::Array(vec![Value::Text(tag.to_owned())]),
    );
    Ok(truth)
}

/// Who made it, from the nearest on: kinds and names.
fn owners(object: &Json) -> Result<Vec<(String, String)>> {
    let mut owners = Vec::new();
    let namespace = text(object, "/metadata/namespace").to_owned();
    let mut object = object.clone();
    while let Some(owner) = object["metadata"]["ownerReferences"].get(0).cloned() {
        let (kind, name) = (
            text(&owner, "/kind").to_owned(),
            text(&owner, "/name").to_owned(),
        );
        if kind == "Node" {
            break;
        }
        object = get(&[&kind, "-n", &namespace, &name])?;
        owners.push((kind, name));
    }
    Ok(owners)
}

/// A workload of a kind, whose pods are labelled after it.
fn create(namespace: &Namespace, kind: &str, function: &Function) -> Result<()> {
    let name = kind.to_lowercase();
    let labels = json!({"app": name, "app.kubernetes.io/version": "1.2.3"});
    let metadata = json!({"name": name, "namespace": namespace.name, "labels": labels});
    let mut spec = namespace.pod_spec(function);
    if kind == "Pod" {
        return apply(
            &json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec}),
        );
    }
    let is_job = kind.ends_with("Job");
    if is_job {
        spec["restartPolicy"] = json!("Never");
    }
    let template = json!({"metadata": {"labels": labels}, "spec": spec});
    let selector = json!({"matchLabels": {"app": name}});
    let (version, spec) = match kind {
        "Job" => ("batch/v1", json!({"template": template})),
        "CronJob" => (
            "batch/v1",
            json!({"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": template}}}),
        ),
        "StatefulSet" => (
            "apps/v1",
            json!({"serviceName": name, "selector": selector, "template": template}),
        ),
        _ => (
            "apps/v1",
            json!({"selector": selector, "template": template}),
        ),
    };
    apply(&json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}))?;
    if kind == "CronJob" {
        // Now, and not on New Year's Day.
        kubectl(&[
            "create",
            "job",
            "-n",
            &namespace.name,
            "now",
            "--from=cronjob/cronjob",
        ])?;
    }
    Ok(())
}
