//! The agent's own metrics: the one table of them, numbers in, OTLP metrics at the collector out. Touches the network,
//! and procfs for what the agent itself uses.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as PointValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Metric as OtlpMetric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum,
};
use prost::Message;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::WallClock;
use crate::config::Metrics;
use crate::enrich::span::{Attribute, Resource};
use crate::export::otlp::encode::{otlp_resource, scope, text_pair, SCHEMA_URL};
use crate::export::otlp::{Client, Signal};
use crate::export::retry::Failure;
use crate::export::{Counts, Error, Reason};
use crate::pods;
use crate::pods::status::{State, Status};

/// How a metric's numbers are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the agent runs.
    Sum,
    /// Goes up and down.
    Gauge,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub id: Id,
    pub name: &'static str,
    /// UCUM.
    pub unit: &'static str,
    pub labels: &'static [&'static str],
    pub kind: Kind,
    pub meaning: &'static str,
}

macro_rules! metrics {
    ($($id:ident $kind:ident $name:literal $unit:literal [$($label:literal),*] $meaning:literal;)*) => {
        /// Names a metric in the code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Id { $($id),* }

        /// Every metric of the agent.
        pub const METRICS: &[Metric] = &[$(Metric {
            id: Id::$id, name: $name, unit: $unit, labels: &[$($label),*], kind: Kind::$kind, meaning: $meaning,
        }),*];
    };
}

metrics! {
    KernelRecords Sum "spanlet.kernel.records" "{record}" [] "Records taken from the ring buffer.";
    KernelLosses Sum "spanlet.kernel.losses" "{record}" ["reason"] "Records that the kernel side could not hand over.";
    KernelRequestsLost Sum "spanlet.kernel.requests_lost" "{request}" ["reason"] "Requests to traced processes whose first bytes the kernel side could not hand over: they have no span.";
    KernelAskers Sum "spanlet.kernel.askers" "{request}" ["outcome"] "Requests of Go's HTTP client, by whether the goroutine that asked was found, and if not, why.";
    KernelSessions Sum "spanlet.kernel.tls" "{call}" ["outcome"] "Calls by which TLS sessions moved bytes, by whether these were told as those of a connection, and if not, why.";
    RingBytes Sum "spanlet.ring.bytes" "By" [] "Bytes taken from the ring buffer.";
    CaptureSkipped Sum "spanlet.capture.skipped" "{record}" ["reason"] "Records that could not be understood, or written down, or are of processes that are not traced.";
    DecodeNoted Sum "spanlet.decode.noted" "{event}" ["what"] "What the decoder met on connections, also what it could not follow.";
    DecodeExchanges Sum "spanlet.decode.exchanges" "{exchange}" ["stage"] "Exchanges (a request and its answer), started and finished.";
    DecodeOpen Gauge "spanlet.decode.open" "{connection}" [] "Connections known to the decoder.";
    DecodeHeld Gauge "spanlet.decode.held" "By" [] "Bytes held for connections.";
    EnrichSpans Sum "spanlet.enrich.spans" "{span}" [] "Spans made.";
    EnrichParents Sum "spanlet.enrich.parents" "{span}" ["evidence"] "Parents given, by what proves them.";
    EnrichRefused Sum "spanlet.enrich.refused" "{span}" ["reason"] "Parents not given, by what spoke against them.";
    EnrichDropped Sum "spanlet.enrich.unfollowed" "{exchange}" ["reason"] "Exchanges, processes and headers that could not be followed.";
    ExportAccepted Sum "spanlet.export.accepted" "{span}" ["output"] "Spans handed to an output.";
    ExportDelivered Sum "spanlet.export.delivered" "{span}" ["output"] "Spans acknowledged by the collector, or written.";
    ExportDropped Sum "spanlet.export.dropped" "{span}" ["output", "reason"] "Spans that an output gave up.";
    ExportWaiting Gauge "spanlet.export.waiting" "{span}" ["output"] "Spans queued or on their way.";
    ReportsFailed Sum "spanlet.metrics.failed" "{report}" [] "Reports of these metrics that could not be delivered.";
    ProcessesTraced Gauge "spanlet.processes.traced" "{process}" ["language"] "Processes traced now.";
    ProcessesMissed Sum "spanlet.processes.missed" "{process}" ["reason"] "Processes that could not be looked at or entered.";
    EnrichHeld Gauge "spanlet.enrich.held" "{span}" [] "Spans that wait for what Kubernetes says of their process.";
    Configurations Sum "spanlet.configuration.loads" "{load}" ["outcome"] "Configurations that were read while the agent ran: applied or refused.";
    ConfigurationFault Gauge "spanlet.configuration.fault" "1" [] "1 while the newest configuration is refused and the one before in effect.";
    ProbesReopened Sum "spanlet.probes.reopened" "{time}" [] "Times that the probes were opened anew for another configuration.";
    ProbesBlind Sum "spanlet.probes.blind" "s" [] "Time in which nothing was seen because of that.";
    ProbesVerified Gauge "spanlet.probes.verified" "1" [] "1 when the agent has seen a request of its own to itself.";
    ProbeHits Sum "spanlet.probe.hits" "{hit}" ["probe"] "Times that a probe ran, where the kernel counts it.";
    ProbeTime Sum "spanlet.probe.time" "ns" ["probe"] "Time spent in a probe, where the kernel counts it.";
    KubernetesFollowed Gauge "spanlet.kubernetes.followed" "1" ["kind"] "Whether the API server's objects are followed: 1, or 0 while that fails.";
    KubernetesSilence Gauge "spanlet.kubernetes.silence" "s" ["kind"] "Time since the API server said something.";
    KubernetesObjects Gauge "spanlet.kubernetes.objects" "{object}" ["kind"] "Objects of the API server that are kept.";
    KubernetesDropped Sum "spanlet.kubernetes.dropped" "{object}" ["kind"] "Objects of the API server that were not kept, because a bound was reached.";
    KubernetesUpdates Sum "spanlet.kubernetes.updates" "{update}" ["kind"] "Things that the API server told.";
    KubernetesRelists Sum "spanlet.kubernetes.relists" "{list}" ["kind"] "How often the API server told all objects that there are, the first time included.";
    KubernetesErrors Sum "spanlet.kubernetes.errors" "{error}" ["kind", "reason"] "Questions that the API server did not answer, or refused.";
    KubernetesRequests Sum "spanlet.kubernetes.requests" "{request}" ["kind"] "Requests to the API server.";
    KubernetesBytes Sum "spanlet.kubernetes.bytes" "By" ["kind"] "Bytes of the API server's answers, without their heads.";
    MemoryUsage Gauge "process.memory.usage" "By" [] "Physical memory that the agent uses.";
    CpuTime Sum "process.cpu.time" "s" ["cpu.mode"] "CPU time that the agent used.";
}

impl Id {
    /// Its row.
    pub fn metric(self) -> &'static Metric {
        // The table is made in the order of the names.
        &METRICS[self as usize]
    }
}

/// One number.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub id: Id,
    /// One for each of the metric's labels.
    pub labels: Vec<Cow<'static, str>>,
    pub number: f64,
}

/// All numbers at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot(pub Vec<Sample>);

impl Snapshot {
    /// Adds a number of a metric without labels.
    pub fn add(&mut self, id: Id, number: f64) {
        self.add_for(id, Vec::new(), number);
    }

    /// Adds a number of a metric with one label.
    pub fn add_one(&mut self, id: Id, label: impl Into<Cow<'static, str>>, number: f64) {
        self.add_for(id, vec![label.into()], number);
    }

    fn add_for(&mut self, id: Id, labels: Vec<Cow<'static, str>>, number: f64) {
        debug_assert_eq!(labels.len(), id.metric().labels.len(), "{id:?}");
        self.0.push(Sample { id, labels, number });
    }

    /// Adds what became of the spans.
    pub fn add_export(&mut self, counts: &Counts) {
        for (output, counts) in counts.outputs() {
            self.add_one(Id::ExportAccepted, output, counts.accepted as f64);
            self.add_one(Id::ExportDelivered, output, counts.delivered as f64);
            self.add_one(Id::ExportWaiting, output, counts.waiting() as f64);
            for reason in Reason::ALL {
                let labels = vec![output.into(), reason.name().into()];
                self.add_for(Id::ExportDropped, labels, counts.dropped(reason) as f64);
            }
        }
    }

    /// Adds how following the API server goes.
    pub fn add_kubernetes(&mut self, status: &Status) {
        for kind in &status.kinds {
            let name = || kind.kind.clone();
            let is_followed = f64::from(u8::from(kind.state == State::Following));
            self.add_one(Id::KubernetesFollowed, name(), is_followed);
            if let Some(silent) = kind.silent_seconds {
                self.add_one(Id::KubernetesSilence, name(), silent);
            }
            self.add_one(Id::KubernetesObjects, name(), kind.objects as f64);
            self.add_one(Id::KubernetesDropped, name(), kind.dropped as f64);
            self.add_one(Id::KubernetesUpdates, name(), kind.updates as f64);
            self.add_one(Id::KubernetesRelists, name(), kind.tellings as f64);
            self.add_one(Id::KubernetesRequests, name(), kind.requests as f64);
            self.add_one(Id::KubernetesBytes, name(), kind.bytes as f64);
            for (reason, number) in &kind.errors {
                let labels = vec![name().into(), reason.clone().into()];
                self.add_for(Id::KubernetesErrors, labels, *number as f64);
            }
        }
    }

    /// Adds what the agent itself uses, as procfs has it now; nothing where that cannot be read.
    pub fn add_own_usage(&mut self) {
        let Ok(stat) = procfs::process::Process::myself().and_then(|own| own.stat()) else {
            return;
        };
        let ticks = procfs::ticks_per_second() as f64;
        self.add(Id::MemoryUsage, (stat.rss * procfs::page_size()) as f64);
        self.add_one(Id::CpuTime, "user", stat.utime as f64 / ticks);
        self.add_one(Id::CpuTime, "system", stat.stime as f64 / ticks);
    }
}

/// The agent as OTLP shows it.
pub fn own_resource(kubernetes: Option<&pods::Config>) -> Resource {
    let mut attributes = vec![
        Attribute::text("service.name", "spanlet"),
        Attribute::text("service.version", env!("CARGO_PKG_VERSION")),
        Attribute::integer("process.pid", i64::from(std::process::id())),
    ];
    let mut text = |key, value: &str| attributes.push(Attribute::text(key, value));
    match kubernetes {
        // Its host's name is that of its pod.
        Some(config) => {
            text("host.name", &config.node_name);
            text("k8s.node.name", &config.node_name);
            if let Some((namespace, pod)) = &config.own {
                text("k8s.namespace.name", namespace);
                text("k8s.pod.name", pod);
            }
            if let Some(cluster) = &config.cluster_name {
                text("k8s.cluster.name", cluster);
            }
        }
        None => {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            text("host.name", host.trim());
        }
    }
    Resource { attributes }
}

/// The numbers as one OTLP message. Sums run from `started`.
pub fn otlp(
    snapshot: &Snapshot,
    resource: &Resource,
    started: WallClock,
    now: WallClock,
) -> ExportMetricsServiceRequest {
    let metrics = METRICS.iter().filter_map(|metric| {
        let samples = snapshot.0.iter().filter(|sample| sample.id == metric.id);
        let points: Vec<_> = samples
            .map(|sample| point(metric, sample, started, now))
            .collect();
        (!points.is_empty()).then(|| otlp_metric(metric, points))
    });
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(otlp_resource(&resource.attributes)),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(scope()),
                metrics: metrics.collect(),
                schema_url: SCHEMA_URL.into(),
            }],
            schema_url: SCHEMA_URL.into(),
        }],
    }
}

fn otlp_metric(metric: &Metric, data_points: Vec<NumberDataPoint>) -> OtlpMetric {
    let data = match metric.kind {
        Kind::Gauge => Data::Gauge(Gauge { data_points }),
        Kind::Sum => Data::Sum(Sum {
            data_points,
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
            is_monotonic: true,
        }),
    };
    OtlpMetric {
        name: metric.name.into(),
        description: metric.meaning.into(),
        unit: metric.unit.into(),
        data: Some(data),
        ..Default::default()
    }
}

fn point(metric: &Metric, sample: &Sample, started: WallClock, now: WallClock) -> NumberDataPoint {
    let labels = metric.labels.iter().zip(&sample.labels);
    let attributes: Vec<KeyValue> = labels.map(|(key, value)| text_pair(key, value)).collect();
    let whole = metric.unit != "s" && metric.unit != "1";
    NumberDataPoint {
        attributes,
        start_time_unix_nano: match metric.kind {
            Kind::Sum => started.0,
            Kind::Gauge => 0,
        },
        time_unix_nano: now.0,
        value: Some(match whole {
            true => PointValue::AsInt(sample.number as i64),
            false => PointValue::AsDouble(sample.number),
        }),
        ..Default::default()
    }
}

/// Sends the newest snapshot; an older one that was not sent yet is of no more use, since sums are totals.
pub struct Reporter {
    newest: watch::Sender<Option<(Snapshot, WallClock)>>,
    failed: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Reporter {
    /// Sums run from `started`. Must be called inside a tokio runtime.
    pub fn start(config: &Metrics, started: WallClock) -> Result<Self, Error> {
        let client = Client::new(&config.target, Signal::Metrics)?;
        let (newest, snapshots) = watch::channel(None);
        let failed = Arc::<AtomicU64>::default();
        let resource = own_resource(config.kubernetes.as_deref());
        let sender = Sender {
            client,
            endpoint: config.target.endpoint.clone(),
            resource,
            started,
            failed: failed.clone(),
        };
        let task = tokio::spawn(sender.run(snapshots));
        Ok(Self {
            newest,
            failed,
            task,
        })
    }

    /// Never blocks. To be called each [`Metrics::interval`].
    pub fn report(&self, mut snapshot: Snapshot, now: WallClock) {
        snapshot.add(Id::ReportsFailed, self.failed.load(Relaxed) as f64);
        self.newest.send_replace(Some((snapshot, now)));
    }

    /// Sends what was last reported, for at most `deadline`.
    pub async fn shutdown(mut self, deadline: Duration) {
        drop(self.newest);
        if tokio::time::timeout(deadline, &mut self.task)
            .await
            .is_err()
        {
            self.task.abort();
        }
    }
}

/// Who sends, and what is the same in all that is sent.
struct Sender {
    client: Client,
    endpoint: String,
    resource: Resource,
    started: WallClock,
    failed: Arc<AtomicU64>,
}

impl Sender {
    async fn run(mut self, mut snapshots: watch::Receiver<Option<(Snapshot, WallClock)>>) {
        let mut failing = false;
        while snapshots.changed().await.is_ok() {
            let newest = snapshots.borrow_and_update().clone();
            let Some((snapshot, now)) = newest else {
                continue;
            };
            let message = otlp(&snapshot, &self.resource, self.started, now);
            let body = self.client.pack(&mut message.encode_to_vec());
            let endpoint = &self.endpoint;
            match self.client.send(body).await {
                Ok(_) if failing => {
                    tracing::info!("sending the agent's own metrics to {endpoint} again");
                    failing = false;
                }
                Ok(_) => {}
                Err(Failure { message, .. }) => {
                    self.failed.fetch_add(1, Relaxed);
                    if !failing {
                        tracing::warn!(
                            "cannot send the agent's own metrics to {endpoint}: {message} (said once)"
                        );
                    }
                    failing = true;
                }
            }
        }
    }
}
