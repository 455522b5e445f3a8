//! What each option of this crate costs a request, in instructions and in allocations.

use crate::{
    Table, allocations, child,
    harness::Kind,
    instructions::{self, Layout},
    markdown,
    subjects::{self, Default, Nothing, Subject as _},
};

pub const TABLE: Table = Table {
    name: "options",
    print,
    measure: |_| panic!("the other tables measure"),
};

const LAYOUT: Layout = (10, "");
/// A parameter has one of a few values, so that all of them can be kept.
const KINDS: [Kind; 3] = [Kind::Static, Kind::Known, Kind::NotFound];

fn print() {
    let names: Vec<_> = [Nothing::NAME, Default::NAME]
        .into_iter()
        .chain(subjects::OPTIONS)
        .collect();
    let cells: Vec<_> = names
        .iter()
        .flat_map(|subject| KINDS.map(|kind| (*subject, kind)))
        .collect();
    let counts = child::on_all_cores(&cells, |(subject, kind)| {
        let [allocations, _] = allocations::per_request(subject, LAYOUT, *kind);
        [instructions::per_request(subject, LAYOUT, *kind), allocations]
    });
    let (none, options) = counts.split_at(KINDS.len());
    let rows = names[1..]
        .iter()
        .zip(options.chunks(KINDS.len()))
        .map(|(name, counts)| {
            let over = |which: usize| {
                let over = counts.iter().zip(none);
                let over: Vec<_> = over.map(|(count, none)| count[which] - none[which]).collect();
                markdown::numbers(&over)
            };
            vec![(*name).to_owned(), over(0), over(1)]
        });
    markdown::print(
        "Instructions and allocations added per request, with options of hr-prometheus",
        &["static / param / 404", "instructions", "allocations"],
        &rows.collect::<Vec<_>>(),
    );
    println!("10 routes; the parameter has one of 10 values.\n");
}
