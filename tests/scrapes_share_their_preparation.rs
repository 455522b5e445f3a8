//! Scrapes that come at once share what is done before a render, as they share the render.

mod support;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use actix_web::{
    App, HttpResponse,
    rt::task::yield_now,
    test::{TestRequest, call_and_read_body, init_service},
    web,
};
use futures_util::future::{LocalBoxFuture, join_all};
use hr_prometheus::{
    HrPrometheus, MetricsRegistry, RequestEnd, RequestMonitor, RequestStart, ScrapeStart, metrics_scope,
    prometheus_client::{metrics::gauge::Gauge, registry::Registry},
};

/// Counts how often it was made ready, and shows it.
#[derive(Clone)]
struct Prepared {
    count: Arc<AtomicUsize>,
    gauge: Gauge,
}

impl RequestMonitor for Prepared {
    type InFlight = ();

    fn register(_: &mut Registry) -> Self {
        unreachable!("made by a closure")
    }

    fn update_init_metrics(&self, _: &RequestStart<'_>) {}

    fn update_end_metrics(&self, (): (), _: &RequestEnd<'_>) {}

    fn prepare_scrape<'a>(&'a self, _: &'a ScrapeStart) -> LocalBoxFuture<'a, ()> {
        Box::pin(async {
            let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
            // As long as it takes to look at many requests.
            for _ in 0..20 {
                yield_now().await;
            }
            self.gauge.set(i64::try_from(count).unwrap());
        })
    }
}

#[actix_web::test]
async fn many_scrapes_at_once_are_prepared_once() {
    const SCRAPES: usize = 100;

    let registry = MetricsRegistry::new();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let metrics = HrPrometheus::with_monitor_from(move |registry: &mut Registry| {
        let gauge = Gauge::default();
        registry.register("prepared", "How often", gauge.clone());
        Prepared {
            count: Arc::clone(&counted),
            gauge,
        }
    });
    let app = App::new()
        .app_data(registry.clone())
        .service(metrics_scope())
        .route("/", web::get().to(HttpResponse::Ok))
        .wrap(metrics);
    let app = init_service(app).await;
    // The monitor is registered by the first request.
    call_and_read_body(&app, TestRequest::default().to_request()).await;
    let scrape = || call_and_read_body(&app, TestRequest::with_uri("/metrics").to_request());

    let scrapes = join_all((0..SCRAPES).map(|_| scrape())).await;

    let prepared = count.load(Ordering::Relaxed);
    assert!(
        (1..=2).contains(&prepared),
        "prepared {prepared} times for {SCRAPES} scrapes"
    );
    for body in scrapes {
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(
            body.lines().any(|line| line.starts_with("prepared ")),
            "none in\n{body}"
        );
    }

    // One that comes later is prepared for itself.
    let last = String::from_utf8(scrape().await.to_vec()).unwrap();
    let expected = format!("prepared {}", prepared + 1);
    assert!(
        last.lines().any(|line| line == expected),
        "no {expected:?} in\n{last}"
    );
}
