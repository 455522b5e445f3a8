//! What the one error type says, to the letter.

use std::{
    error, fmt, io,
    panic::{AssertUnwindSafe, catch_unwind, panic_any},
};

use hr_prometheus::{
    DefaultMonitor, Error, HrPrometheus, MetricsRegistry, RequestEnd, RequestMonitor, RequestStart,
    prometheus_client::{
        collector::Collector,
        encoding::DescriptorEncoder,
        metrics::histogram::{Histogram, NativeHistogramConfig},
        registry::Registry,
    },
};

/// Encodes by calling a function.
#[derive(Debug)]
struct Collects(fn() -> fmt::Result);

impl Collector for Collects {
    fn encode(&self, _encoder: DescriptorEncoder<'_>) -> fmt::Result {
        (self.0)()
    }
}

/// The error of a scrape with `collector`.
fn error_of_collector(collect: fn() -> fmt::Result) -> Error {
    let registry = MetricsRegistry::new();
    registry.register_with(|registry| registry.register_collector(Box::new(Collects(collect))));
    registry.encode().unwrap_err()
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
fn the_error_of_a_collector_that_panics_has_its_message() {
    assert_eq!(
        error_of_collector(|| panic!("no such device: {}", "eth7")).to_string(),
        "a collector or metric panicked while it was encoded: no such device: eth7; \
         mend it, or do not register it",
    );
    assert_eq!(
        error_of_collector(|| panic_any(7)).to_string(),
        "a collector or metric panicked while it was encoded: no message; mend it, or do not register it",
    );
}

#[test]
fn the_error_of_a_metric_without_a_text_form_says_so() {
    let registry = MetricsRegistry::new();
    registry.register_with(|registry| {
        let native_only = Histogram::new_native(NativeHistogramConfig::new(1.1));
        registry.register("native", "Help", native_only);
    });
    for error in [
        registry.encode().unwrap_err(),
        error_of_collector(|| Err(fmt::Error)),
    ] {
        assert_eq!(
            error.to_string(),
            "a collector or metric could not be encoded; mend it, or do not register it \
             (a histogram with native buckets alone has no text form)",
        );
    }
}

#[test]
fn the_error_of_a_monitor_that_cannot_be_registered_names_it() {
    assert_eq!(
        error_of_monitor().to_string(),
        "`register` of the monitor errors_name_the_fix::Unregistered panicked: no such device: eth7; \
         it records nothing until this is mended",
    );
}

#[test]
fn the_error_of_a_registry_used_within_a_registration_says_when_to_use_it() {
    let registry = MetricsRegistry::new();
    registry.register_with(|_| {
        assert_eq!(
            registry.encode().unwrap_err().to_string(),
            "a registry cannot be encoded from within a registration or a scrape of itself; \
             do it before or after",
        );
        assert_eq!(
            HrPrometheus::default()
                .register_in(&registry)
                .unwrap_err()
                .to_string(),
            "nothing can be registered in a registry from within a registration or a scrape of itself; \
             do it before or after",
        );

        // `register_with` has no `Result` to say it in.
        let panicked = catch_unwind(AssertUnwindSafe(|| registry.register_with(|_| ())));
        assert_eq!(
            *panicked.unwrap_err().downcast::<String>().unwrap(),
            "nothing can be registered in a registry from within a registration or a scrape of itself; \
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
        "`register` of the monitor errors_name_the_fix::Unregistered panicked: no such device: eth7; \
         it records nothing until this is mended",
    );
    assert!(error.get_ref().unwrap().is::<Error>());
}
