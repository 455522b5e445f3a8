//! How long requests occupy their worker, which is not how long they take.

mod support;

use std::{cell::RefCell, thread::sleep, time::Duration};

use actix_web::{
    App, HttpResponse,
    error::ErrorForbidden,
    middleware::{Next, from_fn},
    rt::{task::yield_now, time},
    test::{TestRequest, call_service, init_service, read_body, try_call_service},
    web::{self, Bytes},
};
use futures_util::stream;
use hr_prometheus::{
    DefaultMonitor, HrPrometheus, MetricsRegistry, RequestEnd, RequestMonitor, RequestStart,
    prometheus_client::registry::Registry,
};

/// What the worker does at a time.
const WORK: Duration = Duration::from_millis(20);

/// What a request waits for, far longer than any system keeps a worker that has something to do from it.
const WAIT: Duration = Duration::from_millis(400);

thread_local! {
    /// What the monitor was told of each request: path, time on the worker, longest poll, latency.
    static TOLD: RefCell<Vec<(String, Duration, Duration, Duration)>> = const { RefCell::new(Vec::new()) };
}

#[derive(Clone)]
struct Times;

impl RequestMonitor for Times {
    type InFlight = ();

    fn register(_: &mut Registry) -> Self {
        Self
    }

    fn update_init_metrics(&self, _: &RequestStart<'_>) {}

    fn update_end_metrics(&self, (): (), end: &RequestEnd<'_>) {
        let total = end.time_on_worker().expect("it was asked for");
        let longest = end.longest_poll().expect("it was asked for");
        TOLD.with_borrow_mut(|told| told.push((end.route().to_owned(), total, longest, end.latency())));
    }

    fn times_polls(&self) -> bool {
        true
    }
}

/// What the monitor was told of one request for `path`.
async fn told(path: &str) -> (Duration, Duration, Duration) {
    let app = App::new()
        .app_data(MetricsRegistry::new())
        .route("/at-once", web::get().to(async || sleep_and_say(1)))
        .route(
            "/yields",
            web::get().to(async || {
                for _ in 0..3 {
                    sleep(WORK);
                    yield_now().await;
                }
                "done"
            }),
        )
        .route(
            "/waits",
            web::get().to(async || {
                time::sleep(WAIT).await;
                "done"
            }),
        )
        .route(
            "/blocks-later",
            web::get().to(async || {
                time::sleep(WAIT).await;
                sleep(2 * WORK);
                "done"
            }),
        )
        .route(
            "/streams",
            web::get().to(async || HttpResponse::Ok().streaming(body(true))),
        )
        .route(
            "/streams-slowly",
            web::get().to(async || HttpResponse::Ok().streaming(body(false))),
        )
        .route("/refused", web::get().to(async || "done").wrap(from_fn(refuse)))
        .route(
            "/panics",
            web::get().to(async || -> &str {
                sleep(WORK);
                panic!("after some work")
            }),
        )
        .wrap(HrPrometheus::with_monitor::<Times>());
    let app = init_service(app).await;
    let request = TestRequest::get().uri(path).to_request();
    match path {
        "/refused" => assert!(try_call_service(&app, request).await.is_err()),
        "/panics" => {
            let call = std::panic::AssertUnwindSafe(call_service(&app, request));
            assert!(futures_util::FutureExt::catch_unwind(call).await.is_err());
        }
        _ => drop(read_body(call_service(&app, request).await).await),
    }
    let told = TOLD.take();
    let [(found, total, longest, latency)] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(found, path);
    assert!(longest <= total && total <= latency, "{told:?}");
    (*total, *longest, *latency)
}

fn sleep_and_say(times: u32) -> &'static str {
    sleep(times * WORK);
    "done"
}

async fn refuse<B>(
    _: actix_web::dev::ServiceRequest,
    _: Next<B>,
) -> Result<actix_web::dev::ServiceResponse<B>, actix_web::Error>
where
    B: actix_web::body::MessageBody + 'static,
{
    sleep(WORK);
    Err(ErrorForbidden("not now"))
}

/// Three chunks, each of which takes the worker's time, or is waited for.
fn body(works: bool) -> impl futures_util::Stream<Item = Result<Bytes, actix_web::Error>> {
    stream::unfold(0, move |sent| async move {
        if sent == 3 {
            return None;
        }
        if works {
            sleep(WORK);
        } else {
            time::sleep(WAIT).await;
        }
        Some((Ok(Bytes::from_static(b"chunk")), sent + 1))
    })
}

#[actix_web::test]
async fn a_request_that_is_done_in_one_poll_has_worked_all_the_time() {
    let (total, longest, latency) = told("/at-once").await;
    assert!(total >= WORK);
    // Between the polls of the response and of its body is next to nothing.
    assert!(latency < total + WAIT, "{total:?} of {latency:?}");
    assert!(total < longest + WAIT, "{longest:?} of {total:?}");
}

#[actix_web::test]
async fn the_polls_of_a_request_that_yields_are_added_up() {
    let (total, longest, _) = told("/yields").await;
    assert!(total >= 3 * WORK, "{total:?}");
    assert!((WORK..total).contains(&longest), "{longest:?} of {total:?}");
}

#[actix_web::test]
async fn waiting_is_no_work() {
    let (total, _, latency) = told("/waits").await;
    assert!(latency >= WAIT);
    assert!(total + WAIT / 2 < latency, "{total:?} of {latency:?}");
}

#[actix_web::test]
async fn a_later_poll_that_blocks_is_the_longest() {
    let (total, longest, latency) = told("/blocks-later").await;
    assert!(longest >= 2 * WORK, "{longest:?}");
    assert!(total + WAIT / 2 < latency, "{total:?} of {latency:?}");
}

#[actix_web::test]
async fn polls_of_the_body_are_work() {
    let (total, longest, _) = told("/streams").await;
    assert!(total >= 3 * WORK, "{total:?}");
    assert!((WORK..total).contains(&longest), "{longest:?} of {total:?}");
    let (total, _, latency) = told("/streams-slowly").await;
    assert!(latency >= 3 * WAIT);
    assert!(total + 2 * WAIT < latency, "{total:?} of {latency:?}");
}

#[actix_web::test]
async fn requests_that_fail_or_panic_have_worked_too() {
    for path in ["/refused", "/panics"] {
        let (total, longest, _) = told(path).await;
        assert!(
            longest >= WORK && total >= longest,
            "{path}: {longest:?} of {total:?}"
        );
    }
}

#[actix_web::test]
async fn unless_a_monitor_asks_nothing_is_timed() {
    #[derive(Clone)]
    struct Untimed;

    impl RequestMonitor for Untimed {
        type InFlight = ();

        fn register(_: &mut Registry) -> Self {
            Self
        }

        fn update_init_metrics(&self, _: &RequestStart<'_>) {}

        fn update_end_metrics(&self, (): (), end: &RequestEnd<'_>) {
            assert_eq!((end.time_on_worker(), end.longest_poll()), (None, None));
            SEEN.with_borrow_mut(|seen| *seen += 1);
        }
    }

    thread_local! {
        static SEEN: RefCell<u32> = const { RefCell::new(0) };
    }

    let app = App::new()
        .app_data(MetricsRegistry::new())
        .wrap(HrPrometheus::with_monitor::<(DefaultMonitor, Untimed)>());
    let app = init_service(app).await;
    drop(read_body(call_service(&app, TestRequest::get().to_request()).await).await);
    assert_eq!(SEEN.take(), 1);
}

#[actix_web::test]
async fn the_default_monitor_has_both_by_route() {
    let registry = MetricsRegistry::new();
    let monitor = DefaultMonitor::builder()
        .time_on_worker([0.01, 10.0])
        .longest_poll([0.01, 10.0]);
    let app = App::new()
        .app_data(registry.clone())
        .route("/blocks", web::get().to(async || sleep_and_say(2)))
        .route("/quick", web::get().to(async || "done"))
        .wrap(HrPrometheus::with_builder(monitor));
    let app = init_service(app).await;
    for path in ["/blocks", "/quick"] {
        drop(read_body(call_service(&app, TestRequest::get().uri(path).to_request()).await).await);
    }
    for family in ["request_time_on_worker_seconds", "request_longest_poll_seconds"] {
        let value = |sample: &str, path| registry.value(&format!("{family}_{sample}"), &[("path", path)]);
        assert_eq!(value("count", "/quick"), Some(1.0));
        assert_eq!(value("count", "/blocks"), Some(1.0));
        assert!(value("sum", "/blocks") >= Some((2 * WORK).as_secs_f64()));
        let short = |path| registry.value(&format!("{family}_bucket"), &[("path", path), ("le", "0.01")]);
        assert_eq!(short("/blocks"), Some(0.0));
    }
}
