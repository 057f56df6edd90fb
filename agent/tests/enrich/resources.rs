//! What a span's process is called.

use std::sync::Arc;

use crate::steps::{server, World};
use spanlet::attach::{Language, ProcessFacts};
use spanlet::capture::event::HostPid;
use spanlet::enrich::span::{self, Resource};
use spanlet::enrich::Config;
use spanlet::pods::model::Value;
use spanlet::pods::{ContainerId, Place, Workload};

fn resource(facts: ProcessFacts) -> Arc<Resource> {
    let mut world = World::with(Config {
        host_name: Some("node-1".to_owned()),
        host_id: Some("machine".to_owned()),
        ..Config::default()
    });
    world.enricher.process(ProcessFacts {
        pid: HostPid(1),
        ..facts
    });
    world.run(server(1, 0), 5);
    world.end(10);
    world.spans.remove(0).resource
}

fn command(language: Language, line: &str) -> ProcessFacts {
    let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
    ProcessFacts {
        executable_path: format!("/usr/bin/{}", arguments[0]),
        command_args: arguments,
        language,
        ..ProcessFacts::default()
    }
}

#[test]
fn services_are_called_what_people_call_them() {
    let cases = [
        (
            Language::Python,
            "python3.11 /app/orders.py --port 80",
            "orders",
        ),
        (Language::Python, "python3 -u -W ignore orders.py", "orders"),
        (Language::Python, "python3 -m orders", "orders"),
        (Language::Python, "python3 -c print(1)", "python3"),
        (Language::Python, "python3", "python3"),
        (Language::Node, "node server.js", "server"),
        (
            Language::Node,
            "node --max-old-space-size=100 -r dotenv /srv/api.mjs",
            "api",
        ),
        (Language::Node, "node -e code", "node"),
        (Language::Java, "java -Xmx1g -jar /app/x.jar --server", "x"),
        (Language::Java, "java -cp /app/lib/* Main", "Main"),
        (Language::Java, "java Main.java", "Main"),
        (Language::Ruby, "ruby -I lib app.rb", "app"),
        (Language::Php, "php -S 0.0.0.0:80 index.php", "index"),
        (Language::DotNet, "dotnet Orders.dll", "Orders"),
        (Language::DotNet, "Orders --urls http://x", "Orders"),
        (Language::Go, "orders -v 1", "orders"),
    ];
    for (language, line, name) in cases {
        let found = resource(command(language, line));
        assert_eq!(found.text("service.name"), Some(name), "{line}");
    }
}

#[test]
fn a_program_whose_name_starts_like_an_interpreter_keeps_it() {
    for line in [
        "node_exporter web",
        "javascript-runner x",
        "phpbench run",
        "pythonista y",
    ] {
        let found = resource(command(Language::Unknown, line));
        assert_eq!(found.text("service.name"), line.split(' ').next(), "{line}");
    }
}

#[test]
fn what_the_owner_says_wins() {
    let own = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let mut facts = command(Language::Go, "orders");
    facts.resource_attributes = vec![
        own("service.name", "from%20attributes"),
        own("deployment.environment.name", "test%2C1%"),
        own("host.name", "mine"),
        own("telemetry.sdk.name", "other"),
        own("", "nameless"),
    ];
    let found = resource(facts.clone());
    assert_eq!(found.text("service.name"), Some("from attributes"));
    assert_eq!(found.text("deployment.environment.name"), Some("test,1%"));
    assert_eq!(found.text("host.name"), Some("mine"));
    assert_eq!(found.text("telemetry.sdk.name"), Some("spanlet"));
    facts.service_name = Some("named".to_owned());
    assert_eq!(resource(facts).text("service.name"), Some("named"));
}

#[test]
fn a_resource_is_complete() {
    let facts = ProcessFacts {
        start_ticks: 42,
        place: Place {
            pod: None,
            container: Some(ContainerId("c0ffee".into())),
        },
        runtime_name: Some("cpython".to_owned()),
        runtime_version: Some("3.11.7".to_owned()),
        ..command(Language::Python, "python3 /app/orders.py")
    };
    let found: Vec<String> = resource(facts)
        .attributes
        .iter()
        .map(|attribute| format!("{} {:?}", attribute.key, attribute.value))
        .collect();
    let version = format!(
        "telemetry.sdk.version Text({:?})",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(
        found,
        [
            r#"service.name Text("orders")"#,
            r#"service.instance.id Text("machine:1:42")"#,
            "process.pid Integer(1)",
            r#"os.type Text("linux")"#,
            r#"telemetry.sdk.name Text("spanlet")"#,
            r#"telemetry.sdk.language Text("python")"#,
            &version,
            r#"process.executable.name Text("python3")"#,
            r#"process.executable.path Text("/usr/bin/python3")"#,
            r#"process.runtime.name Text("cpython")"#,
            r#"process.runtime.version Text("3.11.7")"#,
            r#"container.id Text("c0ffee")"#,
            r#"host.name Text("node-1")"#,
            r#"host.id Text("machine")"#,
        ]
    );
}

#[test]
fn an_unknown_process_still_has_a_name() {
    assert_eq!(
        resource(ProcessFacts::default()).text("service.name"),
        Some("unknown_service")
    );
}

#[test]
fn kubernetes_says_more_and_the_owner_wins() {
    let text = |text: &str| Value::Text(text.into());
    let workload = Workload {
        attributes: vec![
            ("service.name".into(), text("shop")),
            ("service.instance.id".into(), text("shop.web-1.main")),
            ("host.name".into(), text("node-7")),
            ("k8s.pod.name".into(), text("web-1")),
            ("k8s.container.restart_count".into(), Value::Integer(2)),
            (
                "container.image.tags".into(),
                Value::Texts(vec!["v2".into()]),
            ),
            ("telemetry.sdk.name".into(), text("not settable")),
        ],
        ..Workload::default()
    };
    let mut facts = command(Language::Go, "orders");
    facts.workload = Some(Arc::new(workload));
    let found = resource(facts.clone());
    for (key, value) in [
        ("service.name", "shop"),
        ("service.instance.id", "shop.web-1.main"),
        ("host.name", "node-7"),
        ("host.id", "machine"),
        ("k8s.pod.name", "web-1"),
        ("telemetry.sdk.name", "spanlet"),
    ] {
        assert_eq!(found.text(key), Some(value), "{key}");
    }
    let has = |key: &str, value: span::Value| {
        let mut attributes = found.attributes.iter();
        attributes.any(|attribute| attribute.key == key && attribute.value == value)
    };
    assert!(has("k8s.container.restart_count", span::Value::Integer(2)));
    assert!(has(
        "container.image.tags",
        span::Value::Texts(vec!["v2".into()])
    ));
    facts.resource_attributes = vec![
        ("k8s.pod.name".to_owned(), "own".to_owned()),
        ("service.name".to_owned(), "mine".to_owned()),
    ];
    let found = resource(facts.clone());
    assert_eq!(found.text("k8s.pod.name"), Some("own"));
    assert_eq!(found.text("service.name"), Some("mine"));
    facts.service_name = Some("named".to_owned());
    assert_eq!(resource(facts).text("service.name"), Some("named"));
}
