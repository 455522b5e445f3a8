//! The options of one middleware for the label `path`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    error::Error,
    limit::{DEFAULT_LIMIT, OTHER},
    route::pattern::Pattern,
};

/// The label of a request that no route of the application served, by default.
const UNMATCHED: &str = "unmatched";

/// Which routes are excluded, which values are kept, and the label of unmatched requests.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// Labels of routes, or paths with kept values; without the text of `unmatched`, which can be changed later.
    excluded: BTreeSet<String>,
    excludes_unmatched: bool,
    /// The names of the parameters that are kept, by the label of their route.
    kept: BTreeMap<String, BTreeSet<String>>,
    keeps_all: bool,
    max_kept_paths: usize,
    unmatched: Arc<str>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            excluded: BTreeSet::new(),
            excludes_unmatched: false,
            kept: BTreeMap::new(),
            keeps_all: false,
            max_kept_paths: DEFAULT_LIMIT,
            unmatched: UNMATCHED.into(),
        }
    }
}

impl Rules {
    pub(crate) fn exclude(&mut self, label: &str) -> Result<(), Error> {
        if *label == *self.unmatched {
            self.excludes_unmatched = true;
        } else {
            self.check_label(label)?;
            self.excluded.insert(label.to_owned());
        }
        Ok(())
    }

    pub(crate) fn keep(&mut self, route: &str, name: &str) -> Result<(), Error> {
        self.check_label(route)?;
        let pattern = Pattern::parse(route);
        let names: Vec<_> = pattern.params().map(|param| &*param.name).collect();
        if !names.contains(&name) {
            let known = match &*names.join("`, `") {
                "" => "no parameters".to_owned(),
                names => format!("`{names}`"),
            };
            return Err(Error::new(format!(
                "the route {route:?} has no parameter `{name}`; it has {known}"
            )));
        }
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
            "" => "Prometheus treats an empty label as absent",
            OTHER => "that is the label of everything over a limit",
            _ if text.starts_with('/') => "it could be a route",
            _ => {
                self.unmatched = text.into();
                return Ok(());
            }
        };
        Err(Error::new(format!(
            "{text:?} cannot be the label of unmatched requests, because {reason}; choose a word such as \"none\""
        )))
    }

    /// Refuses a label that no route can have.
    pub(crate) fn check_label(&self, label: &str) -> Result<(), Error> {
        let pattern = Pattern::parse(label);
        let fix = if label.is_empty() {
            "for a service mounted at the root, use \"/\"".to_owned()
        } else if *label == *self.unmatched {
            "unmatched requests have it; name a route".to_owned()
        } else if !label.starts_with('/') {
            format!(
                "begin it with `/`, as in \"/{label}\", or use {:?} for unmatched requests",
                self.unmatched,
            )
        } else if !pattern.is_closed() {
            "close the parameter with `}`".to_owned()
        } else if let Some(label) = in_the_syntax_of_actix(label) {
            format!("write parameters and tails in braces: {label:?}")
        } else if pattern.params().any(|param| param.has_regex) {
            format!(
                "write parameters without their regular expressions: {:?}",
                pattern.label()
            )
        } else {
            return Ok(());
        };
        Err(Error::new(format!(
            "no route can have the label {label:?}; {fix}"
        )))
    }

    /// The labels that the options name, with the option; without the text of `unmatched`.
    pub(crate) fn named_labels(&self) -> impl Iterator<Item = (&str, &'static str)> {
        let excluded = self.excluded.iter().map(|label| (&**label, "exclude_routes"));
        excluded.chain(self.kept.keys().map(|label| (&**label, "keep_params")))
    }

    /// Whether requests with this label are excluded; `unmatched` is asked for on its own.
    pub(crate) fn excludes(&self, label: &str) -> bool {
        self.excluded.contains(label)
    }

    pub(crate) fn excludes_unmatched(&self) -> bool {
        self.excludes_unmatched
    }

    /// Whether any request is excluded by its label. If none is, the route of a request need not be looked up.
    pub(crate) fn excludes_any(&self) -> bool {
        self.excludes_unmatched || !self.excluded.is_empty()
    }

    pub(crate) fn keeps_any(&self) -> bool {
        self.keeps_all || !self.kept.is_empty()
    }

    /// Whether the value of the parameter `name` is kept in the label of `route`.
    pub(crate) fn keeps(&self, route: &str, name: &str) -> bool {
        self.keeps_all || self.kept.get(route).is_some_and(|names| names.contains(name))
    }

    pub(crate) fn max_kept_paths(&self) -> usize {
        self.max_kept_paths
    }

    /// The label of unmatched requests.
    pub(crate) fn unmatched(&self) -> &Arc<str> {
        &self.unmatched
    }
}

/// A label in the syntax of other frameworks, `/:id` or `/*`, as actix-web has it; `None` if it is in no such syntax.
fn in_the_syntax_of_actix(label: &str) -> Option<String> {
    let segments: Vec<_> = label.split('/').collect();
    let is_foreign = |segment: &str| segment.len() > 1 && segment.starts_with(':') || is_wildcard(segment);
    if !segments.iter().any(|segment| is_foreign(segment)) {
        return None;
    }
    let last = segments.len() - 1;
    let segments = segments.iter().enumerate().map(|(index, segment)| {
        match segment.strip_prefix(':').filter(|name| !name.is_empty()) {
            Some(name) => format!("{{{name}}}"),
            None if is_wildcard(segment) && index == last => "{tail}*".to_owned(),
            None if is_wildcard(segment) => "{name}".to_owned(),
            None => (*segment).to_owned(),
        }
    });
    Some(segments.collect::<Vec<_>>().join("/"))
}

fn is_wildcard(segment: &str) -> bool {
    matches!(segment, "*" | "**")
}
