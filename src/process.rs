//! Process metrics, as the operating system reports them.

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
/// | `process_open_fds`, `process_max_fds` | gauge | open file descriptors, and their limit |
/// | `process_virtual_memory_bytes`, `process_virtual_memory_max_bytes` | gauge | size of the address space, and its limit |
/// | `process_resident_memory_bytes` | gauge | memory in use |
/// | `process_start_time_seconds` | gauge | start of the process in Unix time, in whole seconds |
/// | `process_threads` | gauge | threads of the operating system |
///
/// The names follow [*Writing client libraries*], which dashboards and alerts rely on. Values are read at each scrape and
/// at no other time. Pass it to [`MetricsRegistry::register_with`], once per registry:
///
/// ```
/// use hr_prometheus::{MetricsRegistry, process_metrics};
///
/// let registry = MetricsRegistry::new();
/// registry.register_with(process_metrics);
///
/// # if cfg!(any(target_os = "linux", target_os = "macos", target_os = "windows")) {
/// assert!(registry.value("process_cpu_seconds_total", &[]) >= Some(0.0));
/// assert!(registry.value("process_resident_memory_bytes", &[]) > Some(0.0));
/// # }
/// ```
///
/// Values that the system does not report are omitted from the scrape, without an error: a limit if there is none; the
/// memory limit and the threads on Windows; most of them on OpenBSD; and all of them on systems other than Linux, macOS,
/// Windows, FreeBSD and OpenBSD. On Linux they come from `/proc`, where counting the open file descriptors means listing
/// them: the more connections, the longer a scrape takes.
///
/// # With a prefix
///
/// A registry with a prefix puts it before these names too: `shop_process_open_fds`. To keep the documented names, prefix
/// the monitors instead:
///
/// ```
/// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry, process_metrics};
///
/// let registry = MetricsRegistry::new();
/// registry.register_with(process_metrics);
/// let monitor = DefaultMonitor::builder().prefix("shop");
/// let metrics = HrPrometheus::with_builder(monitor).register_in(&registry)?;
///
/// // shop_request_count_total beside process_open_fds
/// assert!(registry.encode()?.contains("# TYPE shop_request_count counter"));
/// # drop(metrics); Ok::<(), hr_prometheus::Error>(())
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
        let (cpu_seconds, gauges) = system::read();
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

/// Name, unit, which the encoder appends to the name, and help text.
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

#[cfg(any(
    target_os = "freebsd",
    target_os = "linux",
    target_os = "macos",
    target_os = "openbsd",
    target_os = "windows"
))]
mod system {
    /// The processor time in seconds and the values of `GAUGES`, as far as the system reports them.
    pub(super) fn read() -> (Option<f64>, [Option<u64>; 7]) {
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

    /// A limit, if there is one: none is 0, or the largest number of 63 or 64 bits, depending on the system.
    fn limit(reported: Option<u64>) -> Option<u64> {
        reported.filter(|limit| (1..u64::MAX >> 1).contains(limit))
    }

    #[cfg(test)]
    mod tests {
        use super::limit;

        #[test]
        fn a_limit_that_means_none_is_not_shown() {
            for none in [None, Some(0), Some(i64::MAX.unsigned_abs()), Some(u64::MAX)] {
                assert_eq!(limit(none), None, "{none:?}");
            }
            for some in [1, 1_024, i64::MAX.unsigned_abs() - 1] {
                assert_eq!(limit(Some(some)), Some(some));
            }
        }
    }
}

/// On this system nothing is read.
#[cfg(not(any(
    target_os = "freebsd",
    target_os = "linux",
    target_os = "macos",
    target_os = "openbsd",
    target_os = "windows"
)))]
mod system {
    pub(super) fn read() -> (Option<f64>, [Option<u64>; 7]) {
        (None, [None; 7])
    }
}
