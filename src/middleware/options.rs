//! What is chosen for one middleware: which requests it leaves out, and what it makes labels of.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use actix_web::http::Method;
use log::Level;
use parking_lot::Mutex;

use crate::{
    error::Error,
    limit::{DEFAULT_LIMIT, OTHER},
    monitor::hooks::RequestStart,
    panics::{LogOnce, catch},
    route::{KnownRoutes, Place, UNMATCHED, known_method, places, text_of_pattern},
};

type Predicate = dyn Fn(&RequestStart<'_>) -> bool + Send + Sync;

/// The options of one middleware; its clones and its workers share them.
#[derive(Clone)]
pub(crate) struct Options {
    predicates: Vec<Arc<Predicate>>,
    panic_logged: Arc<LogOnce>,
    /// Without the text of `unmatched`, which can be changed later.
    excluded: BTreeSet<String>,
    excludes_unmatched: bool,
    extra_methods: Vec<&'static str>,
    /// The names of the parameters that are kept, by the label of their route.
    kept: BTreeMap<String, BTreeSet<String>>,
    keeps_all: bool,
    max_kept_paths: usize,
    unmatched: Arc<str>,
    /// The routes that are left out or whose parameters are kept, as far as they are known: no monitor gets to see
    /// them, or it sees paths that are made of them.
    special_routes: KnownRoutes,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            predicates: Vec::new(),
            panic_logged: Arc::default(),
            excluded: BTreeSet::new(),
            excludes_unmatched: false,
            extra_methods: Vec::new(),
            kept: BTreeMap::new(),
            keeps_all: false,
            max_kept_paths: DEFAULT_LIMIT,
            unmatched: UNMATCHED.into(),
            special_routes: KnownRoutes::default(),
        }
    }
}

impl Options {
    pub(crate) fn exclude(&mut self, predicate: Arc<Predicate>) {
        self.predicates.push(predicate);
    }

    pub(crate) fn exclude_route(&mut self, label: &str) -> Result<(), Error> {
        if *label == *self.unmatched {
            self.excludes_unmatched = true;
        } else {
            self.check_label(label)?;
            self.special_routes.learn(label);
            self.excluded.insert(label.to_owned());
        }
        Ok(())
    }

    pub(crate) fn add_method(&mut self, method: &str) -> Result<(), Error> {
        // Not by `Method::from_bytes`, which refuses some of them.
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if method.is_empty() || !method.chars().all(is_token) {
            return Err(Error::new(format!(
                "{method:?} is not a method: write a token of RFC 9110, section 5.6.2, such as \"PURGE\""
            )));
        }
        if method != OTHER && known_method(method).is_none() {
            self.extra_methods.push(method_text(method));
        }
        Ok(())
    }

    pub(crate) fn keep(&mut self, route: &str, name: &str) -> Result<(), Error> {
        self.check_label(route)?;
        let names = names_of_params(route);
        if !names.iter().any(|known| known == name) {
            let known = match &*names.join("`, `") {
                "" => "no parameters".to_owned(),
                names => format!("`{names}`"),
            };
            return Err(Error::new(format!(
                "the route {route:?} has no parameter `{name}`; it has {known}"
            )));
        }
        self.special_routes.learn(route);
        let of_route = self.kept.entry(route.to_owned()).or_default();
        of_route.insert(name.to_owned());
        Ok(())
    }

    pub(crate) fn keep_all(&mut self) {
        self.keeps_all = true;
    }

    pub(crate) fn set_max_kept_paths(&mut self, max: usize) {
        self.max_kept_paths = max;
    }

    pub(crate) fn set_unmatched(&mut self, text: &str) -> Result<(), Error> {
        let reason = match text {
            "" => "it would be an empty label, which Prometheus takes for none",
            OTHER => "that is the label of everything over a limit",
            _ if text.starts_with('/') => "it could be a route",
            _ => {
                self.unmatched = text.into();
                return Ok(());
            }
        };
        Err(Error::new(format!(
            "{text:?} cannot stand for requests without a route, because {reason}; choose a word, such as \"none\""
        )))
    }

    /// Refuses what no route can have as its label.
    fn check_label(&self, label: &str) -> Result<(), Error> {
        let fix = if label.is_empty() {
            "a mount at the root has the label \"/\"".to_owned()
        } else if !label.starts_with('/') {
            format!(
                "a label begins with `/`, as \"/{label}\" does, or it is {:?}, that of requests without a route",
                self.unmatched,
            )
        } else if places(label).any(|(_, place)| place == Place::Regex) {
            let label = text_of_pattern(label);
            format!("regular expressions are left out of labels: write {label:?}")
        } else if places(label)
            .last()
            .is_some_and(|(_, place)| place == Place::Name)
            || label.ends_with('{')
        {
            "a parameter is not closed: add `}`".to_owned()
        } else {
            return Ok(());
        };
        Err(Error::new(format!("{label:?} is the label of no route: {fix}")))
    }

    /// Whether a predicate leaves this request out.
    #[inline]
    pub(crate) fn has_predicates(&self) -> bool {
        !self.predicates.is_empty()
    }

    pub(crate) fn excludes(&self, request: &RequestStart<'_>) -> bool {
        self.predicates.iter().any(|predicate| {
            catch(|| predicate(request)).unwrap_or_else(|panicked| {
                self.panic_logged.log(
                    Level::Error,
                    format_args!("a predicate given to `exclude` panicked: {panicked}; such requests are measured, further panics are not logged"),
                );
                false
            })
        })
    }

    /// Whether requests with this label are left out; `unmatched` is asked for on its own.
    pub(crate) fn excludes_route(&self, label: &str) -> bool {
        self.excluded.contains(label)
    }

    pub(crate) fn excludes_unmatched(&self) -> bool {
        self.excludes_unmatched
    }

    /// The label of a request's method: itself if RFC 9110 defines it, PATCH (RFC 5789), QUERY or one that was asked
    /// for, else `_OTHER`, as the OpenTelemetry HTTP semantic conventions name what they do not know.
    #[inline]
    pub(crate) fn method_label(&self, method: &Method) -> &'static str {
        if method == Method::GET {
            return "GET";
        }
        let method = method.as_str();
        known_method(method).unwrap_or_else(|| self.extra_method(method))
    }

    #[cold]
    fn extra_method(&self, method: &str) -> &'static str {
        let extra = self.extra_methods.iter().find(|extra| **extra == method);
        extra.copied().unwrap_or(OTHER)
    }

    pub(crate) fn keeps_params(&self) -> bool {
        self.keeps_all || !self.kept.is_empty()
    }

    /// Whether the value of the parameter `name` is kept in the label of `route`.
    pub(crate) fn keeps(&self, route: &str, name: &str) -> bool {
        self.keeps_all || self.kept.get(route).is_some_and(|names| names.contains(name))
    }

    pub(crate) fn max_kept_paths(&self) -> usize {
        self.max_kept_paths
    }

    pub(crate) fn special_routes(&self) -> &KnownRoutes {
        &self.special_routes
    }

    /// The label of requests without a route.
    pub(crate) fn unmatched(&self) -> &Arc<str> {
        &self.unmatched
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").finish_non_exhaustive()
    }
}

fn names_of_params(label: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (c, place) in places(label) {
        match (place, names.last_mut()) {
            (Place::Bracket, _) if c == '{' => names.push(String::new()),
            (Place::Name, Some(name)) => name.push(c),
            _ => {}
        }
    }
    names
}

/// The one copy of a method in this process: labels of methods are compared by where they are. What is leaked is
/// bounded by what the program is configured with.
pub(crate) fn method_text(method: &str) -> &'static str {
    static METHODS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

    if let Some(known) = known_method(method) {
        return known;
    }
    if method == OTHER {
        return OTHER;
    }
    let mut methods = METHODS.lock();
    if let Some(known) = methods.get(method) {
        return known;
    }
    let method: &'static str = String::leak(method.to_owned());
    methods.insert(method);
    method
}
