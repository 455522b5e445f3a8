//! Random applications whose services say which of them ran, and random requests for them.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![expect(
    clippy::format_push_string,
    reason = "it reads better, and nothing is measured here"
)]

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::ready,
    path::PathBuf,
};

use actix_files::Files;
use actix_service::{Service as _, apply_fn_factory, fn_service};
use actix_web::{
    Error, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{AppService, HttpServiceFactory, RequestHead, ResourceDef, ServiceRequest, ServiceResponse, Url},
    error::ErrorForbidden,
    guard::{self, Guard},
    http::{Method, StatusCode},
    middleware::{Next, from_fn},
    test::TestRequest,
    web::{self, ServiceConfig},
};

/// The header that header guards ask for.
const GUARD: &str = "v";

/// The header with which a client asks an inner middleware to answer in place of the route: where, and with what.
const DENY: &str = "x-deny";

/// The header with the path that such a client asked for.
const ARRIVED: &str = "x-arrived";

/// Sebastiano Vigna's `SplitMix64`.
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// One of the numbers below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("less than `end`")
    }

    /// True for one call in `n`.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }
}

thread_local! {
    /// The leaf that served the last request; `None` if it was a default service or an inner middleware.
    static RAN: Cell<Option<usize>> = const { Cell::new(None) };
    static DENIED: RefCell<Option<Denied>> = const { RefCell::new(None) };
}

/// What is known of a request that an inner middleware answered before routing, or with an `Err`.
#[derive(Debug)]
pub struct Denied {
    /// The label of the first route that the path matches.
    pub first: Option<String>,
    /// The same for the path that the client sent, which `NormalizePath` may have changed.
    pub first_as_arrived: Option<String>,
    /// The same for the path as `NormalizePath` would have made it, where it was not asked to.
    pub first_normalized: Option<String>,
}

/// Who served the last request, and whether a middleware answered first; forgets it.
pub fn who_ran() -> (Option<usize>, Option<Denied>) {
    (RAN.take(), DENIED.take())
}

/// One application.
pub struct Table {
    pub nodes: Vec<Node>,
    pub leaves: Vec<Leaf>,
    pub default: Option<u16>,
    pub trims: bool,
    pub unmatched: &'static str,
    pub excluded: Vec<String>,
    /// Label and parameter.
    pub kept: Vec<(String, String)>,
}

pub enum Node {
    Leaf(usize),
    Scope {
        prefix: String,
        gate: Gate,
        default: Option<u16>,
        has_middleware: bool,
        nodes: Vec<Node>,
    },
}

/// A route, a resource or a mount.
#[derive(Debug)]
pub struct Leaf {
    shape: Shape,
    gate: Gate,
    /// As the application writes them.
    patterns: Vec<String>,
    /// With the prefixes of scopes.
    pub full_patterns: Vec<String>,
    /// What the label must be.
    pub label: String,
    status: u16,
    /// Of the routes of a resource.
    gates: Vec<Gate>,
    pub in_scope: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// `App::route`, which hands the guard of the route to the resource.
    Route,
    Resource,
    /// A service of the application's own that takes whatever is below its prefix.
    Mount,
    Files,
}

/// Whom a guard lets in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gate {
    All,
    Method(&'static str),
    WithHeader,
    WithoutHeader,
}

impl Gate {
    fn lets_in(self, head: &RequestHead) -> bool {
        match self {
            Self::All => true,
            Self::Method(method) => head.method == method,
            Self::WithHeader => head.headers().contains_key(GUARD),
            Self::WithoutHeader => !head.headers().contains_key(GUARD),
        }
    }

    fn guard(self) -> impl Guard {
        guard::fn_guard(move |context| self.lets_in(context.head()))
    }
}

/// How one table is made.
struct Maker<'a> {
    random: &'a mut Random,
    leaves: Vec<Leaf>,
    parameters: usize,
}

const WORDS: [&str; 10] = [
    "users", "items", "a", "b", "api", "v1", "static", "login", "grüße", "a b",
];
const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];

impl Table {
    pub fn random(random: &mut Random) -> Self {
        let mut maker = Maker {
            random,
            leaves: Vec::new(),
            parameters: 0,
        };
        let nodes = maker.nodes("", 0);
        let leaves = maker.leaves;
        let default = (random.one_in(2)).then(|| random.pick(&[404, 404, 200, 200, 405, 302, 403]));
        let mut table = Self {
            nodes,
            leaves,
            default,
            trims: random.one_in(6),
            unmatched: if random.one_in(8) { "none" } else { "unmatched" },
            excluded: Vec::new(),
            kept: Vec::new(),
        };
        if random.one_in(4) {
            table
                .excluded
                .push(table.leaves[random.below(table.leaves.len())].label.clone());
        }
        if random.one_in(16) {
            table.excluded.push(table.unmatched.to_owned());
        }
        if random.one_in(4) {
            table.keep_some(random);
        }
        table
    }

    /// Keeps a parameter of a route that has one, and one pattern alone.
    fn keep_some(&mut self, random: &mut Random) {
        for _ in 0..3 {
            let label = self.leaves[random.below(self.leaves.len())].label.clone();
            let mut of_label = self.leaves.iter().filter(|leaf| leaf.label == label);
            let names = parameters(&label);
            let is_clear = names.iter().all(|name| name != "id");
            if !names.is_empty() && is_clear && of_label.all(|leaf| leaf.patterns.len() == 1) {
                self.kept.push((label, random.pick(&names)));
            }
        }
    }

    /// Registers everything.
    pub fn configure(&self, config: &mut ServiceConfig) {
        self.add(&self.nodes, self.default, config);
    }

    fn add(&self, nodes: &[Node], default: Option<u16>, config: &mut ServiceConfig) {
        for node in nodes {
            match node {
                Node::Leaf(id) => self.leaves[*id].add(*id, config),
                Node::Scope {
                    prefix,
                    gate,
                    default,
                    has_middleware,
                    nodes,
                } => {
                    let mut scope = web::scope(prefix).configure(|config| self.add(nodes, *default, config));
                    if *gate != Gate::All {
                        scope = scope.guard(gate.guard());
                    }
                    if *has_middleware {
                        config.service(scope.wrap(from_fn(deny_in_scope)));
                    } else {
                        config.service(scope);
                    }
                }
            }
        }
        if let Some(status) = default {
            config.default_service(web::to(move || ready(answer(status))));
        }
    }
}

impl Maker<'_> {
    fn nodes(&mut self, prefix: &str, depth: usize) -> Vec<Node> {
        let count = if depth == 0 {
            5 + self.random.below(6)
        } else {
            1 + self.random.below(4)
        };
        (0..count)
            .map(|_| {
                if depth < 3 && self.random.one_in(4) {
                    self.scope(prefix, depth)
                } else {
                    self.leaf(prefix, depth)
                }
            })
            .collect()
    }

    fn scope(&mut self, before: &str, depth: usize) -> Node {
        let segments = self.random.pick(&[0, 1, 1, 1, 1, 2]);
        let prefix: String = (0..segments).map(|_| self.segment()).collect();
        let gate = self.gate(4);
        let nodes = self.nodes(&format!("{before}{prefix}"), depth + 1);
        let random = &mut *self.random;
        Node::Scope {
            prefix,
            gate,
            default: random.one_in(3).then(|| random.pick(&[404, 200, 405, 302])),
            has_middleware: random.one_in(3),
            nodes,
        }
    }

    fn leaf(&mut self, prefix: &str, depth: usize) -> Node {
        let shapes = [
            Shape::Route,
            Shape::Resource,
            Shape::Resource,
            Shape::Mount,
            Shape::Files,
        ];
        let mut shape = self.random.pick(&shapes);
        if matches!(shape, Shape::Mount | Shape::Files) && !self.random.one_in(3) {
            shape = Shape::Route;
        }
        let is_mount = matches!(shape, Shape::Mount | Shape::Files);
        let count = if shape == Shape::Resource && self.random.one_in(4) {
            2 + self.random.below(2)
        } else {
            1
        };
        let patterns: Vec<_> = (0..count).map(|_| self.pattern(depth, is_mount)).collect();
        let full_patterns: Vec<_> = patterns
            .iter()
            .map(|pattern| format!("{prefix}{pattern}"))
            .collect();
        let gates = (0..=self.random.below(2)).map(|_| self.gate(1)).collect();
        let gate = self.gate(if shape == Shape::Route { 1 } else { 3 });
        self.leaves.push(Leaf {
            shape,
            gate,
            patterns,
            label: label_of(&full_patterns[0]),
            full_patterns,
            status: self.random.pick(&[200, 200, 200, 200, 404, 302, 401]),
            gates,
            in_scope: depth > 0,
        });
        Node::Leaf(self.leaves.len() - 1)
    }

    fn pattern(&mut self, depth: usize, is_mount: bool) -> String {
        let segments = self.random.below(if is_mount { 2 } else { 4 });
        let mut pattern: String = (0..segments).map(|_| self.segment()).collect();
        if !is_mount {
            match self.random.below(16) {
                0 => pattern += &format!("/{{{}}}*", self.parameter()),
                1 => pattern += &format!("/{{{}:.*}}", self.parameter()),
                2 => pattern.push('/'),
                _ => {}
            }
            if pattern.is_empty() && (depth == 0 || self.random.one_in(2)) {
                pattern.push('/');
            }
        }
        pattern
    }

    fn segment(&mut self) -> String {
        match self.random.below(14) {
            0..=7 => format!("/{}", self.random.pick(&WORDS)),
            8..=10 => format!("/{{{}}}", self.parameter()),
            11 => format!(r"/{{{}:\d+}}", self.parameter()),
            12 => format!("/{{{}:[a-z]+}}", self.parameter()),
            _ => format!("/{{{}}}.{{{}:txt|md}}", self.parameter(), self.parameter()),
        }
    }

    fn parameter(&mut self) -> String {
        self.parameters += 1;
        // actix allows a name once in a pattern, so the one that comes again must be rare, and in a segment of its own.
        format!("p{}", self.parameters)
    }

    /// A guard for one of `n`.
    fn gate(&mut self, n: usize) -> Gate {
        if !self.random.one_in(n) {
            return Gate::All;
        }
        match self.random.below(8) {
            0 => Gate::WithHeader,
            1 => Gate::WithoutHeader,
            2 => Gate::All,
            3 | 4 => Gate::Method("GET"),
            _ => Gate::Method(self.random.pick(&METHODS)),
        }
    }
}

impl Leaf {
    /// Whether nothing follows the prefixes of its scopes.
    pub fn is_bare(&self) -> bool {
        self.in_scope && self.patterns.iter().any(String::is_empty)
    }

    fn add(&self, id: usize, config: &mut ServiceConfig) {
        let status = self.status;
        let handler = move || {
            RAN.set(Some(id));
            ready(answer(status))
        };
        match self.shape {
            Shape::Route => {
                let route = match self.gate {
                    Gate::All => web::route(),
                    Gate::Method(method) => web::method(method.parse().expect("a method")),
                    gate => web::route().guard(gate.guard()),
                };
                config.route(&self.patterns[0], route.to(handler));
            }
            Shape::Resource => {
                let mut resource = web::resource(self.patterns.clone());
                if self.gate != Gate::All {
                    resource = resource.guard(self.gate.guard());
                }
                for &gate in &self.gates {
                    let route = if gate == Gate::All {
                        web::route()
                    } else {
                        web::route().guard(gate.guard())
                    };
                    resource = resource.route(route.to(handler));
                }
                let resource = resource.wrap(from_fn(deny_in_resource));
                // Outermost, so that it ran whatever a method or the middleware refuses.
                config.service(resource.wrap_fn(move |request, service| {
                    RAN.set(Some(id));
                    service.call(request)
                }));
            }
            Shape::Mount | Shape::Files => {
                config.service(Mount {
                    id,
                    prefix: self.patterns[0].clone(),
                    gate: self.gate,
                    serves_files: self.shape == Shape::Files,
                    status,
                });
            }
        }
    }
}

/// Registers itself as `Files` does.
struct Mount {
    id: usize,
    prefix: String,
    gate: Gate,
    serves_files: bool,
    status: u16,
}

impl HttpServiceFactory for Mount {
    fn register(self, config: &mut AppService) {
        let pattern = if config.is_root() {
            ResourceDef::root_prefix(&self.prefix)
        } else {
            ResourceDef::prefix(self.prefix.as_str())
        };
        let guard: Box<dyn Guard> = Box::new(self.gate.guard());
        let guards = (self.gate != Gate::All).then(|| vec![guard]);
        let Self { id, status, .. } = self;
        if self.serves_files {
            let files = Files::new(&self.prefix, directory());
            let factory = apply_fn_factory(files, move |request, files: &actix_files::FilesService| {
                RAN.set(Some(id));
                files.call(request)
            });
            config.register_service(pattern, guards, factory, None);
        } else {
            let service = fn_service(move |request: ServiceRequest| {
                RAN.set(Some(id));
                ready(Ok::<_, Error>(request.into_response(answer(status))))
            });
            config.register_service(pattern, guards, service, None);
        }
    }
}

/// Holds `Cargo.toml`; and no name in it is among `WORDS`.
fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/support")
}

fn answer(status: u16) -> HttpResponse {
    HttpResponse::new(StatusCode::from_u16(status).expect("a status"))
}

/// What a client asked of the middleware in this `place`.
fn asked_for(request: &ServiceRequest, place: &str) -> Option<Result<HttpResponse, Error>> {
    let asked = request.headers().get(DENY)?.to_str().ok()?.strip_prefix(place)?;
    Some(match asked.trim().parse() {
        Ok(status) => Ok(answer(status)),
        Err(_) => Err(ErrorForbidden("refused")),
    })
}

async fn deny_before_routing(
    place: &str,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(answer) = asked_for(&request, place) else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    note_denied(&request);
    Ok(request.into_response(answer?))
}

/// Notes the first route that the path matches, as it is now and as it arrived.
fn note_denied(request: &ServiceRequest) {
    let first = |path: &str| Some(label_of(&request.resource_map().match_pattern(path)?));
    let arrived = request.headers().get(ARRIVED).expect("what a denied request has");
    let arrived = arrived.to_str().expect("ASCII").parse().expect("a path");
    DENIED.set(Some(Denied {
        first: first(request.match_info().as_str()),
        first_as_arrived: first(Url::new(arrived).path()),
        first_normalized: first(&normalized(request.match_info().as_str())),
    }));
}

/// Merges slashes and trims the last one.
fn normalized(path: &str) -> String {
    let mut normal = path.to_owned();
    while normal.contains("//") {
        normal = normal.replace("//", "/");
    }
    match normal.strip_suffix('/') {
        Some(trimmed) if !trimmed.is_empty() => trimmed.to_owned(),
        _ => normal,
    }
}

pub async fn deny_in_app(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    deny_before_routing("app", request, next).await
}

async fn deny_in_scope(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    deny_before_routing("scope", request, next).await
}

async fn deny_in_resource(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    match asked_for(&request, "resource") {
        Some(Ok(answer)) => Ok(request.into_response(answer)),
        Some(Err(error)) => {
            note_denied(&request);
            Err(error)
        }
        None => Ok(next.call(request).await?.map_into_boxed_body()),
    }
}

/// The label of a pattern: without the regular expressions of its parameters, and `/` for a mount at the root.
pub fn label_of(pattern: &str) -> String {
    if pattern.is_empty() {
        return "/".to_owned();
    }
    let mut label = String::new();
    let mut rest = pattern;
    while let Some((before, parameter, after)) = split_at_parameter(rest) {
        let name = parameter.split(':').next().expect("one at the least");
        label += &format!("{before}{{{name}}}");
        rest = after;
    }
    label + rest
}

/// What is before the first parameter of a pattern, what is in its brackets, and what is after them.
fn split_at_parameter(pattern: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = pattern.split_once('{')?;
    let (parameter, after) = rest.split_once('}')?;
    Some((before, parameter, after))
}

/// The names of the parameters of a label.
pub fn parameters(label: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = label;
    while let Some((_, name, after)) = split_at_parameter(rest) {
        names.push(name.to_owned());
        rest = after;
    }
    names
}

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub method: &'static str,
    pub path: String,
    pub has_header: bool,
    /// Which middleware answers it, and with which status, 0 for an `Err`.
    pub denied: Option<(&'static str, u16)>,
}

impl Request {
    /// For a path that leads to some route of `table`, or nearly.
    pub fn random(random: &mut Random, table: &Table) -> Self {
        let leaf = &table.leaves[random.below(table.leaves.len())];
        let pattern = random.pick(&leaf.full_patterns);
        let mut path = fill_in(random, &pattern);
        if matches!(leaf.shape, Shape::Mount | Shape::Files) {
            path += random.pick(&["", "/mod.rs", "/client.rs", "/missing", "/a/b", "/"]);
        }
        if random.one_in(3) {
            path = bend(random, path);
        }
        if random.one_in(12) {
            path = bend(random, path);
        }
        let encodes = random.one_in(6);
        let denied = random.one_in(12).then(|| {
            (
                random.pick(&["app", "app", "scope", "resource"]),
                random.pick(&[401, 401, 403, 302, 429, 0]),
            )
        });
        let methods = [
            "GET", "GET", "GET", "GET", "POST", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "BREW",
        ];
        Self {
            method: random.pick(&methods),
            path: encode(random, &path, encodes),
            has_header: random.one_in(4),
            denied,
        }
    }

    /// The same without anything for the middleware.
    pub fn undenied(&self) -> Self {
        Self {
            denied: None,
            ..self.clone()
        }
    }

    pub fn build(&self) -> actix_http::Request {
        let method: Method = self.method.parse().expect("a method");
        let mut request = TestRequest::with_uri(&self.path).method(method);
        if self.has_header {
            request = request.insert_header((GUARD, "1"));
        }
        if let Some((place, status)) = self.denied {
            let status = if status == 0 {
                "error".to_owned()
            } else {
                status.to_string()
            };
            request = request.insert_header((DENY, format!("{place} {status}")));
            request = request.insert_header((ARRIVED, self.path.as_str()));
        }
        request.to_request()
    }
}

const VALUES: [&str; 10] = [
    "7", "123", "a", "me", "users", "static", "x.y", "ü", "a\u{1}b", "\u{2}",
];

/// Bytes that are sent percent-encoded, and mean something else where they are decoded, or nothing at all.
const ESCAPES: [(char, &str); 2] = [('\u{1}', "%2F"), ('\u{2}', "%FF")];

/// A path, not yet encoded, that a pattern matches, most of the time.
fn fill_in(random: &mut Random, pattern: &str) -> String {
    let mut path = String::new();
    let mut rest = pattern;
    while let Some((before, parameter, after)) = split_at_parameter(rest) {
        path += before;
        let regex = parameter.split_once(':').map_or("", |(_, regex)| regex);
        path += &match regex {
            r"\d+" => random.pick(&["7", "123", "7", "x"]).to_owned(),
            "[a-z]+" => random.pick(&["a", "me", "users", "7"]).to_owned(),
            "txt|md" => random.pick(&["txt", "md", "rs"]).to_owned(),
            ".*" => random.pick(&["", "a", "a/b", "users/7/"]).to_owned(),
            _ if after == "*" => random.pick(&["", "a", "a/b", "users/7/"]).to_owned(),
            _ if random.one_in(40) => "x".repeat(150),
            _ => random.pick(&VALUES).to_owned(),
        };
        rest = if after == "*" { "" } else { after };
    }
    path += rest;
    if path.starts_with('/') {
        path
    } else {
        format!("/{path}")
    }
}

/// Makes something else of a path.
fn bend(random: &mut Random, mut path: String) -> String {
    match random.below(8) {
        0 => path.push('/'),
        1 => path.truncate(path.trim_end_matches('/').len()),
        2 => path += &format!("/{}", random.pick(&WORDS)),
        3 => path += &format!("/{}", random.pick(&VALUES)),
        4 => path = path.replacen('/', "//", 1),
        5 => path.truncate(path.rfind('/').unwrap_or(0)),
        6 => path = path.to_uppercase(),
        _ => path = format!("/{}{path}", random.pick(&WORDS)),
    }
    if path.starts_with('/') {
        path
    } else {
        format!("/{path}")
    }
}

/// Encodes what must be, and here and there what need not if `some_more`.
fn encode(random: &mut Random, path: &str, some_more: bool) -> String {
    let mut encoded = String::new();
    for c in path.chars() {
        if let Some((_, escape)) = ESCAPES.iter().find(|(character, _)| *character == c) {
            encoded += escape;
        } else if c == '/' || (c.is_ascii_graphic() && !(some_more && random.one_in(5))) {
            encoded.push(c);
        } else {
            for byte in c.to_string().bytes() {
                encoded += &format!("%{byte:02X}");
            }
        }
    }
    encoded
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)?;
        if self.has_header {
            write!(f, " with {GUARD}: 1")?;
        }
        match self.denied {
            Some((place, 0)) => write!(f, ", refused with an Err by the middleware of the {place}"),
            Some((place, status)) => write!(f, ", answered {status} by the middleware of the {place}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(&self.nodes, self.default, 1, f)?;
        writeln!(
            f,
            "  NormalizePath: {}, unmatched: {}, excluded: {:?}, kept: {:?}",
            self.trims, self.unmatched, self.excluded, self.kept,
        )
    }
}

impl Table {
    fn write(
        &self,
        nodes: &[Node],
        default: Option<u16>,
        depth: usize,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        let indent = "  ".repeat(depth);
        for node in nodes {
            match node {
                Node::Leaf(id) => {
                    let leaf = &self.leaves[*id];
                    let Leaf {
                        shape,
                        gate,
                        patterns,
                        status,
                        ..
                    } = leaf;
                    write!(f, "{indent}{shape:?} {patterns:?} for {gate:?} answers {status}")?;
                    if *shape == Shape::Resource {
                        write!(f, " to {:?}", leaf.gates)?;
                    }
                    writeln!(f)?;
                }
                Node::Scope {
                    prefix,
                    gate,
                    default,
                    has_middleware,
                    nodes,
                } => {
                    writeln!(
                        f,
                        "{indent}Scope {prefix:?} for {gate:?}, middleware: {has_middleware}"
                    )?;
                    self.write(nodes, *default, depth + 1, f)?;
                }
            }
        }
        match default {
            Some(status) => writeln!(f, "{indent}a default service answers {status}"),
            None => Ok(()),
        }
    }
}
