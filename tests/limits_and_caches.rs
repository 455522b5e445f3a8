//! Labels and their limits are those of a small model, whatever came before: no cache changes one, no limit moves.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::{
    App, HttpResponse,
    rt::System,
    test::{TestRequest, init_service},
    web,
};
use futures_util::FutureExt as _;
use hr_prometheus::{
    DefaultMonitor, HrPrometheus, MetricsRegistry, RequestLabels, RequestStart,
    prometheus_client::encoding::EncodeLabelSet,
};
use proptest::{collection::vec, prelude::*, test_runner::Config};

/// How many distinct values there may be of each kind.
const MOST: usize = 2;

#[derive(EncodeLabelSet, Hash, PartialEq, Eq)]
struct Query {
    query: String,
}

impl RequestLabels for Query {
    fn at_arrival(start: &RequestStart<'_>) -> Self {
        Self {
            query: start.request().query_string().to_owned(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Target {
    /// Its value is kept.
    Kept(u32),
    /// The same, and the handler does not find it.
    Missing(u32),
    Plain(u32),
    Nowhere(u32),
    Excluded,
}

impl Target {
    fn path(self) -> String {
        match self {
            Self::Kept(value) => format!("/kept/{value}"),
            Self::Missing(value) => format!("/kept/missing{value}"),
            Self::Plain(value) => format!("/plain/{value}"),
            Self::Nowhere(value) => format!("/nowhere/{value}"),
            Self::Excluded => "/secret".to_owned(),
        }
    }
}

#[derive(Clone, Debug)]
struct Request {
    worker: usize,
    target: Target,
    query: usize,
    /// Whether it is dropped before it is routed.
    is_dropped: bool,
}

fn request() -> impl Strategy<Value = Request> {
    let target = prop_oneof![
        4 => (0..4_u32).prop_map(Target::Kept),
        1 => (0..4_u32).prop_map(Target::Missing),
        1 => (0..4_u32).prop_map(Target::Plain),
        // More than a worker remembers.
        4 => (0..400_u32).prop_map(Target::Nowhere),
        1 => Just(Target::Excluded),
    ];
    (0..2_usize, target, 0..4_usize, prop::bool::weighted(0.3)).prop_map(
        |(worker, target, query, is_dropped)| Request {
            worker,
            target,
            query,
            is_dropped,
        },
    )
}

/// The first values that come.
#[derive(Default)]
struct First(BTreeSet<String>);

impl First {
    fn admits(&mut self, value: String) -> bool {
        self.0.contains(&value) || (self.0.len() < MOST && self.0.insert(value))
    }
}

/// What is counted, and how often each limit was exceeded.
#[derive(Default)]
struct Model {
    counts: BTreeMap<[String; 3], u64>,
    paths: First,
    label_sets: First,
    pairs: First,
    exceeded: [u64; 2],
}

impl Model {
    fn count(&mut self, request: &Request, query: &str) {
        let value_is_kept = matches!(request.target, Target::Kept(_))
            || (request.is_dropped && matches!(request.target, Target::Missing(_)));
        let path = request.target.path();
        let (path, has_value) = match request.target {
            Target::Excluded => return,
            Target::Plain(_) => ("/plain/{id}".to_owned(), false),
            Target::Nowhere(_) => ("unmatched".to_owned(), false),
            Target::Kept(_) | Target::Missing(_) if !value_is_kept => ("/kept/{value}".to_owned(), false),
            Target::Kept(_) | Target::Missing(_) if self.paths.admits(path.clone()) => (path, true),
            Target::Kept(_) | Target::Missing(_) => {
                self.exceeded[0] += 1;
                ("_OTHER".to_owned(), false)
            }
        };
        let is_admitted = query.len() <= 128
            && self.label_sets.admits(query.to_owned())
            && (!has_value || self.pairs.admits(format!("{path} {query}")));
        let query = if is_admitted {
            query
        } else {
            self.exceeded[1] += 1;
            "_OTHER"
        };
        let status = match request.target {
            _ if request.is_dropped => "499",
            Target::Missing(_) | Target::Nowhere(_) => "404",
            _ => "200",
        };
        *self
            .counts
            .entry([path, status.to_owned(), query.to_owned()])
            .or_default() += 1;
    }
}

async fn found(value: web::Path<String>) -> HttpResponse {
    if value.starts_with("missing") {
        HttpResponse::NotFound().finish()
    } else {
        HttpResponse::Ok().finish()
    }
}

async fn send(registry: &MetricsRegistry, requests: &[Request]) -> Model {
    let queries = ["", "a", "b", &"c".repeat(129)];
    let mut workers = Vec::new();
    for _ in 0..2 {
        let builder = DefaultMonitor::builder().labels::<Query>().max_label_sets(MOST);
        let metrics = HrPrometheus::with_builder(builder)
            .keep_params("/kept/{value}", "value")
            .max_kept_paths(MOST)
            .exclude_routes("/secret");
        let app = App::new()
            .app_data(registry.clone())
            .route("/kept/{value}", web::get().to(found))
            .route("/plain/{id}", web::get().to(found))
            .route("/secret", web::get().to(HttpResponse::Ok))
            .wrap(metrics);
        workers.push(init_service(app).await);
    }
    let mut model = Model::default();
    for request in requests {
        let query = queries[request.query];
        let path = format!("{}?{query}", request.target.path());
        let response = actix_web::dev::Service::call(
            &workers[request.worker],
            TestRequest::with_uri(&path).to_request(),
        );
        if !request.is_dropped {
            response.now_or_never().unwrap().unwrap();
        }
        model.count(request, query);
    }
    model
}

/// The value of a label in a sample.
fn label(sample: &str, name: &str) -> String {
    let (_, value) = sample.split_once(&format!("{name}=\"")).unwrap();
    value.split_once('"').unwrap().0.to_owned()
}

proptest! {
    #![proptest_config(Config::with_cases(60))]

    #[test]
    fn labels_are_those_of_the_first_values_that_came(requests in vec(request(), 0..600)) {
        let registry = MetricsRegistry::new();
        let model = System::new().block_on(send(&registry, &requests));
        let scrape = registry.encode().unwrap();
        let samples = scrape.lines().filter(|line| line.starts_with("request_count_total{"));
        let counts: BTreeMap<_, u64> = samples
            .map(|sample| {
                let labels = ["path", "status", "query"].map(|name| label(sample, name));
                (labels, sample.rsplit_once(' ').unwrap().1.parse().unwrap())
            })
            .collect();
        prop_assert_eq!(counts, model.counts);
        let exceeded = ["path", "label_set"].map(|limit| {
            let exceeded = registry.value("hr_prometheus_cardinality_limit_exceeded_total", &[("limit", limit)]);
            exceeded.unwrap_or_default().to_string()
        });
        prop_assert_eq!(exceeded, model.exceeded.map(|count| count.to_string()));
    }
}
