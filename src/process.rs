//! What the operating system tells of the process.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
    registry::{Registry, Unit},
};

/// Registers the process metrics that Prometheus documents for all client libraries; needs the feature `process`.
///
/// | family | type | meaning |
/// | --- | --- | --- |
/// | `process_cpu_seconds` (exposed as `process_cpu_seconds_total`) | counter | processor time used, in user and kernel mode |
/// | `process_open_fds`, `process_max_fds` | gauge | file descriptors that are open, and how many may be |
/// | `process_virtual_memory_bytes`, `process_virtual_memory_max_bytes` | gauge | size of the address space, and how large it may be |
/// | `process_resident_memory_bytes` | gauge | memory in use |
/// | `process_start_time_seconds` | gauge | start of the process in Unix time, in whole seconds |
/// | `process_threads` | gauge | threads of the operating system |
///
/// The names are those of [*Writing client libraries*], from which dashboards and alerts are made. They are read at
/// each scrape, never between two. Hand it to [`MetricsRegistry::register_with`], once for each registry:
///
/// ```
/// use hr_prometheus::{MetricsRegistry, process_metrics};
///
/// # fn main() -> Result<(), hr_prometheus::Error> {
/// let registry = MetricsRegistry::new();
/// registry.register_with(process_metrics);
///
/// let scrape = registry.encode()?;
/// # if cfg!(any(target_os = "linux", target_os = "macos", target_os = "windows")) {
/// assert!(scrape.contains("\n# TYPE process_cpu_seconds counter\n"));
/// assert!(registry.value("process_cpu_seconds_total", &[]).is_some_and(|seconds| seconds >= 0.0));
/// assert!(registry.value("process_resident_memory_bytes", &[]).is_some_and(|bytes| bytes > 0.0));
/// # }
/// # Ok(())
/// # }
/// ```
///
/// Values that the system does not tell are omitted from the scrape, without an error: a limit where there is none; the limit
/// of memory and the threads on Windows; most on OpenBSD; and everything on systems other than Linux, macOS, Windows,
/// FreeBSD and OpenBSD. On Linux it is read from `/proc`, where the open file descriptors are listed to count them,
/// so a scrape takes the longer the more connections there are.
///
/// # With a prefix
///
/// A prefix of the whole registry holds for these names too: `shop_process_open_fds`. To keep the names as they are
/// documented, give the prefix to a sub-registry for everything else:
///
/// ```
/// use hr_prometheus::{
///     DefaultMonitor, HrPrometheus, MetricsRegistry, process_metrics, prometheus_client::registry::Registry,
/// };
///
/// # fn main() -> Result<(), hr_prometheus::Error> {
/// let registry = MetricsRegistry::new();
/// registry.register_with(process_metrics);
/// let metrics = HrPrometheus::with_monitor_from(|registry: &mut Registry| {
///     DefaultMonitor::builder().register(registry.sub_registry_with_prefix("shop"))
/// })
/// .register_in(&registry)?;
/// # drop(metrics);
///
/// let scrape = registry.encode()?;
/// # if cfg!(any(target_os = "linux", target_os = "macos", target_os = "windows")) {
/// assert!(scrape.contains("\n# TYPE process_open_fds gauge\n"));
/// # }
/// assert!(scrape.contains("\n# TYPE shop_request_count counter\n"));
/// # Ok(())
/// # }
/// ```
///
/// [*Writing client libraries*]: https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics
/// [`MetricsRegistry::register_with`]: crate::MetricsRegistry::register_with
pub fn process_metrics(registry: &mut Registry) {
    registry.register_collector(Box::new(ProcessCollector));
}

#[derive(Debug)]
struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let (cpu_seconds, gauges) = read();
        if let Some(seconds) = cpu_seconds {
            let help = "Processor time used by the process, in user and kernel mode";
            encoder
                .encode_descriptor("process_cpu", help, Some(&Unit::Seconds), MetricType::Counter)?
                .encode_counter::<NoLabelSet, _, f64>(&seconds, None)?;
        }
        for ((name, unit, help), value) in GAUGES.iter().zip(gauges) {
            if let Some(value) = value {
                encoder
                    .encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?
                    .encode_gauge(&value)?;
            }
        }
        Ok(())
    }
}

/// Name, unit, which the encoder appends to the name, and help.
const GAUGES: [(&str, Option<Unit>, &str); 7] = [
    (
        "process_open_fds",
        None,
        "File descriptors that the process has open",
    ),
    (
        "process_max_fds",
        None,
        "File descriptors that the process may have open",
    ),
    (
        "process_virtual_memory",
        Some(Unit::Bytes),
        "Size of the address space of the process",
    ),
    (
        "process_virtual_memory_max",
        Some(Unit::Bytes),
        "Size that the address space of the process may have",
    ),
    (
        "process_resident_memory",
        Some(Unit::Bytes),
        "Memory that the process has in use",
    ),
    (
        "process_start_time",
        Some(Unit::Seconds),
        "Start of the process, in Unix time",
    ),
    ("process_threads", None, "Threads of the process"),
];

/// The processor time in seconds and the values of `GAUGES`, as far as the system tells them.
#[cfg(any(
    target_os = "freebsd",
    target_os = "linux",
    target_os = "macos",
    target_os = "openbsd",
    target_os = "windows"
))]
fn read() -> (Option<f64>, [Option<u64>; 7]) {
    // No limit is 0, or the largest number of 63 or 64 bits, depending on the system.
    let limit = |limit: Option<u64>| limit.filter(|limit| (1..u64::MAX >> 1).contains(limit));

    let process = metrics_process::collector::collect();
    let gauges = [
        process.open_fds,
        limit(process.max_fds),
        process.virtual_memory_bytes,
        limit(process.virtual_memory_max_bytes),
        process.resident_memory_bytes,
        process.start_time_seconds,
        process.threads,
    ];
    (process.cpu_seconds_total, gauges)
}

/// Nobody reads it on this system.
#[cfg(not(any(
    target_os = "freebsd",
    target_os = "linux",
    target_os = "macos",
    target_os = "openbsd",
    target_os = "windows"
)))]
fn read() -> (Option<f64>, [Option<u64>; 7]) {
    (None, [None; 7])
}
