//! Scrapers in every format, which believe nothing.

use std::{
    io::{self, Read as _},
    thread::sleep,
    time::Duration,
};

use flate2::read::GzDecoder;

use crate::{
    connection::{Connection, Response},
    dice::Dice,
    ending::Ending,
    exposition::{Format, Scrape},
    plan::{Ask, Outcome},
    tally::Ground,
};

/// One scraper, which remembers the scrape before.
pub struct Scraper {
    pub name: &'static str,
    format: Format,
    accept: &'static str,
    content_type: &'static str,
    is_compressed: bool,
    before: Vec<(u64, f64)>,
    dice: Dice,
    pub scrapes: u64,
    /// Of the last one, decompressed.
    pub bytes: usize,
    pub series: usize,
}

/// One for each format, and one that wants it compressed.
pub fn all(seed: u64) -> Vec<Scraper> {
    let openmetrics = (
        "application/openmetrics-text;version=1.0.0",
        "application/openmetrics-text; version=1.0.0;",
    );
    let text = ("text/plain;version=0.0.4", "text/plain; version=0.0.4;");
    let protobuf = (
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
    );
    let scrapers = [
        ("OpenMetrics", Format::OpenMetrics, openmetrics, false),
        ("OpenMetrics, gzip", Format::OpenMetrics, openmetrics, true),
        ("text 0.0.4", Format::Text, text, false),
        ("protobuf", Format::Protobuf, protobuf, false),
    ];
    let scraper = |(name, format, (accept, content_type), is_compressed): (_, _, (_, _), _)| Scraper {
        name,
        format,
        accept,
        content_type,
        is_compressed,
        before: Vec::new(),
        dice: Dice(seed),
        scrapes: 0,
        bytes: 0,
        series: 0,
    };
    scrapers.into_iter().map(scraper).collect()
}

impl Scraper {
    /// Scrapes the steady server until the round is over, twice at least.
    pub fn run(&mut self, ground: &Ground) {
        let mut connection = None;
        for round in 0.. {
            if ground.is_over() && round > 1 {
                break;
            }
            if let Err(error) = self.scrape(ground, &mut connection) {
                ground
                    .tally
                    .problem(format!("a scrape of {}: {error}", self.name));
                connection = None;
            }
            sleep(Duration::from_millis(self.dice.between(200, 800)));
        }
    }

    fn scrape(&mut self, ground: &Ground, connection: &mut Option<Connection>) -> Result<(), String> {
        let text = |error: io::Error| error.to_string();
        let encoding = if self.is_compressed {
            "accept-encoding: gzip\r\n"
        } else {
            ""
        };
        let accept = self.accept;
        let request = format!("GET /metrics HTTP/1.1\r\nhost: storm\r\naccept: {accept}\r\n{encoding}\r\n");
        if self.dice.one_in(8) {
            // A scraper that gives up.
            let mut connection = Connection::open(ground.steady).map_err(text)?;
            ground.tally.sent(Ending::Scrape);
            connection.send(request.as_bytes()).map_err(text)?;
            sleep(Duration::from_micros(self.dice.below(10_000)));
            connection.reset();
        }
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(Connection::open(ground.steady).map_err(text)?),
        };
        ground.tally.sent(Ending::Scrape);
        connection.send(request.as_bytes()).map_err(text)?;
        let response = connection.read(false).map_err(text)?;
        let ask = Ask {
            ending: Ending::Scrape,
            method: "GET".into(),
            path: "/metrics".into(),
            headers: Vec::new(),
            body: None,
            expected: Outcome::Answered(200),
        };
        ground
            .tally
            .saw_the_end(&ask, Response::outcome(response.as_ref()), true);
        let response = response.ok_or("closed without a byte")?;
        let content_type = response.header("content-type").unwrap_or_default();
        if !content_type.starts_with(self.content_type) {
            return Err(format!("the content type {content_type:?}"));
        }
        let body = match (self.is_compressed, response.header("content-encoding")) {
            (false, None) => response.body,
            (true, Some("gzip")) => {
                let mut body = Vec::new();
                GzDecoder::new(&*response.body)
                    .read_to_end(&mut body)
                    .map_err(text)?;
                body
            }
            (_, encoding) => return Err(format!("the encoding {encoding:?}")),
        };
        self.scrapes += 1;
        self.bytes = body.len();
        let scrape = Scrape::read(self.format, &body)?;
        self.series = scrape.number_of_series();
        self.judge(&scrape)?;
        self.before = scrape.monotonic();
        Ok(())
    }

    fn judge(&self, scrape: &Scrape) -> Result<(), String> {
        if let Some(less) = scrape.less_than(&self.before) {
            return Err(less);
        }
        let (counted, timed) = (
            scrape.sum("request_count_total"),
            scrape.sum("request_latency_count"),
        );
        if counted != timed {
            return Err(format!("{counted} requests were counted, {timed} timed"));
        }
        for name in [
            "hr_prometheus_scrape_families_omitted",
            "hr_prometheus_scrape_series_omitted",
        ] {
            let omitted = scrape.sum(name);
            if omitted != 0.0 {
                return Err(format!("{name} is {omitted}"));
            }
        }
        Ok(())
    }
}
