//! Decides which label `path` a request has, or that it is excluded. The counter, the
//! histograms, the gauge, predicates and monitors all ask here, so they cannot disagree.

use std::sync::Arc;

use actix_web::{
    dev::{Path, ResourceMap, ResourcePath, Url},
    http::{Uri, uri::PathAndQuery},
};
use log::Level;

use crate::{
    limit::Limits,
    panics::{LogOnce, catch},
    route::{
        kept::KeptParams,
        pattern::Pattern,
        rules::Rules,
        shape::Consumed,
        table::{RouteTable, TableRoute},
    },
};

/// The treatment of a request, by its route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is recorded under this label.
    Label(Arc<str>),
    /// No trace of it is recorded.
    Excluded,
    /// It is recorded under `_OTHER`: the label would exceed the limit on kept paths.
    OverLimit,
}

/// The treatment of values that are to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Values {
    /// They are in the label, unless the limit is reached.
    Admit,
    /// The same whatever the limit, for callers that do not record it.
    Show,
    /// They are not kept: those of a request that was not found or not let through may be made up.
    Drop,
}

/// How the requests of one middleware in one application are labelled.
pub(crate) struct Labelling {
    pub(crate) rules: Arc<Rules>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) table: RouteTable,
    /// By the index of the route; `None` where no values are kept, and where the route is excluded.
    kept: Vec<Option<KeptParams>>,
}

impl Labelling {
    /// Learns the routes of an application.
    pub(crate) fn new(rules: Arc<Rules>, limits: Arc<Limits>, map: &ResourceMap) -> Self {
        static LOGGED: LogOnce = LogOnce::new();

        if rules.keeps_any() {
            limits.paths.enforce();
        }
        let table = RouteTable::read(map);
        if let Some(table) = &table {
            for (label, option) in rules.named_labels() {
                table.warn_if_unknown(label, option, rules.keeps_any());
            }
        }
        let table = table.unwrap_or_else(|| {
            LOGGED.log(
                Level::Error,
                format_args!("the routes of this version of actix-web cannot be read: requests in progress and those that end without a response are labelled {:?}; update hr-prometheus", rules.unmatched()),
            );
            RouteTable::default()
        });
        let kept = |route: &TableRoute| {
            let is_excluded = rules.excludes(&route.label);
            (!is_excluded)
                .then(|| KeptParams::new(&route.pattern, &route.label, &rules))
                .flatten()
        };
        Self {
            kept: table.routes().iter().map(kept).collect(),
            rules,
            limits,
            table,
        }
    }

    /// Whether the label of a route depends on the values of its parameters.
    #[inline]
    pub(crate) fn keeps_values_of(&self, route: usize) -> bool {
        self.kept[route].is_some()
    }

    pub(crate) fn verdict_without_route(&self) -> Verdict {
        if self.rules.excludes_unmatched() {
            Verdict::Excluded
        } else {
            Verdict::Label(Arc::clone(self.rules.unmatched()))
        }
    }

    /// Decides on a request to `route`, without the values of its parameters.
    pub(crate) fn verdict_of_route(&self, route: usize) -> Verdict {
        let label = &self.table.route(route).label;
        if self.rules.excludes(label) {
            Verdict::Excluded
        } else {
            Verdict::Label(Arc::clone(label))
        }
    }

    /// Writes the label of a request to `route` with the values that are kept of its path; `false` if none are.
    pub(crate) fn write_kept<T: ResourcePath>(
        &self,
        route: usize,
        info: &Path<T>,
        label: &mut String,
    ) -> bool {
        let Some(kept) = &self.kept[route] else {
            return false;
        };
        // Another shape where a further pattern of the same resource matched. A middleware that replaced the path can
        // have left captures that lie behind its end, which panics.
        let write = || {
            self.table.route(route).shape.fits(&Consumed::of(info))
                && kept.write_label(label, info.iter().map(|(_, value)| value))
        };
        catch(write).unwrap_or(false)
    }

    /// Decides on a request to `route` whose path has been matched, and so has its parameters captured.
    fn verdict<T: ResourcePath>(&self, route: usize, info: &Path<T>, values: Values) -> Verdict {
        let mut path = String::new();
        if values != Values::Drop && self.write_kept(route, info, &mut path) {
            self.verdict_of_kept(&path, values)
        } else {
            self.verdict_of_route(route)
        }
    }

    /// Decides on a request whose label has values in it.
    pub(crate) fn verdict_of_kept(&self, path: &str, values: Values) -> Verdict {
        if self.rules.excludes(path) {
            return Verdict::Excluded;
        }
        if let Some(own) = self.table.label(path) {
            return Verdict::Label(own);
        }
        match values {
            Values::Show => Verdict::Label(path.into()),
            Values::Admit | Values::Drop => {
                let admitted = self.limits.paths.admit(path, self.rules.max_kept_paths());
                admitted.map_or(Verdict::OverLimit, Verdict::Label)
            }
        }
    }

    /// Decides on a request to the route with this pattern, of which the table does not know.
    pub(crate) fn verdict_of_pattern(&self, pattern: &str) -> Verdict {
        let label = Pattern::parse(pattern).label();
        if self.rules.excludes(&label) {
            Verdict::Excluded
        } else {
            Verdict::Label(label.into())
        }
    }

    /// Decides on a request by its decoded path alone, and says whether a route matched it.
    pub(crate) fn verdict_of_path(&self, path: &str, values: Values) -> (Option<usize>, Verdict) {
        let mut info = Path::new(path);
        match self.table.find(&mut info) {
            Some(route) => (Some(route), self.verdict(route, &info, values)),
            None => (None, self.verdict_without_route()),
        }
    }

    /// Decides on a request by its path as it arrived. One that no route matches is tried again as a middleware such as
    /// `NormalizePath` would have made it.
    pub(crate) fn verdict_as_arrived(&self, path: &PathAndQuery, values: Values) -> (Option<usize>, Verdict) {
        let path = decoded(path);
        let verdict = self.verdict_of_path(path.path(), values);
        match normalized(path.path()) {
            Some(path) if verdict.0.is_none() => self.verdict_of_path(&path, values),
            _ => verdict,
        }
    }
}

/// The path of a request as the router sees it.
pub(crate) fn decoded(path: &PathAndQuery) -> Url {
    Url::new(Uri::from(path.clone()))
}

/// The path that a middleware such as actix-web's `NormalizePath` makes of another: slashes merged, and none at the end.
/// `None` if it is the same.
pub(crate) fn normalized(path: &str) -> Option<String> {
    if !path.ends_with('/') && !path.contains("//") {
        return None;
    }
    let mut normal = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !normal.ends_with('/') {
            normal.push(c);
        }
    }
    if normal.len() > 1 && normal.ends_with('/') {
        normal.pop();
    }
    (normal != path).then_some(normal)
}
