//! The route table of an application, read once by each worker.
//!
//! A middleware sees of the table only what one path matches, with guards ignored. Which label a request has depends on
//! more: whether a text belongs to a route, to a scope, or to several of them. actix-web shows its table to `Debug`
//! alone, so this is where it is read from. Should a future version show it otherwise, there is no table: then served
//! requests are still labelled, at the cost of an allocation, and those without a response are `unmatched`.

use std::{
    fmt::Write as _,
    sync::{Arc, OnceLock},
};

use actix_web::dev::{Path, ResourceDef, ResourceMap};
use foldhash::{HashMap, HashSet};
use log::Level;
use once_cell::sync::Lazy;
use parking_lot::Mutex;

use crate::{
    panics::{catch, report},
    route::{
        debug_text::{DebugText, ShownNode},
        pattern::Pattern,
        quick::{Guess, QuickPatterns},
        shape::{Owner, Owners, Shape},
    },
};

/// The routes of an application.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    nodes: Vec<Node>,
    routes: Vec<TableRoute>,
    by_pattern: HashMap<Box<str>, usize>,
    labels: HashSet<Arc<str>>,
    pub(crate) owners: Owners,
}

/// One route: a resource, or a service that is mounted at a prefix.
#[derive(Debug)]
pub(crate) struct TableRoute {
    pub(crate) pattern: Pattern,
    pub(crate) label: Arc<str>,
    pub(crate) shape: Shape,
}

/// A scope, a resource or a mount.
#[derive(Debug)]
struct Node {
    /// Without those of the scopes around it.
    patterns: Vec<String>,
    quick: QuickPatterns,
    is_prefix: bool,
    /// Made when it is first needed; `None` if it cannot be made.
    matcher: OnceLock<Option<Arc<ResourceDef>>>,
    inside: Inside,
}

#[derive(Debug)]
enum Inside {
    Scope(Vec<Node>),
    Route(usize),
}

impl RouteTable {
    /// Reads the table of an application; `None` if actix-web shows it in a form that is not known here.
    pub(crate) fn read(map: &ResourceMap) -> Option<Self> {
        let mut shown = String::new();
        write!(shown, "{map:?}").ok()?;
        let root = DebugText::new(&shown).node()?;
        let mut reading = Reading::default();
        let shape = Shape::default();
        reading.add_owner(&shape, true, Owner::NoRoute);
        let nodes = reading.add_nodes(root.children?, "", &shape);
        Some(Self {
            nodes,
            owners: Owners::new(reading.owners),
            ..reading.table
        })
    }

    pub(crate) fn route(&self, index: usize) -> &TableRoute {
        &self.routes[index]
    }

    pub(crate) fn routes(&self) -> &[TableRoute] {
        &self.routes
    }

    /// `label`, if it is that of a route of the application.
    pub(crate) fn label(&self, label: &str) -> Option<Arc<str>> {
        self.labels.get(label).cloned()
    }

    /// Warns of an option that has no effect because no route has the label that it names; of one with values, where some
    /// are kept.
    pub(crate) fn warn_if_unknown(&self, label: &str, option: &str, keeps_values: bool) {
        let is_known =
            self.labels.contains(label) || (keeps_values && self.find(&mut Path::new(label)).is_some());
        if is_known {
            return;
        }
        let other = match label.strip_suffix('/') {
            Some(without) => without.to_owned(),
            None => format!("{label}/"),
        };
        let hint = self.label(&other).map_or_else(
            || "a label is the whole pattern of a route, with those of the scopes around it".to_owned(),
            |other| format!("did you mean {other:?}?"),
        );
        report(
            Level::Warn,
            format_args!("{option}: no route of the application has the label {label:?}; {hint}"),
        );
    }

    /// The route with this pattern, as actix-web has it.
    pub(crate) fn route_of_pattern(&self, pattern: &str) -> Option<usize> {
        self.by_pattern.get(pattern).copied()
    }

    /// The route that a decoded path matches, whatever its guards say, as actix-web finds it; captures the parameters.
    pub(crate) fn find(&self, path: &mut Path<&str>) -> Option<usize> {
        find(&self.nodes, path)
    }

    /// The same, which captures nothing.
    pub(crate) fn route_of_path(&self, path: &str) -> Option<usize> {
        let (mut nodes, mut rest) = (&self.nodes, path);
        loop {
            let (node, taken) = nodes.iter().find_map(|node| Some((node, node.taken(rest)?)))?;
            match &node.inside {
                Inside::Route(route) => return Some(*route),
                Inside::Scope(inside) => (nodes, rest) = (inside, rest.get(taken..)?),
            }
        }
    }
}

/// A table that is being read.
#[derive(Default)]
struct Reading {
    table: RouteTable,
    /// By the shape of what they consume, and whether the path goes on.
    owners: HashMap<(Shape, bool), Owner>,
}

impl Reading {
    fn add_nodes(&mut self, shown: Vec<ShownNode>, pattern_before: &str, shape_before: &Shape) -> Vec<Node> {
        shown
            .into_iter()
            .filter_map(|node| self.add_node(node, pattern_before, shape_before))
            .collect()
    }

    fn add_node(&mut self, shown: ShownNode, pattern_before: &str, shape_before: &Shape) -> Option<Node> {
        let pattern = format!("{pattern_before}{}", shown.patterns.first()?);
        let shape = |pattern: &str| shape_before.and(&Pattern::parse(pattern));
        let inside = if let Some(children) = shown.children {
            let shape = shape(shown.patterns.first()?);
            self.add_owner(&shape, true, Owner::NoRoute);
            Inside::Scope(self.add_nodes(children, &pattern, &shape))
        } else {
            let route = self.add_route(&pattern);
            for alternative in &shown.patterns {
                self.add_owner(&shape(alternative), shown.is_prefix, Owner::Route(route));
            }
            Inside::Route(route)
        };
        Some(Node {
            quick: QuickPatterns::new(&shown.patterns, shown.is_prefix),
            patterns: shown.patterns,
            is_prefix: shown.is_prefix,
            matcher: OnceLock::new(),
            inside,
        })
    }

    fn add_route(&mut self, text: &str) -> usize {
        let table = &mut self.table;
        if let Some(&known) = table.by_pattern.get(text) {
            return known;
        }
        let index = table.routes.len();
        let pattern = Pattern::parse(text);
        let label: Arc<str> = pattern.label().into();
        table.labels.insert(Arc::clone(&label));
        table.routes.push(TableRoute {
            label,
            shape: Shape::of(&pattern),
            pattern,
        });
        table.by_pattern.insert(text.into(), index);
        index
    }

    /// Notes what owns paths that are consumed whole, and, where paths go on below it, what owns those.
    fn add_owner(&mut self, shape: &Shape, has_below: bool, owner: Owner) {
        self.note_owner(shape.clone(), false, owner);
        if has_below {
            self.note_owner(shape.clone(), true, owner);
        }
    }

    fn note_owner(&mut self, shape: Shape, has_rest: bool, owner: Owner) {
        let routes = &self.table.routes;
        let known = self.owners.entry((shape, has_rest)).or_insert(owner);
        *known = match (*known, owner) {
            (Owner::Route(a), Owner::Route(b)) if routes[a].label == routes[b].label => *known,
            (Owner::Route(_) | Owner::Routes, Owner::Route(_)) => Owner::Routes,
            (Owner::NoRoute, Owner::NoRoute) => Owner::NoRoute,
            _ => Owner::Shared,
        };
    }
}

fn find(nodes: &[Node], path: &mut Path<&str>) -> Option<usize> {
    // The first that matches decides, as in actix-web, which enters a scope for good.
    let node = nodes.iter().find(|node| node.matches(path))?;
    match &node.inside {
        Inside::Route(route) => Some(*route),
        Inside::Scope(nodes) => find(nodes, path),
    }
}

impl Node {
    fn matches(&self, path: &mut Path<&str>) -> bool {
        self.quick.guess(path.unprocessed()) != Guess::No && self.captures(path)
    }

    fn captures(&self, path: &mut Path<&str>) -> bool {
        let matcher = self.matcher();
        matcher.is_some_and(|matcher| matcher.capture_match_info(path))
    }

    /// How much of a path it consumes; `None` if it does not match.
    fn taken(&self, path: &str) -> Option<usize> {
        match self.quick.guess(path) {
            Guess::No => None,
            Guess::Yes(taken) => Some(taken),
            Guess::Unclear => self.matcher()?.find_match(path),
        }
    }

    fn matcher(&self) -> Option<&ResourceDef> {
        let matcher = self
            .matcher
            .get_or_init(|| matcher(&self.patterns, self.is_prefix));
        matcher.as_deref()
    }
}

/// What matches paths as a resource or a prefix with these patterns does; `None` if none can be made.
///
/// actix-router leaks the names of the parameters each time it makes one, so there is one for the whole process.
fn matcher(patterns: &[String], is_prefix: bool) -> Option<Arc<ResourceDef>> {
    type Matchers = HashMap<(Vec<String>, bool), Option<Arc<ResourceDef>>>;
    static MATCHERS: Lazy<Mutex<Matchers>> = Lazy::new(Mutex::default);

    let make = || {
        let new = if is_prefix {
            ResourceDef::prefix
        } else {
            ResourceDef::new
        };
        catch(|| Arc::new(new(patterns.to_vec()))).ok()
    };
    let mut matchers = MATCHERS.lock();
    matchers
        .entry((patterns.to_vec(), is_prefix))
        .or_insert_with(make)
        .clone()
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use actix_web::dev::{Path, ResourceDef, ResourceMap};

    use super::{Owner, Pattern, RouteTable, Shape};

    fn map(prefix: &str, nodes: Vec<(ResourceDef, Option<ResourceMap>)>) -> ResourceMap {
        let mut map = ResourceMap::new(ResourceDef::root_prefix(prefix));
        for (mut pattern, nested) in nodes {
            map.add(&mut pattern, nested.map(Rc::new));
        }
        map
    }

    /// A table with everything that one can have. Should actix-web show its table otherwise, this test says so.
    fn table() -> RouteTable {
        let mut named = ResourceDef::new(r"/users/{id:\d{1,9}}");
        named.set_name("a \"user\", {or} [so]");
        let api = map(
            "/api/{version}",
            vec![
                (ResourceDef::new(""), None),
                (ResourceDef::new("/é\"]"), None),
                (ResourceDef::new("/files/{tail}*"), None),
            ],
        );
        let guarded = map("/users", vec![]);
        RouteTable::read(&map(
            "",
            vec![
                (named, None),
                (ResourceDef::new(["/a", "/b/{x}"]), None),
                (ResourceDef::new("/b/{x}"), None),
                (ResourceDef::root_prefix("/api/{version}"), Some(api)),
                (ResourceDef::root_prefix("/static"), None),
                (ResourceDef::new("/users"), None),
                (ResourceDef::root_prefix("/users"), Some(guarded)),
            ],
        ))
        .expect("a table in the form that is known")
    }

    fn owner(table: &RouteTable, pattern: &str, has_rest: bool) -> Option<String> {
        let shape = Shape::of(&Pattern::parse(pattern));
        Some(match table.owners.owner_of(&shape, has_rest)? {
            Owner::Route(route) => table.route(route).label.to_string(),
            owner => format!("{owner:?}"),
        })
    }

    #[test]
    fn the_table_of_this_version_of_actix_web_can_be_read() {
        let labels: Vec<_> = table()
            .routes()
            .iter()
            .map(|route| route.label.to_string())
            .collect();
        assert_eq!(
            labels,
            [
                "/users/{id}",
                "/a",
                "/b/{x}",
                "/api/{version}",
                "/api/{version}/é\"]",
                "/api/{version}/files/{tail}*",
                "/static",
                "/users",
            ],
        );
    }

    #[test]
    fn a_shape_belongs_to_routes_of_one_label_or_to_scopes_or_is_shared() {
        let table = table();
        let whole = |text| owner(&table, text, false);
        let part = |text| owner(&table, text, true);
        assert_eq!(whole("/users/{id}").as_deref(), Some("/users/{id}"));
        assert_eq!(whole("/a").as_deref(), Some("/a"));
        // A further pattern of `/a`, and a route.
        assert_eq!(whole("/b/{x}").as_deref(), Some("Routes"));
        assert_eq!(
            whole("/api/{version}/files/{tail}").as_deref(),
            Some("/api/{version}/files/{tail}*")
        );
        assert_eq!(whole("/static").as_deref(), Some("/static"));
        assert_eq!(part("/static").as_deref(), Some("/static"));
        // A route, and a scope around a route without a path.
        assert_eq!(whole("/users").as_deref(), Some("Shared"));
        assert_eq!(whole("/api/{version}").as_deref(), Some("Shared"));
        assert_eq!(part("/users").as_deref(), Some("NoRoute"));
        assert_eq!(part("").as_deref(), Some("NoRoute"));
        assert_eq!(whole("/nowhere"), None);
    }

    #[test]
    fn a_path_is_found_as_actix_web_finds_it() {
        let table = table();
        let find = |path| {
            let mut info = Path::new(path);
            let route = table.find(&mut info)?;
            let values: Vec<_> = info.iter().map(|(_, value)| value.to_owned()).collect();
            assert_eq!(table.route_of_path(path), Some(route), "{path}");
            Some((table.route(route).label.to_string(), values.join(" ")))
        };
        let found = |label: &str, values: &str| Some((label.to_owned(), values.to_owned()));
        assert_eq!(find("/users/12"), found("/users/{id}", "12"));
        assert_eq!(find("/users/x"), None, "the scope decides");
        assert_eq!(table.route_of_path("/users/x"), None, "the scope decides");
        assert_eq!(find("/b/1"), found("/a", "1"));
        assert_eq!(
            find("/api/2/files/a/b"),
            found("/api/{version}/files/{tail}*", "2 a/b")
        );
        assert_eq!(find("/api/2"), found("/api/{version}", "2"));
        assert_eq!(find("/api/2/nowhere"), None);
        assert_eq!(find("/static/a/b"), found("/static", ""));
        assert_eq!(find("/staticx"), None);
    }
}
