//! Whether a pod's processes are traced, and why. Pure.
//!
//! In: a pod, what is known of its namespace, the configuration. Out: a [`Choice`]. From strong to weak: the agent itself
//! and excluded namespaces are never traced; then the pod's annotation, the pod's label, a namespace that is labelled
//! `disabled`; then any of the namespace's label, the configured pod labels and the configured workloads chooses it.

use std::borrow::Cow;
use std::fmt;

use kube::core::SelectorExt;

use super::model::{Ancestor, Pod};
use super::Config;

/// What is decided of a process by its pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    Traced(Why),
    /// Nothing of Kubernetes chooses it: other selections may.
    Unchosen(Why),
    /// Not to be traced, unless its own number was named: an excluded namespace, `disabled`.
    Refused(Why),
    /// The API server has not told of this pod yet: what the process does meanwhile is kept.
    Unknown,
}

/// Why, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// `namespace shop is labelled`, `annotation says disabled`
    pub text: Cow<'static, str>,
    /// What to do about it, where it is not traced and could be.
    pub remedy: Option<String>,
}

/// What is known of the label of a pod's namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label<'a> {
    /// Its value, if there is one.
    Told(Option<&'a str>),
    /// It will be told.
    Later,
    /// It will not be told, for this reason.
    Never(&'static str),
}

/// Decides.
pub fn of(pod: &Pod, namespace: Label<'_>, config: &Config) -> Choice {
    if config.is_own(pod) {
        return Choice::Refused("is the agent".into());
    }
    if config.exclude_namespaces.contains(&pod.namespace) {
        return Choice::Refused(excluded(pod));
    }
    let annotation = pod.annotations.get(&config.label).map(String::as_str);
    let label = pod.labels.get(&config.label).map(String::as_str);
    let mut wrong = String::new();
    for (what, value) in [("annotation", annotation), ("label", label)] {
        match value {
            Some("enabled") => return Choice::Traced(format!("{what} says enabled{wrong}").into()),
            Some("disabled") => {
                return Choice::Refused(disabled(pod, what, &wrong, config));
            }
            Some(value) => wrong.push_str(&is_wrong(what, value, config)),
            None => {}
        }
    }
    let choice = by_namespace(pod, namespace, config);
    match wrong.is_empty() {
        true => choice,
        false => choice.with(&wrong),
    }
}

fn by_namespace(pod: &Pod, namespace: Label<'_>, config: &Config) -> Choice {
    let name = &pod.namespace;
    let label = match namespace {
        Label::Told(label) => label,
        Label::Later | Label::Never(_) => None,
    };
    match label {
        Some("disabled") => {
            return Choice::Refused(Why {
                text: format!("label of namespace {name} says disabled").into(),
                remedy: Some(labelling(pod, config) + " --overwrite"),
            })
        }
        Some("enabled") => return Choice::Traced(format!("namespace {name} is labelled").into()),
        Some(_) | None => {}
    }
    // Its namespace may still refuse it.
    if namespace == Label::Later {
        return Choice::Unknown;
    }
    if let Some(selector) = config.select_pods.iter().find(|s| s.matches(&pod.labels)) {
        return Choice::Traced(format!("matches select_pods {selector}").into());
    }
    if let Some(glob) = config.selects_workload(pod) {
        return Choice::Traced(format!("matches select_workloads {glob}").into());
    }
    if config.has_workloads() && pod.ancestor == Ancestor::Unknown {
        return Choice::Unknown;
    }
    Choice::Unchosen(match (namespace, label) {
        (Label::Never(reason), _) => Why {
            text: format!("the label of namespace {name} is not known: {reason}").into(),
            remedy: None,
        },
        (_, Some(value)) => Why {
            text: format!(
                "label of namespace {name} has the value {value:?}: neither enabled nor disabled"
            )
            .into(),
            remedy: Some(labelling(pod, config) + " --overwrite"),
        },
        (_, None) => Why {
            text: format!("namespace {name} is not labelled").into(),
            remedy: Some(labelling(pod, config)),
        },
    })
}

fn labelling(pod: &Pod, config: &Config) -> String {
    let label = &config.label;
    format!("kubectl label namespace {} {label}=enabled", pod.namespace)
}

fn excluded(pod: &Pod) -> Why {
    let name = &pod.namespace;
    Why {
        text: format!("namespace {name} is excluded").into(),
        remedy: Some(format!(
            "take {name} out of exclude_namespaces in [kubernetes]"
        )),
    }
}

fn disabled(pod: &Pod, what: &str, wrong: &str, config: &Config) -> Why {
    let verb = match what {
        "annotation" => "annotate",
        _ => "label",
    };
    let (namespace, name, label) = (&pod.namespace, &pod.name, &config.label);
    Why {
        text: format!("{what} says disabled{wrong}").into(),
        remedy: Some(format!("kubectl {verb} pod -n {namespace} {name} {label}-")),
    }
}

fn is_wrong(what: &str, value: &str, config: &Config) -> String {
    let label = &config.label;
    format!("; {what} {label} has the value {value:?}: neither enabled nor disabled")
}

impl Choice {
    fn with(self, more: &str) -> Self {
        let add = |why: Why| Why {
            text: format!("{}{more}", why.text).into(),
            ..why
        };
        match self {
            Self::Traced(why) => Self::Traced(add(why)),
            Self::Unchosen(why) => Self::Unchosen(add(why)),
            Self::Refused(why) => Self::Refused(add(why)),
            Self::Unknown => Self::Unknown,
        }
    }
}

impl From<&'static str> for Why {
    fn from(text: &'static str) -> Self {
        Self {
            text: text.into(),
            remedy: None,
        }
    }
}

impl From<String> for Why {
    fn from(text: String) -> Self {
        Self {
            text: text.into(),
            remedy: None,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
