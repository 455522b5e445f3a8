//! Labels of requests, in every order in which they can be sent.

use std::panic::AssertUnwindSafe;

use actix_web::{
    App, HttpResponse,
    dev::ServiceResponse,
    middleware::{Condition, NormalizePath},
    test::{TestRequest, init_service},
    web::ServiceConfig,
};
use futures_util::FutureExt as _;
use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry};

use super::{assert_balanced, recorder::Recorder};

/// Method and target of a request, the target with ` [v: 1]` where it has this header; status and label that it is
/// recorded with.
pub type Row<'a> = (&'a str, &'a str, u16, &'a str);

/// In place of a label: the request leaves no trace.
pub const EXCLUDED: &str = "(excluded)";

pub type Metrics = HrPrometheus<(DefaultMonitor, Recorder)>;

/// An application, and the options of its middleware.
#[derive(Clone, Copy)]
pub struct Application {
    pub routes: fn(&mut ServiceConfig),
    pub options: fn(Metrics) -> Metrics,
    /// Whether it has `NormalizePath::trim()` inside.
    pub trims: bool,
}

/// An application with these routes.
pub fn application(routes: fn(&mut ServiceConfig)) -> Application {
    Application {
        routes,
        options: |metrics| metrics,
        trims: false,
    }
}

impl Application {
    /// What is wrong with these requests, sent to a new application one after the other.
    async fn wrong(self, rows: &[Row<'_>]) -> Option<String> {
        let registry = MetricsRegistry::new();
        let recorder = Recorder::default();
        let app = App::new()
            .app_data(registry.clone())
            .configure(self.routes)
            .wrap(Condition::new(self.trims, NormalizePath::trim()))
            .wrap((self.options)(recorder.beside_default()));
        let app = init_service(app).await;

        let mut seen = Vec::new();
        let mut is_wrong = false;
        for &(method, target, expected_status, expected) in rows {
            let before = recorder.ended().len();
            let (uri, has_header) = match target.strip_suffix(" [v: 1]") {
                Some(uri) => (uri, true),
                None => (target, false),
            };
            let mut request = TestRequest::with_uri(uri).method(method.parse().expect("a method"));
            if has_header {
                request = request.insert_header(("v", "1"));
            }
            let answer = actix_service::Service::call(&app, request.to_request());
            let status = match AssertUnwindSafe(answer).catch_unwind().await {
                Ok(Ok(response)) => ServiceResponse::status(&response),
                Ok(Err(error)) => HttpResponse::from_error(error).status(),
                Err(_panic) => actix_web::http::StatusCode::INTERNAL_SERVER_ERROR,
            };
            let ended = recorder.ended().split_off(before);
            let label = match &*ended {
                [] => EXCLUDED.to_owned(),
                [(request, ..)] => request.split_once(' ').expect("method and label").1.to_owned(),
                _ => "(more than one)".to_owned(),
            };
            is_wrong |= status != expected_status || label != expected;
            seen.push(format!(
                "{method} {target}: {status} as {label}, expected {expected_status} as {expected}"
            ));
        }
        if !is_wrong {
            assert_balanced(&registry);
        }
        is_wrong.then(|| format!("{seen:#?}"))
    }

    /// Asserts that each of these requests has its label: alone, after each of the others, and after all of them.
    pub async fn assert_in_any_order(self, rows: &[Row<'_>]) {
        for &row in rows {
            assert_eq!(self.wrong(&[row]).await, None, "sent alone");
        }
        for &first in rows {
            for &second in rows {
                assert_eq!(self.wrong(&[first, first, second]).await, None, "after one other");
            }
        }
        let reversed: Vec<_> = rows.iter().rev().copied().collect();
        for order in [rows, &reversed] {
            assert_eq!(self.wrong(&order.repeat(2)).await, None, "one after the other");
        }
    }
}
