//! Any two options, chained in either order: each does what it does alone, in the counter and in the gauge.

mod support;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use actix_service::Service as _;
use actix_web::{
    App, HttpResponse,
    body::MessageBody,
    http::Method,
    rt::task::yield_now,
    test::{TestRequest, init_service},
    web,
};
use allocation_counter::measure;
use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use hr_prometheus::{Excluded, HrPrometheus, MetricsRegistry};

use support::assert_balanced;

const CELL: &str = "/cell/{id}/{direction}";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    ExcludeRoute,
    ExcludeUnmatched,
    ExcludeKept,
    ExcludeStart,
    ExtraMethods,
    KeepOne,
    KeepAll,
    CapOfTwo,
    Unmatched,
}

use Choice::{
    CapOfTwo, ExcludeKept, ExcludeRoute, ExcludeStart, ExcludeUnmatched, ExtraMethods, KeepAll, KeepOne,
    Unmatched,
};

const ALL: [Choice; 9] = [
    ExcludeRoute,
    ExcludeUnmatched,
    ExcludeKept,
    ExcludeStart,
    ExtraMethods,
    KeepOne,
    KeepAll,
    CapOfTwo,
    Unmatched,
];

impl Choice {
    fn chain(self, metrics: HrPrometheus, chosen: &[Choice]) -> HrPrometheus {
        match self {
            ExcludeRoute => metrics.exclude_routes(["/health/{probe}"]),
            // By the text that it has at this point of the chain.
            ExcludeUnmatched if chosen.first() == Some(&Unmatched) => metrics.exclude_routes(["none"]),
            ExcludeUnmatched => metrics.exclude_routes(["unmatched"]),
            ExcludeKept => metrics.exclude_routes(["/cell/{id}/north", "/cell/1/north"]),
            ExcludeStart => metrics.exclude(|start| {
                start.route().ends_with("south") || start.request().query_string() == "out" || {
                    start.method() == "PURGE"
                }
            }),
            ExtraMethods => metrics.extra_methods(["PURGE"]),
            KeepOne => metrics.keep_params(CELL, ["direction"]),
            KeepAll => metrics.keep_all_params(),
            CapOfTwo => metrics.max_kept_paths(2),
            Unmatched => metrics.unmatched("none"),
        }
    }
}

/// Method, path and route of the requests, in their order.
const REQUESTS: [(&str, &str, Option<&str>); 14] = [
    ("GET", "/about", Some("/about")),
    ("PURGE", "/about", Some("/about")),
    ("BREW", "/about", Some("/about")),
    ("GET", "/health/ready", Some("/health/{probe}")),
    ("GET", "/health/live", Some("/health/{probe}")),
    ("GET", "/nowhere", None),
    ("GET", "/cell/1/north", Some(CELL)),
    ("GET", "/cell/1/south", Some(CELL)),
    ("GET", "/cell/2/north", Some(CELL)),
    ("GET", "/cell/2/east", Some(CELL)),
    ("GET", "/cell/3/west?out", Some(CELL)),
    ("GET", "/cell/3/west", Some(CELL)),
    // The path of a route of its own, served by one with parameters.
    ("POST", "/cell/own/route", Some(CELL)),
    ("GET", "/cell/own/route", Some("/cell/own/route")),
];

/// What the requests are counted under, as the documentation of the options has it.
fn expected(chosen: &[Choice]) -> BTreeMap<(String, String), u32> {
    let has = |choice| chosen.contains(&choice);
    let mut admitted = Vec::<String>::new();
    let mut counted = BTreeMap::new();
    for (method, target, route) in REQUESTS {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let method = match method {
            "GET" | "POST" => method,
            "PURGE" if has(ExtraMethods) => method,
            _ => "_OTHER",
        };
        let unmatched = if has(Unmatched) { "none" } else { "unmatched" };
        let route = route.unwrap_or(unmatched);
        let mut kept = route.to_owned();
        if has(KeepAll) && route.contains('{') {
            path.clone_into(&mut kept);
        } else if has(KeepOne) && route == CELL {
            kept = format!("/cell/{{id}}/{}", path.rsplit('/').next().unwrap());
        }

        // The predicate knows the route that the path matches, with what is kept of it.
        let by_predicate = kept.ends_with("south") || query == "out" || method == "PURGE";
        let left_out = has(ExcludeStart) && by_predicate
            || has(ExcludeRoute) && route == "/health/{probe}"
            || has(ExcludeUnmatched) && route == unmatched
            || has(ExcludeKept) && ["/cell/{id}/north", "/cell/1/north"].contains(&&*kept);
        if left_out {
            continue;
        }
        if kept != route && kept != "/cell/own/route" && !admitted.contains(&kept) {
            if has(CapOfTwo) && admitted.len() == 2 {
                "_OTHER".clone_into(&mut kept);
            } else {
                admitted.push(kept.clone());
            }
        }
        *counted.entry((method.to_owned(), kept)).or_default() += 1;
    }
    counted
}

/// The samples of a family by method and path, without those that are 0.
fn samples(registry: &MetricsRegistry, family: &str) -> BTreeMap<(String, String), u32> {
    let scrape = registry.encode().unwrap();
    let samples = scrape.lines().filter_map(|line| line.strip_prefix(family));
    let samples = samples.filter_map(|sample| {
        let (_, sample) = sample.split_once("method=\"")?;
        let (method, sample) = sample.split_once("\",path=\"")?;
        let (path, sample) = sample.split_once('"')?;
        let (_, value) = sample.split_once("} ")?;
        Some((
            (method.to_owned(), path.to_owned()),
            value.parse::<u32>().unwrap(),
        ))
    });
    let mut all = BTreeMap::new();
    for (key, value) in samples.filter(|(_, value)| *value != 0) {
        *all.entry(key).or_default() += value;
    }
    all
}

/// Serves all requests at once, each held in its handler until the gauge was seen: the gauge, and then the counter.
async fn shown_and_counted(metrics: HrPrometheus) -> [BTreeMap<(String, String), u32>; 2] {
    let registry = MetricsRegistry::new();
    let held = Arc::new(Mutex::new(true));
    let data = web::Data::from(Arc::clone(&held));
    let wait = async |held: web::Data<Mutex<bool>>| {
        while *held.lock().unwrap() {
            yield_now().await;
        }
        HttpResponse::Ok().finish()
    };
    let app = App::new()
        .app_data(registry.clone())
        .app_data(data)
        .route("/about", web::to(wait))
        .route("/health/{probe}", web::to(wait))
        .route("/cell/own/route", web::get().to(wait))
        .route(CELL, web::to(wait))
        .default_service(web::to(wait))
        .wrap(metrics);
    let app = init_service(app).await;

    let mut answers: FuturesUnordered<_> = REQUESTS
        .into_iter()
        .map(|(method, target, _)| {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let request = TestRequest::with_uri(target).method(method).to_request();
            let mut answer = Box::pin(app.call(request));
            assert!((&mut answer).now_or_never().is_none(), "{target} is held");
            answer
        })
        .collect();
    let shown = samples(&registry, "requests_in_progress");
    *held.lock().unwrap() = false;
    while let Some(answer) = answers.next().await {
        assert!(answer.unwrap().into_body().try_into_bytes().is_ok());
    }
    let counted = samples(&registry, "request_count_total");
    assert_eq!(samples(&registry, "request_latency_count"), counted);
    assert_balanced(&registry);
    [shown, counted]
}

/// One request after the other: the counter.
async fn counted_one_by_one(metrics: HrPrometheus) -> BTreeMap<(String, String), u32> {
    let registry = MetricsRegistry::new();
    let ok = async || HttpResponse::Ok().finish();
    let app = App::new()
        .app_data(registry.clone())
        .route("/about", web::to(ok))
        .route("/health/{probe}", web::to(ok))
        .route("/cell/own/route", web::get().to(ok))
        .route(CELL, web::to(ok))
        .wrap(metrics);
    let app = init_service(app).await;
    for (method, target, _) in REQUESTS {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = TestRequest::with_uri(target).method(method);
        drop(app.call(request.to_request()).await);
    }
    assert_balanced(&registry);
    samples(&registry, "request_count_total")
}

#[actix_web::test]
async fn each_pair_of_options_does_what_both_do() {
    for first in ALL {
        for second in ALL {
            let mut chosen = vec![first];
            if second != first {
                chosen.push(second);
            }
            let metrics = || {
                let chained = chosen.iter().fold(HrPrometheus::default(), |metrics, choice| {
                    choice.chain(metrics, &chosen)
                });
                chained
                    .build()
                    .unwrap_or_else(|error| panic!("{chosen:?}: {error}"))
            };
            let expected = expected(&chosen);

            assert_eq!(
                counted_one_by_one(metrics()).await,
                expected,
                "{chosen:?}, one by one"
            );
            let [shown, counted] = shown_and_counted(metrics()).await;
            assert_eq!(counted, expected, "{chosen:?}, counted");
            assert_eq!(
                but_for_the_guard(shown),
                but_for_the_guard(counted),
                "{chosen:?}, in progress"
            );
        }
    }
}

/// Until it is answered, the POST is shown by the route that refuses it.
fn but_for_the_guard(samples: BTreeMap<(String, String), u32>) -> BTreeMap<(String, String), u32> {
    let samples = samples.into_iter().map(|((method, path), value)| {
        let is_post = method == "POST";
        let path = if is_post {
            "/cell/own/route".to_owned()
        } else {
            path
        };
        ((method, path), value)
    });
    samples.collect()
}

#[actix_web::test]
async fn all_options_together_do_what_each_does() {
    let chosen = [
        ExcludeRoute,
        ExcludeKept,
        ExcludeStart,
        ExtraMethods,
        KeepOne,
        KeepAll,
        CapOfTwo,
        Unmatched,
    ];
    let chained = chosen.iter().fold(HrPrometheus::default(), |metrics, choice| {
        choice.chain(metrics, &chosen)
    });

    let counted = counted_one_by_one(chained).await;

    assert_eq!(counted, expected(&chosen));
    let of = |method: &str, path: &str| counted.get(&(method.to_owned(), path.to_owned())).copied();
    assert_eq!(of("GET", "none"), Some(1));
    assert_eq!(of("GET", "/cell/2/north"), Some(1));
    assert_eq!(of("GET", "/cell/2/east"), Some(1));
    assert_eq!(of("GET", "_OTHER"), Some(1));
    assert_eq!(of("GET", "/cell/own/route"), Some(1));
    assert_eq!(of("POST", "/cell/own/route"), Some(1));
    assert_eq!(of("_OTHER", "/about"), Some(1));
    assert_eq!(of("PURGE", "/about"), None);
    assert_eq!(counted.values().sum::<u32>(), 8);
}

#[actix_web::test]
async fn a_marked_request_is_excluded_beside_every_option() {
    for choice in ALL {
        let registry = MetricsRegistry::new();
        let marked = async || {
            let mut response = HttpResponse::Ok().finish();
            response.extensions_mut().insert(Excluded);
            response
        };
        let metrics = choice.chain(HrPrometheus::default(), &[choice]);
        let app = App::new()
            .app_data(registry.clone())
            .route("/about", web::to(marked))
            .route(CELL, web::to(marked))
            .default_service(web::to(marked))
            .wrap(metrics);
        let app = init_service(app).await;

        for (method, target, _) in REQUESTS {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let request = TestRequest::with_uri(target).method(method);
            drop(app.call(request.to_request()).await);
        }

        assert_eq!(registry.value("request_count_total", &[]), None, "{choice:?}");
        let beyond = registry.value("hr_prometheus_cardinality_limit_exceeded_total", &[]);
        assert!(beyond.is_none_or(|requests| requests == 0.0), "{choice:?}");
    }
}

#[actix_web::test]
async fn excluded_paths_do_not_count_towards_the_limit() {
    let registry = MetricsRegistry::new();
    let metrics = HrPrometheus::default()
        .keep_all_params()
        .max_kept_paths(1)
        .exclude(|start| start.route() == "/a")
        .exclude_routes(["/b"]);
    let handle = async |name: web::Path<String>| {
        let mut response = HttpResponse::Ok().finish();
        if *name == "c" {
            response.extensions_mut().insert(Excluded);
        }
        response
    };
    let app = App::new()
        .app_data(registry.clone())
        .route("/{name}", web::get().to(handle))
        .wrap(metrics);
    let app = init_service(app).await;

    for uri in ["/a", "/b", "/c", "/d", "/a", "/e"] {
        let request = TestRequest::with_uri(uri).to_request();
        drop(app.call(request).await);
    }

    let of = |path: &str| registry.value("request_count_total", &[("path", path)]);
    assert_eq!((of("/d"), of("_OTHER")), (Some(1.0), Some(1.0)));
    assert_eq!(registry.value("request_count_total", &[]), Some(2.0));
}

#[actix_web::test]
async fn a_method_that_was_asked_for_is_one_label_in_all_middleware() {
    let registry = MetricsRegistry::new();
    let metrics = |methods: &[&str]| HrPrometheus::default().extra_methods(methods);
    let first = metrics(&["PURGE", "GET", "PURGE", "_OTHER"]);
    let second = metrics(&["PROPFIND"]).extra_methods([String::from("PURGE")]);

    for metrics in [first, second] {
        let app = App::new().app_data(registry.clone()).wrap(metrics);
        let app = init_service(app).await;
        for method in ["PURGE", "GET", "PROPFIND", "_OTHER", "purge"] {
            let request = TestRequest::default().method(Method::from_bytes(method.as_bytes()).unwrap());
            drop(app.call(request.to_request()).await);
        }
    }

    let counted = samples(&registry, "request_count_total");
    let counted: Vec<_> = counted
        .iter()
        .map(|((method, _), count)| (&**method, *count))
        .collect();
    assert_eq!(
        counted,
        [("GET", 2), ("PROPFIND", 1), ("PURGE", 2), ("_OTHER", 5)]
    );
}

#[test]
fn the_text_of_a_method_is_kept_once_however_often_it_is_asked_for() {
    let ask = || drop(HrPrometheus::default().extra_methods(["UNLOCK", "GET", "_OTHER"]));
    ask();

    let kept = measure(|| (0..1_000).for_each(|_| ask())).bytes_current;

    assert_eq!(kept, 0);
}

#[test]
fn methods_are_tokens() {
    for byte in 0..=127_u8 {
        let c = char::from(byte);
        // RFC 9110, section 5.6.2.
        let is_token = c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let method = format!("M{c}");
        let result = HrPrometheus::default().extra_methods([&method]);
        assert_eq!(result.build().is_ok(), is_token, "{method:?}");
    }
    let error = HrPrometheus::default()
        .extra_methods(["GOOD", ""])
        .build()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"extra_methods: "" is not a method; write a token of RFC 9110, section 5.6.2, such as "PURGE""#,
    );
    assert!(
        HrPrometheus::default()
            .extra_methods(["MÉTHODE"])
            .build()
            .is_err()
    );
}
