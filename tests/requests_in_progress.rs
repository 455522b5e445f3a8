//! The gauge shows what runs at this moment, by route, however much it is and wherever one looks.

mod support;

use std::{
    future::ready,
    io,
    net::SocketAddr,
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use actix_web::{
    App, HttpRequest, HttpResponse,
    body::{BodyStream, MessageBody, SizedStream},
    guard,
    rt::{System, net::TcpStream, spawn, time::timeout},
    test::{TestRequest, call_and_read_body, init_service},
    web::{self, Bytes},
};
use futures_util::{future::join_all, stream};
use h2::client::{SendRequest, handshake};
use hr_prometheus::{
    DefaultMonitor, HrPrometheus, MetricsRegistry, RequestEnd, RequestMonitor, RequestStart, metrics_scope,
    prometheus_client::registry::Registry,
};
use tokio::sync::Semaphore;

use support::{TestServer, assert_balanced, eventually, eventually_has, http, serve};

/// A server whose handlers hang until the test releases them.
struct Hanging {
    server: TestServer,
    registry: MetricsRegistry,
    gate: Arc<Gate>,
}

struct Gate {
    entered: AtomicUsize,
    left: Semaphore,
}

impl Hanging {
    fn serve(workers: usize) -> Self {
        let registry = MetricsRegistry::new();
        let gate = Arc::new(Gate {
            entered: AtomicUsize::new(0),
            left: Semaphore::new(0),
        });
        let (data, entrance) = (registry.clone(), Arc::clone(&gate));
        let server = serve(workers, move || {
            App::new()
                .app_data(data.clone())
                .app_data(web::Data::from(Arc::clone(&entrance)))
                .service(metrics_scope())
                .route("/static", web::get().to(hang))
                .route("/users/{id}", web::get().to(hang))
                .service(
                    web::scope("/shops/{shop}")
                        .service(web::scope("/v1").route("/items/{id:[0-9]+}", web::get().to(hang))),
                )
                .default_service(web::get().to(hang))
                .wrap(HrPrometheus::default())
        });
        Self {
            server,
            registry,
            gate,
        }
    }

    /// Sends requests for these paths, over ten connections and all at once, and waits until they hang. Their
    /// statuses come when they are released.
    #[track_caller]
    fn hang(&self, paths: impl Iterator<Item = String>) -> JoinHandle<Vec<u16>> {
        let paths: Vec<_> = paths.collect();
        let expected = self.gate.entered.load(Ordering::SeqCst) + paths.len();
        let address = self.server.address;
        let client = thread::spawn(move || System::new().block_on(get_all(address, paths)));
        eventually("all requests hang", || {
            self.gate.entered.load(Ordering::SeqCst) == expected
        });
        client
    }

    /// Lets `count` requests go on.
    fn release(&self, count: usize) {
        self.gate.left.add_permits(count);
    }
}

/// Hangs until it is released, but for `?now`.
async fn hang(request: HttpRequest, gate: web::Data<Gate>) -> HttpResponse {
    if request.query_string() != "now" {
        gate.entered.fetch_add(1, Ordering::SeqCst);
        gate.left.acquire().await.unwrap().forget();
    }
    HttpResponse::NoContent().finish()
}

/// A request as h2 takes it, whose type is in a crate that is no dependency of the tests.
fn default_request<R: Default, T>(_: fn(&mut SendRequest<Bytes>, R, bool) -> T) -> R {
    R::default()
}

/// The statuses of the responses to all these requests, in flight at the same time over HTTP/2.
async fn get_all(address: SocketAddr, paths: Vec<String>) -> Vec<u16> {
    let mut responses = Vec::new();
    for paths in paths.chunks(paths.len().div_ceil(10)) {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut client, connection) = handshake(stream).await.unwrap();
        spawn(connection);
        for path in paths {
            let mut request = default_request(SendRequest::<Bytes>::send_request);
            *request.uri_mut() = format!("http://{address}{path}").parse().unwrap();
            client = client.ready().await.unwrap();
            responses.push(client.send_request(request, true).unwrap().0);
        }
    }
    let responses = timeout(Duration::from_secs(60), join_all(responses)).await;
    let statuses = responses.expect("the test releases them").into_iter();
    statuses
        .map(|response| response.unwrap().status().as_u16())
        .collect()
}

/// The gauge in a scrape: its labels with the value, where they are not zero.
fn in_progress(scrape: &str) -> Vec<(&str, &str)> {
    let samples = scrape.lines().filter_map(|line| {
        let line = line.strip_prefix("requests_in_progress")?;
        line.rsplit_once(' ')
    });
    samples.filter(|(labels, _)| labels.starts_with('{')).collect()
}

#[test]
fn a_thousand_requests_that_hang_are_shown_by_route() {
    let hanging = Hanging::serve(2);
    let registry = &hanging.registry;
    let admin_registry = registry.clone();
    let admin = serve(1, move || {
        App::new()
            .app_data(admin_registry.clone())
            .service(metrics_scope())
    });
    http(hanging.server.address, "GET", "/users/7?now");

    let paths = ["/static?", "/users/", "/shops/7/v1/items/", "/nowhere/"];
    let client = hanging.hang((0..1000).map(|number| format!("{}{number}", paths[number % 4])));

    // Each application's own routes label its requests, on all workers, whoever looks.
    let by_route = |metrics, others| {
        [
            (r#"{method="GET",path="/metrics"}"#, metrics),
            (r#"{method="GET",path="/shops/{shop}/v1/items/{id}"}"#, others),
            (r#"{method="GET",path="/static"}"#, others),
            (r#"{method="GET",path="/users/{id}"}"#, others),
            (r#"{method="GET",path="unmatched"}"#, others),
        ]
    };
    let elsewhere = &by_route("0", "250")[1..];
    assert_eq!(in_progress(&registry.encode().unwrap()), elsewhere);
    assert_eq!(in_progress(&http(admin.address, "GET", "/metrics").1), elsewhere);

    // This scrape is in progress too.
    for _ in 0..2 {
        let scrape = http(hanging.server.address, "GET", "/metrics").1;
        assert_eq!(in_progress(&scrape), by_route("1", "250"));
    }

    // What has its label keeps it.
    let scrape = http(admin.address, "GET", "/metrics").1;
    assert_eq!(in_progress(&scrape), by_route("0", "250"));
    assert_eq!(in_progress(&registry.encode().unwrap()), by_route("0", "250"));

    hanging.release(1000);
    assert_eq!(client.join().unwrap(), [204; 1000]);
    eventually_has(registry, "requests_in_progress", &[], 0.0);
    assert_eq!(in_progress(&registry.encode().unwrap()), by_route("0", "0"));
    for (path, count) in [("/static", 250.0), ("/users/{id}", 251.0), ("unmatched", 250.0)] {
        assert_eq!(registry.value("request_count", &[("path", path)]), Some(count));
    }
    assert_balanced(registry);
}

#[test]
fn a_client_that_leaves_takes_its_entry_along() {
    let hanging = Hanging::serve(1);
    let (server, registry) = (&hanging.server, &hanging.registry);
    http(server.address, "GET", "/static?now");
    let mut clients: Vec<_> = (0..3)
        .map(|number| server.request("GET", &format!("/users/{number}")))
        .collect();
    eventually_has(registry, "requests_in_progress", &[], 3.0);
    http(server.address, "GET", "/metrics");
    let users = |number| [(r#"{method="GET",path="/users/{id}"}"#, number)];
    assert_eq!(in_progress(&registry.encode().unwrap())[2..], users("3"));

    clients.pop().unwrap().reset();
    eventually_has(registry, "requests_in_progress", &[], 2.0);
    assert_eq!(in_progress(&registry.encode().unwrap())[2..], users("2"));

    // Another request in its place has a label of its own.
    clients.push(server.request("GET", "/static"));
    eventually_has(registry, "requests_in_progress", &[], 3.0);
    assert_eq!(
        in_progress(&registry.encode().unwrap()),
        [
            (r#"{method="GET",path="/metrics"}"#, "0"),
            (r#"{method="GET",path="/static"}"#, "1"),
            (r#"{method="GET",path="/users/{id}"}"#, "2"),
        ]
    );

    for client in clients {
        client.reset();
    }
    eventually_has(registry, "requests_in_progress", &[], 0.0);
    assert_eq!(registry.value("request_count", &[("status", "499")]), Some(4.0));
    assert_balanced(registry);
}

/// Reports the gauge as it is when a request ends.
#[derive(Clone)]
struct AtTheEnd {
    registry: MetricsRegistry,
    gauge: Sender<Option<f64>>,
}

impl RequestMonitor for AtTheEnd {
    type InFlight = ();

    fn register(_: &mut Registry) -> Self {
        unimplemented!("a closure makes it")
    }

    fn update_init_metrics(&self, _: &RequestStart<'_>) {}

    fn update_end_metrics(&self, (): (), _: &RequestEnd<'_>) {
        self.gauge
            .send(self.registry.value("requests_in_progress", &[]))
            .unwrap();
    }
}

/// So where the gauge is 0, the counters have every request.
#[actix_web::test]
async fn a_request_is_in_progress_until_every_monitor_has_recorded_it() {
    let registry = MetricsRegistry::new();
    let (gauge, at_the_end) = mpsc::channel();
    let data = registry.clone();
    let metrics = HrPrometheus::with_monitor_from(move |registry| {
        let last = AtTheEnd {
            registry: data.clone(),
            gauge: gauge.clone(),
        };
        (<DefaultMonitor>::register(registry), last)
    });
    let app = App::new().app_data(registry.clone()).wrap(metrics);
    let app = init_service(app).await;

    call_and_read_body(&app, TestRequest::default().to_request()).await;
    assert_eq!(at_the_end.recv(), Ok(Some(1.0)));
    assert_balanced(&registry);
}

#[test]
fn a_burst_on_one_worker_leaves_the_numbers_exact() {
    let hanging = Hanging::serve(1);
    let registry = &hanging.registry;
    let hang = |path: &str, count: usize| hanging.hang((0..count).map(|number| format!("{path}{number}")));
    let gauge = |path: &str| registry.value("requests_in_progress", &[("path", path)]);
    for path in ["/static?now", "/users/7?now"] {
        http(hanging.server.address, "GET", path);
    }

    // A worker keeps memory for 128 requests.
    for count in [300_u16, 50, 129, 200, 1] {
        let client = hang("/users/", count.into());
        assert_eq!(gauge("/users/{id}"), Some(count.into()));
        assert_eq!(gauge("/static"), Some(0.0));
        hanging.release(count.into());
        client.join().unwrap();
        eventually_has(registry, "requests_in_progress", &[], 0.0);
    }

    // Some go while others come.
    let first = hang("/users/", 300);
    hanging.release(200);
    eventually_has(registry, "requests_in_progress", &[], 100.0);
    let second = hang("/static?", 150);
    assert_eq!(gauge("/users/{id}"), Some(100.0));
    assert_eq!(gauge("/static"), Some(150.0));
    hanging.release(250);
    assert_eq!(first.join().unwrap().len() + second.join().unwrap().len(), 450);
    eventually_has(registry, "requests_in_progress", &[], 0.0);
    assert_eq!(
        registry.value("request_count", &[("path", "/users/{id}")]),
        Some(981.0)
    );
    assert_eq!(
        registry.value("request_count", &[("path", "/static")]),
        Some(151.0)
    );
    assert_balanced(registry);
}

/// A path of more than 96 bytes with a parameter, and another of as many.
const LONG_ROUTE: &str = "/a/path/that/is/longer/than/most/because/somebody/has/put/a/whole/sentence/into/it/before/the/number/{id}";

#[test]
fn a_request_that_blocks_its_worker_is_shown_to_other_threads() {
    let registry = MetricsRegistry::new();
    let gate = Arc::new((Barrier::new(2), Barrier::new(2)));
    let (data, entrance) = (registry.clone(), Arc::clone(&gate));
    let server = serve(1, move || {
        let gate = Arc::clone(&entrance);
        let block = move || {
            gate.0.wait();
            gate.1.wait();
            ready(HttpResponse::NoContent())
        };
        App::new()
            .app_data(data.clone())
            .route("/users/{id}", web::get().to(block.clone()))
            .route(LONG_ROUTE, web::get().to(block))
            .wrap(HrPrometheus::default())
    });

    // One after the other in the same place of the worker's table.
    for route in ["/users/{id}", LONG_ROUTE, "/users/{id}", LONG_ROUTE] {
        let (address, path) = (server.address, route.replace("{id}", "7?a=query"));
        let client = thread::spawn(move || http(address, "GET", &path));
        gate.0.wait();
        let scrape = registry.encode().unwrap();
        let shown = format!(r#"{{method="GET",path="{route}"}}"#);
        assert!(in_progress(&scrape).contains(&(&shown, "1")), "{scrape}");
        gate.1.wait();
        client.join().unwrap();
        eventually_has(&registry, "requests_in_progress", &[], 0.0);
    }
    assert_balanced(&registry);
}

/// Asserts that a request whose head is out is shown by the route that served it, where the path alone leads to
/// another, while its body hangs.
#[track_caller]
fn assert_shown_by_the_route_that_served<B: MessageBody + 'static>(body: fn() -> B) {
    let registry = MetricsRegistry::new();
    let data = registry.clone();
    let server = serve(1, move || {
        App::new()
            .app_data(data.clone())
            .service(metrics_scope())
            .service(
                web::resource("/docs/{draft}")
                    .guard(guard::Post())
                    .to(HttpResponse::NoContent),
            )
            .service(web::resource("/docs/{name}").to(move || ready(HttpResponse::Ok().body(body()))))
            .wrap(HrPrometheus::default())
    });
    // A route that the path of the other one matches too.
    http(server.address, "POST", "/docs/7");

    let mut client = server.request("GET", "/docs/7");
    client.read_until("\r\n\r\n");
    let shown = (r#"{method="GET",path="/docs/{name}"}"#, "1");
    let scrape = registry.encode().unwrap();
    assert!(in_progress(&scrape).contains(&shown), "{scrape}");
    let scrape = http(server.address, "GET", "/metrics").1;
    assert!(in_progress(&scrape).contains(&shown), "{scrape}");

    client.reset();
    eventually_has(&registry, "requests_in_progress", &[], 0.0);
    assert_eq!(
        registry.value("request_count", &[("path", "/docs/{name}")]),
        Some(1.0)
    );
    assert_balanced(&registry);
}

#[test]
fn a_streamed_body_that_hangs_is_shown_by_the_route_that_served_it() {
    assert_shown_by_the_route_that_served(|| BodyStream::new(stream::pending::<io::Result<Bytes>>()));
}

#[test]
fn a_body_of_known_size_that_hangs_is_shown_by_the_route_that_served_it() {
    assert_shown_by_the_route_that_served(|| SizedStream::new(7, stream::pending::<io::Result<Bytes>>()));
}
