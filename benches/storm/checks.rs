//! What must hold when a round is over.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    thread::sleep,
    time::{Duration, Instant},
};

use hr_prometheus::MetricsRegistry;

use crate::{
    connection::{Connection, Response},
    ending::Ending,
    exposition::{Format, Scrape},
    plan::{Ask, Outcome},
    tally::{Bounds, Ground},
};

/// How long requests whose clients are gone may still run.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a registry says, without a request for it.
pub fn look(registry: &MetricsRegistry) -> Result<Scrape, String> {
    let scrape = registry.encode().map_err(|error| error.to_string())?;
    Scrape::read(Format::OpenMetrics, scrape.as_bytes())
}

/// Waits until nothing runs any more; what is still there, then, are leaks.
pub fn settle(registry: &MetricsRegistry, is_naive: bool) -> Result<Scrape, String> {
    let begun = Instant::now();
    let patience = if is_naive { PATIENCE / 10 } else { PATIENCE };
    let mut last = None;
    loop {
        let scrape = look(registry)?;
        let running = [
            "requests_in_progress",
            "http_server_active_requests",
            "actix_connections_open",
        ];
        let is_idle = running.iter().all(|name| scrape.sum(name) == 0.0);
        let counted = scrape.sum("request_count_total");
        if is_idle && last == Some(counted) || begun.elapsed() > patience {
            return Ok(scrape);
        }
        last = Some(counted);
        sleep(Duration::from_millis(50));
    }
}

/// How many requests were counted, by ending and status.
pub fn counted(scrape: &Scrape) -> BTreeMap<(Ending, u16), u64> {
    let mut counts = BTreeMap::new();
    for (labels, value) in scrape.series("request_count_total") {
        let path = labels.get("path").copied().unwrap_or_default();
        let scope = path.trim_start_matches('/').split('/').next();
        let ending = Ending::ALL
            .into_iter()
            .find(|ending| Some(ending.scope()) == scope);
        // Kept values over the limit are together.
        let ending = ending.or((path == "_OTHER").then_some(Ending::Encoded));
        // A path that no ending has is one that a client made up.
        let ending = ending.unwrap_or(Ending::Garbage);
        let status = labels
            .get("status")
            .and_then(|status| status.parse().ok())
            .unwrap_or_default();
        if value > 0.0 {
            *counts.entry((ending, status)).or_default() += value as u64;
        }
    }
    counts
}

/// Compares what was counted with what the clients can prove.
pub fn compare(scrape: &Scrape, bounds: &Bounds, is_naive: bool) -> Vec<String> {
    let mut problems = Vec::new();
    let counts = counted(scrape);
    let nothing_runs = [
        "requests_in_progress",
        "http_server_active_requests",
        "actix_connections_open",
    ];
    for name in nothing_runs {
        let running = scrape.sum(name);
        if running != 0.0 {
            problems.push(format!("{name} is {running} when nothing runs"));
        }
    }
    let total = scrape.sum("request_count_total");
    let mut sums = vec!["request_latency_count"];
    if !is_naive {
        sums.extend([
            "request_body_bytes_count",
            "response_body_bytes_count",
            "request_time_on_worker_seconds_count",
            "request_longest_poll_seconds_count",
            "http_server_request_duration_seconds_count",
            "http_server_request_body_size_bytes_count",
            "http_server_response_body_size_bytes_count",
        ]);
        let of_connections = scrape.sum("actix_connection_requests_sum");
        let excluded =
            [bounds.excluded, bounds.sent_of(Ending::Excluded)].map(|number| total + number as f64);
        if of_connections < excluded[0] || of_connections > excluded[1] {
            problems.push(format!(
                "connections had {of_connections} requests, not {excluded:?}"
            ));
        }
    }
    for name in sums {
        let sum = scrape.sum(name);
        if sum != total {
            problems.push(format!("request_count_total is {total}, {name} is {sum}"));
        }
    }
    for (labels, met) in scrape.series("request_objective_met_total") {
        let path = labels.get("path").copied();
        let of_path = |name: &str| -> f64 {
            let series = scrape.series(name);
            series
                .filter(|(labels, _)| labels.get("path").copied() == path)
                .map(|(_, value)| value)
                .sum()
        };
        let (missed, counted) = (
            of_path("request_objective_missed_total"),
            of_path("request_count_total"),
        );
        if met + missed != counted {
            problems.push(format!(
                "{path:?} had {counted} requests, {met} met the objective and {missed} missed it"
            ));
        }
    }
    for ending in Ending::ALL {
        let counted: u64 = counts
            .iter()
            .filter(|((of, _), _)| *of == ending)
            .map(|(_, number)| number)
            .sum();
        let most = match ending {
            Ending::Excluded | Ending::Garbage => 0,
            _ => bounds.sent_of(ending),
        };
        let proven = bounds.proven_of(ending);
        if counted > most || counted < proven {
            problems.push(format!(
                "{ending:?}: {counted} were counted, {proven} are proven, {most} were sent"
            ));
        }
    }
    for ((ending, status), proven) in &bounds.proven {
        let counted = counts.get(&(*ending, *status)).copied().unwrap_or_default();
        if counted < *proven {
            problems.push(format!(
                "{ending:?}: {counted} were counted as {status}, {proven} are proven"
            ));
        }
    }
    for (ending, status) in counts.keys() {
        if !ending.statuses().contains(status) && *status != 499 {
            problems.push(format!("{ending:?} was counted as {status}"));
        }
    }
    problems
}

/// Asks until each of these workers has answered, or until as many answers have come that one of them is lost.
pub fn meet_workers(ground: &Ground, address: SocketAddr, number: usize) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for _ in 0..20 * number {
        let ask = Ask {
            ending: Ending::Probe,
            method: "GET".into(),
            path: "/probe/worker".into(),
            headers: Vec::new(),
            body: None,
            expected: Outcome::Answered(200),
        };
        let answer = Connection::open(address).and_then(|mut connection| {
            ground.tally.sent(Ending::Probe);
            connection.send(b"GET /probe/worker HTTP/1.1\r\nhost: storm\r\n\r\n")?;
            connection.read(false)
        });
        match answer {
            Ok(response) => {
                ground
                    .tally
                    .saw_the_end(&ask, Response::outcome(response.as_ref()), true);
                names.extend(response.and_then(|response| String::from_utf8(response.body).ok()));
            }
            Err(error) => ground.tally.problem(format!("a worker does not answer: {error}")),
        }
        if names.len() == number {
            break;
        }
    }
    names
}
