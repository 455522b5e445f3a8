//! The label of a request is the route that served it: compared with actix-web itself, over random applications and
//! random requests in random order.
//!
//! Each service of an application notes that it ran, and the label that the middleware recorded must be its own, or
//! that of requests without a route where none ran. `HR_SEED` and `HR_REQUESTS` choose other applications, and more.
//!
//! What actix-web leaves of a request is sometimes the same for two of its services. These kinds are counted apart, and
//! the label must be one of the two:
//!
//! - [`Doubt::GateOrDefault`]: a default service answers as a gatekeeper does (a redirect, 401, 403, 407 or 429), and
//!   the path is that of a route which a guard, most often for the method, kept the request from. An inner middleware
//!   that answers in front of the same route leaves the same.
//! - [`Doubt::BeforeGuards`]: an inner middleware answers before routing, or with an `Err`, of which no request is left;
//!   and the first route that the path matches is not the one that would have served, because guards choose.
//! - [`Doubt::Rewritten`]: an `Err`, of which only the path as it arrived is left. `NormalizePath` may have changed it, so
//!   it is looked up as it arrived and, if no route matches that, as `NormalizePath` would have made it.

mod support {
    pub mod route_tables;
}

use std::{
    cell::RefCell,
    collections::BTreeMap,
    env, fmt,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use actix_http::Request as HttpRequest;
use actix_service::Service;
use actix_web::{
    App, Error,
    body::MessageBody,
    dev::{Path, ServiceResponse, Url},
    middleware::{Condition, NormalizePath, from_fn},
    rt::System,
    test::init_service,
};
use hr_prometheus::{
    DefaultMonitor, HrPrometheus, MetricsRegistry, RequestEnd, RequestMonitor, RequestStart,
    prometheus_client::registry::Registry,
};

use support::route_tables::{Denied, Random, Request, Table, deny_in_app, label_of, who_ran};

/// Requests for one application.
const PER_TABLE: usize = 500;

thread_local! {
    /// The label of the last request that ended.
    static RECORDED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Notes the label of each request that ends.
#[derive(Clone)]
struct Notes;

impl RequestMonitor for Notes {
    type InFlight = ();

    fn register(_: &mut Registry) -> Self {
        Self
    }

    fn update_init_metrics(&self, _: &RequestStart<'_>) {}

    fn update_end_metrics(&self, (): (), end: &RequestEnd<'_>) {
        RECORDED.set(Some(end.route().to_owned()));
    }
}

/// What is known of a request that has been answered.
#[derive(Debug)]
struct Answered {
    recorded: Option<String>,
    /// The leaf that served it.
    ran: Option<usize>,
    /// What a middleware that answered it first has seen.
    denied: Option<Denied>,
    /// `None` for an `Err`.
    status: Option<u16>,
    /// What the router consumed of the path, with the names of parameters in place of their values, and whether that
    /// was all.
    consumed: String,
    consumed_all: bool,
    /// The label of the first route that the path matches.
    first_match: Option<String>,
    /// The same of the path as the client encoded it, which is what `HttpRequest::match_pattern` falls back to.
    first_encoded_match: Option<String>,
    values: BTreeMap<String, String>,
}

/// Why the label may be another than that of the service that ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Doubt {
    GateOrDefault,
    BeforeGuards,
    Rewritten,
}

/// What became of the requests to one application.
#[derive(Default)]
struct Outcome {
    doubts: BTreeMap<Doubt, usize>,
    wrong: Vec<Wrong>,
}

struct Wrong {
    /// The number of the request.
    index: usize,
    message: String,
}

async fn call<B: MessageBody>(
    app: &impl Service<HttpRequest, Response = ServiceResponse<B>, Error = Error>,
    request: &Request,
) -> Answered {
    let response = app.call(request.build()).await;
    let (ran, denied) = who_ran();
    let mut answered = Answered {
        recorded: None,
        ran,
        denied,
        status: None,
        consumed: String::new(),
        consumed_all: false,
        first_match: None,
        first_encoded_match: None,
        values: BTreeMap::new(),
    };
    if let Ok(response) = &response {
        let request = response.request();
        let info = request.match_info();
        let rest = info.unprocessed();
        answered.status = Some(response.status().as_u16());
        answered.consumed = named(info, info.as_str().len() - rest.len());
        answered.consumed_all = rest.is_empty();
        let first = |path| Some(label_of(&request.resource_map().match_pattern(path)?));
        answered.first_match = first(info.as_str());
        answered.first_encoded_match = first(request.path());
        answered.values = info
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
    }
    drop(response);
    answered.recorded = RECORDED.take();
    answered
}

/// The first `length` bytes of a path, with the names of its parameters in place of their values.
fn named(info: &Path<Url>, length: usize) -> String {
    let path = info.as_str();
    let mut text = String::new();
    let mut end = 0;
    for (name, value) in info.iter() {
        let start = value.as_ptr() as usize - path.as_ptr() as usize;
        text.push_str(&path[end..start]);
        text.extend(["{", name, "}"]);
        end = start + value.len();
    }
    text + &path[end..length]
}

impl Table {
    fn metrics(&self) -> HrPrometheus<(DefaultMonitor, Notes)> {
        let mut metrics = HrPrometheus::with_monitor::<(DefaultMonitor, Notes)>()
            .max_kept_paths(1_000_000)
            .unmatched(self.unmatched)
            .exclude_routes(&self.excluded);
        for (label, parameter) in &self.kept {
            metrics = metrics.keep_params(label, [parameter]);
        }
        metrics
    }

    /// The label of a route with the values of a path that are kept.
    fn with_kept(&self, label: &str, values: &BTreeMap<String, String>) -> String {
        let mut text = label.to_owned();
        for (_, name) in self.kept.iter().filter(|(route, _)| route == label) {
            let Some(value) = values.get(name).filter(|value| value.chars().count() <= 128) else {
                continue;
            };
            text = match text.strip_suffix(&format!("{{{name}}}*")) {
                Some(before) => format!("{before}{value}"),
                None => text.replace(&format!("{{{name}}}"), value),
            };
        }
        text
    }

    /// Whether a label was right to be recorded; `None` stands for a request that was not.
    fn allows(&self, label: &str, answered: &Answered, values: &BTreeMap<String, String>) -> bool {
        let Some(recorded) = &answered.recorded else {
            return self.excluded.iter().any(|excluded| excluded == label);
        };
        if self.excluded.iter().any(|excluded| excluded == label) {
            return false;
        }
        // Values need not be kept of what was not found or not let through: a client makes them up.
        let is_success = answered.ran.is_some() && answered.status.is_some_and(|status| status < 400);
        *recorded == self.with_kept(label, values)
            || (!is_success && recorded == label)
            || self.kept.iter().any(|(route, name)| {
                // No service captured the value, so that it is not known here.
                let before = label.split('{').next().unwrap_or_default();
                route == label && !values.contains_key(name) && recorded.starts_with(before)
            })
    }

    /// The label of the service that ran.
    fn label(&self, ran: Option<usize>) -> &str {
        ran.map_or(self.unmatched, |id| &self.leaves[id].label)
    }

    /// Decides on one request. `undenied` is the same without a middleware that answers first.
    fn judge(&self, answered: &Answered, undenied: &Answered) -> Result<Option<Doubt>, String> {
        let truth = self.label(undenied.ran);
        let values = &undenied.values;
        if self.allows(truth, answered, values) {
            return Ok(None);
        }
        let mut doubts = Vec::new();
        match (&answered.denied, answered.ran) {
            (Some(denied), _) => {
                if answered.status.is_none() {
                    let looked_up = [&denied.first_as_arrived, &denied.first_normalized];
                    let looked_up = looked_up.into_iter().flatten();
                    doubts.extend(looked_up.map(|first| (Doubt::Rewritten, &**first)));
                }
                let first = denied.first.as_deref();
                doubts.push((Doubt::BeforeGuards, first.unwrap_or(self.unmatched)));
            }
            (None, None) => {
                if let (Some(302 | 401 | 403 | 407 | 429), Some(first)) =
                    (answered.status, &answered.first_match)
                {
                    doubts.push((Doubt::GateOrDefault, &**first));
                }
            }
            (None, Some(_)) => {}
        }
        let right = doubts
            .iter()
            .find(|(_, label)| self.allows(label, answered, values));
        if let Some(&(doubt, _)) = right {
            return Ok(Some(doubt));
        }
        let labels = doubts.iter().map(|(_, label)| *label);
        let mut labels: Vec<_> = [truth].into_iter().chain(labels).collect();
        labels.dedup();
        Err(labels.join(" or "))
    }

    /// Serves `requests` one after the other.
    async fn replay(&self, requests: &[Request]) -> Outcome {
        let registry = MetricsRegistry::new();
        let app = App::new()
            .app_data(registry.clone())
            .configure(|config| self.configure(config))
            .wrap(from_fn(deny_in_app))
            .wrap(Condition::new(self.trims, NormalizePath::trim()))
            .wrap(self.metrics());
        let app = init_service(app).await;

        let mut outcome = Outcome::default();
        let mut recorded: BTreeMap<String, f64> = BTreeMap::new();
        let mut judge = |index, request: &Request, answered: &Answered, undenied: &Answered| {
            if let Some(label) = &answered.recorded {
                *recorded.entry(label.clone()).or_default() += 1.0;
            }
            match self.judge(answered, undenied) {
                Ok(None) => {}
                Ok(Some(doubt)) => *outcome.doubts.entry(doubt).or_default() += 1,
                Err(expected) => outcome.wrong.push(Wrong {
                    index,
                    message: format!(
                        "{request}\n    was answered {}, and {} instead of as {expected}",
                        answered
                            .status
                            .map_or("an error".to_owned(), |status| status.to_string()),
                        match &answered.recorded {
                            Some(label) => format!("recorded as {label}"),
                            None => "excluded".to_owned(),
                        },
                    ),
                }),
            }
        };
        for (index, request) in requests.iter().enumerate() {
            if request.denied.is_some() {
                // Who would have served it is known from the same request, before or after.
                let plain = request.undenied();
                let (answered, undenied) = if index % 2 == 0 {
                    let answered = call(&app, request).await;
                    (answered, call(&app, &plain).await)
                } else {
                    let undenied = call(&app, &plain).await;
                    (call(&app, request).await, undenied)
                };
                judge(index, request, &answered, &undenied);
                judge(index, &plain, &undenied, &undenied);
            } else {
                let answered = call(&app, request).await;
                judge(index, request, &answered, &answered);
            }
        }
        for (label, count) in &recorded {
            let counted = registry.value("request_count_total", &[("path", label)]);
            assert_eq!(
                counted,
                Some(*count),
                "the counter and the monitor differ on {label}"
            );
        }
        let all = (!recorded.is_empty()).then(|| recorded.values().sum::<f64>());
        assert_eq!(registry.value("request_count_total", &[]), all);
        outcome
    }

    /// Says what it takes for a request to have a wrong label: nothing else, one other request, or many.
    async fn explain(&self, requests: &[Request], wrong: &Wrong) -> String {
        let request = &requests[wrong.index];
        let alone = self.replay(std::slice::from_ref(request)).await;
        if let Some(wrong) = alone.wrong.first() {
            return format!("It is wrong alone:\n  {}", wrong.message);
        }
        for earlier in &requests[..wrong.index] {
            let pair = [earlier.clone(), request.clone()];
            if let Some(wrong) = self
                .replay(&pair)
                .await
                .wrong
                .iter()
                .find(|wrong| wrong.index == 1)
            {
                return format!("It is wrong after one other:\n  {earlier}\n  {}", wrong.message);
            }
        }
        format!(
            "It is wrong after {} others alone:\n  {}",
            wrong.index, wrong.message
        )
    }
}

/// Serves about `requests` to applications made of `seed`; how often actix-web leaves a doubt, or what went wrong.
async fn run(seed: u64, requests: usize) -> Result<BTreeMap<Doubt, usize>, String> {
    let mut doubts = BTreeMap::new();
    let mut wrong = 0;
    let mut first = None;
    for number in 0..requests.div_ceil(PER_TABLE) {
        let mut random = Random(seed.wrapping_mul(1_000_003).wrapping_add(number as u64));
        let table = Table::random(&mut random);
        let requests: Vec<_> = (0..PER_TABLE)
            .map(|_| Request::random(&mut random, &table))
            .collect();
        let outcome = table.replay(&requests).await;
        for (doubt, count) in outcome.doubts {
            *doubts.entry(doubt).or_default() += count;
        }
        wrong += outcome.wrong.len();
        if let (None, Some(a_wrong)) = (&first, outcome.wrong.first()) {
            let explained = table.explain(&requests, a_wrong).await;
            first = Some(format!("application {number}:\n{table}{explained}"));
        }
    }
    match first {
        None => Ok(doubts),
        Some(first) => Err(format!(
            "HR_SEED={seed}: {wrong} of {requests} requests have a wrong label, first in {first}"
        )),
    }
}

/// What an environment variable says, or else `default`.
fn from_env<T: std::str::FromStr<Err: fmt::Debug>>(name: &str, default: T) -> T {
    env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn no_label_differs_from_the_route_that_served() {
    let requests: usize = from_env("HR_REQUESTS", 100_000);
    let seeds: Vec<u64> = match env::var("HR_SEED") {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => (1..=8).collect(),
    };
    let each = requests / seeds.len();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut outcomes = Vec::new();
        while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
            outcomes.push((seed, System::new().block_on(run(seed, each))));
        }
        outcomes
    };
    let outcomes: Vec<_> = thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("no panic"))
            .collect()
    });

    let mut wrong = Vec::new();
    for (seed, outcome) in outcomes {
        match outcome {
            Ok(doubts) => println!("HR_SEED={seed}: {each} requests, in doubt {doubts:?}"),
            Err(message) => wrong.push(message),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
