//! Each example does what its first lines say: started as a user starts it, asked over its port, ended by its id.
#![cfg(unix)]

use std::{
    env,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A running example; killed when dropped.
struct Example {
    process: Child,
    lines: Receiver<String>,
}

/// Starts the example `name` on free ports.
#[track_caller]
fn start(name: &str, variables: &[(&str, &str)]) -> Example {
    // `target/<profile>/deps/examples-<hash>` is this test, `target/<profile>/examples/` has the examples.
    let test = env::current_exe().expect("the path of this test");
    let path = test
        .ancestors()
        .nth(2)
        .expect("a profile")
        .join("examples")
        .join(name);
    let mut process = Command::new(&path)
        .envs([("PORT", "0"), ("ADMIN_PORT", "0")])
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!(
                "no {}: {error}; build it with `cargo build --examples`",
                path.display()
            );
        });
    let output = BufReader::new(process.stdout.take().expect("a pipe"));
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        output
            .lines()
            .map_while(Result::ok)
            .try_for_each(|line| sender.send(line))
    });
    Example { process, lines }
}

impl Example {
    /// The next line that the example prints.
    #[track_caller]
    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line")
    }

    /// The address in the next line that the example prints, which begins with `prefix`.
    #[track_caller]
    fn address(&self, prefix: &str) -> SocketAddr {
        let line = self.line();
        let url = line
            .strip_prefix(prefix)
            .unwrap_or_else(|| panic!("{line} does not begin with {prefix}"));
        let address = url.trim_start_matches("http://").trim_end_matches("/metrics");
        address
            .parse()
            .unwrap_or_else(|error| panic!("{address}: {error}"))
    }

    #[track_caller]
    fn signal(&self, signal: &str) {
        let id = self.process.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &id]).status();
        assert!(sent.expect("kill").success());
    }

    #[track_caller]
    fn wait(&mut self) -> ExitStatus {
        let mut ended = None;
        eventually("the end of the example", || {
            ended = self.process.try_wait().expect("an end");
            ended.is_some()
        });
        ended.expect("it was waited for")
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // It may have ended, which is as well.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[track_caller]
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Sends a GET with `headers`, each ended by CRLF; the status and the body.
#[track_caller]
fn get_with(address: SocketAddr, path: &str, headers: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).expect("a server that reads");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    let (head, body) = response.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status");
    (status.to_owned(), body.to_owned())
}

/// Sends a GET that must be answered with 200; the body.
#[track_caller]
fn get(address: SocketAddr, path: &str) -> String {
    let (status, body) = get_with(address, path, "");
    assert_eq!(status, "200", "{path}: {body}");
    body
}

/// The samples of a scrape whose lines contain `part`, sorted.
fn samples(scrape: &str, part: &str) -> Vec<String> {
    let samples = scrape
        .lines()
        .filter(|line| !line.starts_with('#') && line.contains(part));
    let mut samples: Vec<_> = samples.map(str::to_owned).collect();
    samples.sort();
    samples
}

#[test]
fn quickstart_counts_what_was_asked() {
    let example = start("quickstart", &[("VISITORS", "0")]);
    let address = example.address("Listening on ");
    assert_eq!(example.line(), format!("Metrics are at http://{address}/metrics"));
    assert_eq!(example.line(), format!("Watch them at http://{address}/live"));

    assert_eq!(get(address, "/hello/alice"), "Hello, alice!\n");
    for _ in 0..4 {
        assert_eq!(get(address, "/flaky"), "It went well.\n");
    }
    assert_eq!(get_with(address, "/flaky", "").0, "503");
    assert_eq!(get_with(address, "/nowhere", "").0, "404");
    assert_eq!(
        samples(&get(address, "/metrics"), "request_count"),
        [
            r#"request_count_total{method="GET",path="/flaky",status="200"} 4"#,
            r#"request_count_total{method="GET",path="/flaky",status="503"} 1"#,
            r#"request_count_total{method="GET",path="/hello/{name}",status="200"} 1"#,
            r#"request_count_total{method="GET",path="unmatched",status="404"} 1"#,
        ],
    );
}

#[test]
fn quickstart_has_visitors_and_a_page_to_watch_them() {
    let example = start("quickstart", &[]);
    let address = example.address("Listening on ");

    assert!(get(address, "/live").starts_with("<!doctype html>"));
    eventually("visitors", || {
        !samples(
            &get(address, "/metrics"),
            r#"request_count_total{method="GET",path="/hello/{name}""#,
        )
        .is_empty()
    });
}

#[test]
fn custom_monitor_counts_by_tenant() {
    let example = start("custom_monitor", &[]);
    let address = example.address("Listening on ");

    for tenant in ["acme", "acme", "nobody"] {
        get_with(address, "/orders", &format!("X-Tenant: {tenant}\r\n"));
    }
    assert_eq!(
        samples(&get(address, "/metrics"), "tenant"),
        [
            r#"tenant_requests_total{tenant="acme"} 2"#,
            r#"tenant_requests_total{tenant="other"} 1"#,
        ],
    );
}

#[test]
fn fixed_parameters_keeps_the_direction_and_collapses_the_cell() {
    let example = start("fixed_parameters", &[]);
    let address = example.address("Listening on ");

    for path in ["1/direction/north", "2/direction/north", "1/direction/south"] {
        get(address, &format!("/cell_neighbour/{path}"));
    }
    assert_eq!(get_with(address, "/cell_neighbour/1/direction/up", "").0, "404");
    assert_eq!(
        samples(&get(address, "/metrics"), "request_count_total"),
        [
            r#"request_count_total{method="GET",path="/cell_neighbour/{cell_id}/direction/north",status="200"} 2"#,
            r#"request_count_total{method="GET",path="/cell_neighbour/{cell_id}/direction/south",status="200"} 1"#,
            r#"request_count_total{method="GET",path="unmatched",status="404"} 1"#,
        ],
    );
}

#[test]
fn admin_port_serves_metrics_to_whoever_has_the_token_until_the_last_count() {
    const TOKEN: &str = "Authorization: Bearer secret\r\n";
    let mut example = start("admin_port", &[("METRICS_TOKEN", "secret")]);
    let public = example.address("The application is at ");
    let admin = example.address("Metrics are at ");

    assert_eq!(get(public, "/hello/alice"), "Hello, alice!\n");
    assert_eq!(get_with(public, "/metrics", TOKEN).0, "404");
    assert_eq!(get_with(admin, "/metrics", "").0, "401");
    assert_eq!(
        get_with(admin, "/metrics", "Authorization: Bearer guess\r\n").0,
        "401"
    );
    let counted = [
        r#"request_count_total{method="GET",path="/hello/{name}",status="200"} 1"#,
        r#"request_count_total{method="GET",path="unmatched",status="404"} 1"#,
    ];
    let (_, scrape) = get_with(admin, "/metrics", TOKEN);
    assert_eq!(samples(&scrape, "request_count"), counted);

    example.signal("TERM");
    let stopped = example.line();
    assert!(stopped.starts_with("The application has stopped"), "{stopped}");
    assert!(TcpStream::connect(public).is_err());
    let (_, scrape) = get_with(admin, "/metrics", TOKEN);
    assert_eq!(samples(&scrape, "request_count"), counted);

    example.signal("INT");
    assert!(example.wait().success());
}

#[test]
fn custom_labels_has_the_version_and_the_tenant() {
    let example = start("custom_labels", &[]);
    let address = example.address("Listening on ");

    let acme = "Authorization: Bearer key-of-acme\r\n";
    let (_, orders) = get_with(address, "/v1/orders", acme);
    assert_eq!(orders, "No orders of acme yet.\n");
    assert_eq!(get_with(address, "/v2/orders", "").0, "401");
    let scrape = get(address, "/metrics");
    assert_eq!(
        samples(&scrape, "request_count_total"),
        [
            r#"request_count_total{method="GET",path="/{version}/orders",status="200",version="v1",tenant="acme"} 1"#,
            r#"request_count_total{method="GET",path="/{version}/orders",status="401",version="v2",tenant="none"} 1"#,
        ],
    );
    assert_eq!(
        samples(&scrape, "request_latency_count"),
        [
            r#"request_latency_count{method="GET",path="/{version}/orders",version="v1",tenant="acme"} 1"#,
            r#"request_latency_count{method="GET",path="/{version}/orders",version="v2",tenant="none"} 1"#,
        ],
    );
}

#[cfg(feature = "prometheus-0_14")]
#[test]
fn from_actix_web_prom_has_its_names_and_what_the_crate_prometheus_has() {
    let example = start("from_actix_web_prom", &[]);
    let address = example.address("Listening on ");

    for order in [1, 2, 9] {
        get(address, &format!("/orders/{order}"));
    }
    let scrape = get(address, "/metrics");
    assert_eq!(
        samples(&scrape, "_total"),
        [
            r#"shop_http_requests_total{endpoint="/orders/{id}",method="GET",status="200"} 3"#,
            "shop_orders_read_total 3.0",
        ],
    );
    assert_eq!(
        samples(&scrape, "_duration_seconds_count"),
        [r#"shop_http_requests_duration_seconds_count{endpoint="/orders/{id}",method="GET",status="200"} 3"#],
    );
    // Those of the crate, and the infinite one.
    assert_eq!(samples(&scrape, "_duration_seconds_bucket").len(), 12);
    assert_eq!(
        samples(&scrape, "shop_parcel_kilograms"),
        [
            r#"shop_parcel_kilograms_bucket{le="+Inf",carrier="post"} 3"#,
            r#"shop_parcel_kilograms_bucket{le="1.0",carrier="post"} 1"#,
            r#"shop_parcel_kilograms_bucket{le="5.0",carrier="post"} 2"#,
            r#"shop_parcel_kilograms_count{carrier="post"} 3"#,
            r#"shop_parcel_kilograms_sum{carrier="post"} 12.0"#,
        ],
    );
    for family in [
        "shop_http_requests counter",
        "shop_http_requests_duration_seconds histogram",
        "shop_orders_read counter",
        "shop_parcel_kilograms histogram",
    ] {
        assert!(scrape.contains(&format!("# TYPE {family}\n")), "{scrape}");
    }
}

#[test]
#[cfg(feature = "process")]
fn otel_has_the_names_of_opentelemetry_and_the_process() {
    let example = start("otel", &[]);
    let address = example.address("Metrics are at http://");
    assert_eq!(get(address, "/users/7"), "user 7\n");
    let scrape = get(address, "/metrics");
    assert_eq!(
        samples(&scrape, "http_server_request_duration_seconds_count"),
        [
            r#"http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="200",http_route="/users/{id}",network_protocol_version="1.1",url_scheme="http"} 1"#
        ],
    );
    assert_eq!(samples(&scrape, "process_start_time_seconds").len(), 1);
    assert!(scrape.contains("\n# TYPE hr_prometheus_scrapes counter\n"));
    assert!(scrape.contains("\n# TYPE actix_worker_tasks gauge\n"));
}
