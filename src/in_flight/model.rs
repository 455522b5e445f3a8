//! The tables of requests in progress, against a list.

use std::{collections::BTreeSet, sync::Arc};

use actix_web::{
    dev::{ResourceDef, ResourceMap},
    http::Uri,
};
use proptest::{collection::vec, prelude::*, test_runner::Config};

use crate::{
    in_flight::{InFlight, InFlightTable, place::Place},
    limit::Limits,
    method::MethodLabel,
    route::{
        labelling::{Labelling, Verdict},
        rules::Rules,
    },
};

/// How many paths with kept values may be labels.
const MOST_KEPT: usize = 2;

/// Paths with their labels; of those below `/kept` the value is in the label, up to the limit.
fn paths() -> [(String, &'static str); 9] {
    [
        ("/".to_owned(), "/"),
        ("/users/7".to_owned(), "/users/{id}"),
        (format!("/users/{}", "7".repeat(80)), "/users/{id}"),
        (format!("/users/{}", "7".repeat(300)), "/users/{id}"),
        ("/nowhere/at/all".to_owned(), "unmatched"),
        ("/secret".to_owned(), ""),
        ("/kept/a".to_owned(), "/kept/a"),
        ("/kept/b".to_owned(), "/kept/b"),
        ("/kept/c?of=more".to_owned(), "/kept/c"),
    ]
}

fn labelling(limits: &Arc<Limits>) -> Arc<Labelling> {
    let mut rules = Rules::default();
    rules.exclude("/secret").unwrap();
    rules.keep("/kept/{name}", "name").unwrap();
    rules.set_max_kept_paths(MOST_KEPT);
    let mut map = ResourceMap::new(ResourceDef::root_prefix(""));
    for pattern in ["/", "/users/{id}", "/secret", "/kept/{name}"] {
        map.add(&mut ResourceDef::new(pattern), None);
    }
    Arc::new(Labelling::new(Arc::new(rules), Arc::clone(limits), &map))
}

#[derive(Clone, Debug)]
enum Step {
    /// A request with the method of this number and this path comes to a table, in a place that is free.
    Arrive(usize, u32, usize),
    /// One of the requests gets its response, or is excluded by it.
    Respond(prop::sample::Index, bool),
    /// One of the requests ends; its place is kept for the next one, or given back.
    End(prop::sample::Index, bool),
    /// Somebody looks.
    Look,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..2_usize, 0..11_u32, 0..9_usize).prop_map(|(table, method, path)| Step::Arrive(table, method, path)),
        1 => any::<(prop::sample::Index, bool)>().prop_map(|(one, is_excluded)| Step::Respond(one, is_excluded)),
        3 => any::<(prop::sample::Index, bool)>().prop_map(|(one, is_kept)| Step::End(one, is_kept)),
        1 => Just(Step::Look),
    ]
}

/// A request in progress: where it is, its method, and its label; empty if it is excluded.
struct Request {
    table: usize,
    place: Arc<Place>,
    method: &'static str,
    label: String,
}

proptest! {
    #![proptest_config(Config::with_cases(500))]

    #[test]
    fn who_looks_sees_the_requests_that_came_and_have_not_ended(steps in vec(step(), 0..80)) {
        // One registry has one limit.
        let limits = Arc::<Limits>::default();
        let tables = [(); 2].map(|()| Arc::new(InFlightTable::new(labelling(&limits))));
        let seen_by = InFlight::default();
        for table in &tables {
            seen_by.add_table(table);
        }
        let paths = paths();
        let mut free = [Vec::new(), Vec::new()];
        let mut requests: Vec<Request> = Vec::new();
        let mut admitted = BTreeSet::new();

        for step in steps.into_iter().chain([Step::Look]) {
            match step {
                Step::Arrive(table, method, path) => {
                    let place = free[table].pop().unwrap_or_else(|| tables[table].add_place());
                    let method = MethodLabel::numbered(method);
                    let (path, label) = &paths[path];
                    place.arrive(method, &path.parse::<Uri>().unwrap());
                    requests.push(Request { table, place, method: method.text, label: (*label).to_owned() });
                }
                Step::Respond(..) | Step::End(..) if requests.is_empty() => {}
                Step::Respond(one, is_excluded) => {
                    let index = one.index(requests.len());
                    let request = &mut requests[index];
                    request.label = if is_excluded { "" } else { "/of/the/response" }.to_owned();
                    request.place.label(if is_excluded {
                        Verdict::Excluded
                    } else {
                        Verdict::Label("/of/the/response".into())
                    });
                }
                Step::End(one, is_kept) => {
                    let request = requests.swap_remove(one.index(requests.len()));
                    request.place.leave();
                    if is_kept {
                        free[request.table].push(request.place);
                    } else {
                        tables[request.table].remove_place(&request.place);
                    }
                }
                Step::Look => {
                    let mut seen = Vec::new();
                    seen_by.for_each(|method, label, _| seen.push((method, label.to_string())));
                    requests.sort_by_key(|request| (request.table, request.place.number));
                    for request in &mut requests {
                        if request.label.starts_with("/kept/") && !admitted.contains(&request.label) {
                            if admitted.len() == MOST_KEPT {
                                request.label = "_OTHER".to_owned();
                            } else {
                                admitted.insert(request.label.clone());
                            }
                        }
                    }
                    let shown = requests.iter().filter(|request| !request.label.is_empty());
                    let expected: Vec<_> = shown.map(|request| (request.method, request.label.clone())).collect();
                    prop_assert_eq!(seen, expected);
                }
            }
        }
    }
}
