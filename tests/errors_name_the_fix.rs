//! What the one error type says, and what is logged of what is omitted from scrapes, to the letter.

mod support;

use std::{
    error, fmt, io,
    panic::{AssertUnwindSafe, catch_unwind, panic_any},
};

use hr_prometheus::{
    DefaultMonitor, Error, HrPrometheus, MetricsRegistry, OtelMonitor, RequestEnd, RequestMonitor,
    RequestStart,
    prometheus_client::{
        collector::Collector,
        encoding::DescriptorEncoder,
        metrics::{
            counter::Counter,
            histogram::{Histogram, NativeHistogramConfig},
        },
        registry::Registry,
    },
};

use support::{capture_log, logged, without_omissions};

/// Encodes by calling a function.
#[derive(Debug)]
struct Collects(fn() -> fmt::Result);

impl Collector for Collects {
    fn encode(&self, _encoder: DescriptorEncoder<'_>) -> fmt::Result {
        (self.0)()
    }
}

/// Scrapes a registry with a collector that calls `collect`, three times.
#[track_caller]
fn scrape_with_collector(collect: fn() -> fmt::Result) {
    capture_log();
    let registry = MetricsRegistry::new();
    registry.register_with(|registry| registry.register_collector(Box::new(Collects(collect))));
    for _ in 0..3 {
        assert_eq!(without_omissions(&registry.encode().unwrap()), "# EOF\n");
    }
}

/// A monitor whose registration panics.
#[derive(Clone)]
struct Unregistered;

impl RequestMonitor for Unregistered {
    type InFlight = ();

    fn register(_registry: &mut Registry) -> Self {
        panic!("no such device: {}", "eth7");
    }

    fn update_init_metrics(&self, _request: &RequestStart<'_>) {}

    fn update_end_metrics(&self, (): (), _end: &RequestEnd<'_>) {}
}

fn error_of_monitor() -> Error {
    let metrics = HrPrometheus::with_monitor::<(DefaultMonitor, Unregistered)>();
    metrics.register_in(&MetricsRegistry::new()).unwrap_err()
}

#[test]
fn a_collector_that_panics_is_logged_once_with_its_message() {
    scrape_with_collector(|| panic!("no such device: {}", "eth8"));
    assert_eq!(
        logged("no such device: eth8"),
        [
            "ERROR omitted from the scrape: a collector panicked when it was encoded: no such device: eth8; \
             fix it, or do not register it"
        ],
    );

    scrape_with_collector(|| panic_any(7));
    assert_eq!(
        logged("no message"),
        [
            "ERROR omitted from the scrape: a collector panicked when it was encoded: no message; \
             fix it, or do not register it"
        ],
    );
}

#[test]
fn a_collector_that_fails_is_logged_once() {
    scrape_with_collector(|| Err(fmt::Error));
    assert_eq!(
        logged("a collector returned an error"),
        [
            "ERROR omitted from the scrape: a collector returned an error when it was encoded; \
             fix it, or do not register it (a histogram with only native buckets has no text form)"
        ],
    );
}

#[test]
fn a_metric_without_a_text_form_is_logged_once_with_its_name() {
    capture_log();
    let registry = MetricsRegistry::new();
    registry.register_with(|registry| {
        let native_only = Histogram::new_native(NativeHistogramConfig::new(1.1));
        registry.register("native_only", "Help", native_only);
    });
    for _ in 0..3 {
        assert_eq!(without_omissions(&registry.encode().unwrap()), "# EOF\n");
    }
    assert_eq!(
        logged("native_only"),
        [
            "ERROR omitted from the scrape: the family native_only returned an error when it was encoded; \
             fix it, or do not register it (a histogram with only native buckets has no text form)"
        ],
    );
}

#[test]
fn the_error_of_a_monitor_that_cannot_be_registered_names_it() {
    assert_eq!(
        error_of_monitor().to_string(),
        "the monitor errors_name_the_fix::Unregistered is off: its `register` panicked: no such device: eth7; \
         it records nothing until that is fixed",
    );
}

#[test]
fn the_error_of_a_registry_used_within_a_registration_says_when_to_use_it() {
    let registry = MetricsRegistry::new();
    registry.register_with(|_| {
        assert_eq!(
            registry.encode().unwrap_err().to_string(),
            "cannot encode a registry during a registration or a scrape of the same registry; \
             do it before or after",
        );
        assert_eq!(
            HrPrometheus::default()
                .register_in(&registry)
                .unwrap_err()
                .to_string(),
            "cannot register in a registry during a registration or a scrape of the same registry; \
             do it before or after",
        );

        // `register_with` has no `Result` to say it in.
        let panicked = catch_unwind(AssertUnwindSafe(|| registry.register_with(|_| ())));
        assert_eq!(
            *panicked.unwrap_err().downcast::<String>().unwrap(),
            "cannot register in a registry during a registration or a scrape of the same registry; \
             do it before or after",
        );
    });
}

#[test]
fn an_error_is_at_home_in_main_and_in_threads() {
    fn is_an_error<E: error::Error + Send + Sync + Clone + 'static>(_: &E) {}
    is_an_error(&error_of_monitor());

    let main = || -> io::Result<()> {
        HrPrometheus::with_monitor::<Unregistered>().register_in(&MetricsRegistry::new())?;
        Ok(())
    };
    let error = main().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the monitor errors_name_the_fix::Unregistered is off: its `register` panicked: no such device: eth7; \
         it records nothing until that is fixed",
    );
    assert!(error.get_ref().unwrap().is::<Error>());
}

/// An error rather than families that no scrape can have.
#[test]
fn a_registry_whose_labels_a_monitor_cannot_have_is_an_error_at_once() {
    let error_with = |prefix: &str, label: &'static str, otel: bool| {
        let labels = [(label.into(), "1".into())].into_iter();
        let registry = MetricsRegistry::from(Registry::with_prefix_and_labels(prefix, labels));
        let result = if otel {
            let metrics = HrPrometheus::with_monitor::<OtelMonitor>();
            metrics.register_in(&registry).map(|_| ())
        } else {
            let metrics = HrPrometheus::with_builder(DefaultMonitor::builder());
            metrics.register_in(&registry).map(|_| ())
        };
        result.unwrap_err().to_string()
    };
    let off = "the monitor hr_prometheus::monitors::default::DefaultMonitor is off: its registry has";
    assert_eq!(
        error_with("shop", "in-valid", false),
        format!(
            "{off} the invalid label name \"in-valid\"; use letters, digits and `_`, and no `__` at the \
             beginning"
        ),
    );
    assert_eq!(
        error_with("my-shop", "region", false),
        format!("{off} an invalid name, prefix or unit; use letters, digits, `_` and `:`"),
    );
    for (label, otel) in [
        ("method", false),
        ("status", false),
        ("le", false),
        ("http_route", true),
        ("le", true),
    ] {
        let error = error_with("shop", label, otel);
        let reason = format!(
            "its registry has the label {label} twice; rename one of them, or remove it from the labels of the registry"
        );
        assert!(error.contains(&reason), "{error}");
    }

    // Those that it does not have are free.
    let labels = [("status".into(), "1".into())].into_iter();
    let registry = MetricsRegistry::from(Registry::with_labels(labels));
    let monitor = DefaultMonitor::builder().without_count();
    assert!(HrPrometheus::with_builder(monitor).register_in(&registry).is_ok());
}

/// Checks of prometheus-client, which a build without debug assertions does not have.
#[cfg(debug_assertions)]
#[test]
fn a_counter_that_is_called_total_is_an_error_that_names_the_fix() {
    #[derive(Clone)]
    struct CountsTotal;

    impl RequestMonitor for CountsTotal {
        type InFlight = ();

        fn register(registry: &mut Registry) -> Self {
            registry.register("visits_total", "Visits", Counter::<u64>::default());
            Self
        }

        fn update_init_metrics(&self, _request: &RequestStart<'_>) {}

        fn update_end_metrics(&self, (): (), _end: &RequestEnd<'_>) {}
    }

    let says = "counter name visits_total must not end with _total, the suffix is added during encoding";
    let metrics = HrPrometheus::with_monitor::<CountsTotal>();
    let error = metrics.register_in(&MetricsRegistry::new()).unwrap_err();
    assert!(error.to_string().contains(says), "{error}");

    let registry = MetricsRegistry::new();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        registry.register_with(CountsTotal::register);
    }));
    assert_eq!(*panicked.unwrap_err().downcast::<String>().unwrap(), says);
    assert_eq!(registry.encode().unwrap(), "# EOF\n");
}
