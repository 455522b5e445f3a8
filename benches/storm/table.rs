//! What the storm says in the end.

use std::fmt::Display;

use crate::{checks::counted, ending::Ending, exposition::Scrape, scrapers::Scraper, tally::Bounds};

/// One round, when it is over.
pub struct Round {
    pub requests: u64,
    pub scrapes: u64,
    pub servers: u64,
    pub series: usize,
    pub heap: usize,
    pub descriptors: Option<usize>,
}

fn line(columns: &[(&dyn Display, isize)]) {
    let columns = columns.iter().map(|(what, width)| {
        let most = width.unsigned_abs();
        if *width < 0 {
            format!("{:<most$}", what.to_string())
        } else {
            format!("{:>most$}", what.to_string())
        }
    });
    println!("{}", columns.collect::<Vec<_>>().join("  ").trim_end());
}

pub fn head_of_rounds() {
    line(&[
        (&"round", 5),
        (&"requests", 9),
        (&"scrapes", 8),
        (&"servers", 8),
        (&"series", 7),
        (&"heap KiB", 9),
        (&"descriptors", 11),
    ]);
}

pub fn round(number: usize, round: &Round) {
    let descriptors = round
        .descriptors
        .map_or_else(|| "-".into(), |number| number.to_string());
    line(&[
        (&number, 5),
        (&round.requests, 9),
        (&round.scrapes, 8),
        (&round.servers, 8),
        (&round.series, 7),
        (&(round.heap / 1_024), 9),
        (&descriptors, 11),
    ]);
}

pub fn endings(scrape: &Scrape, bounds: &Bounds) {
    let counts = counted(scrape);
    println!();
    line(&[
        (&"ending", -17),
        (&"proven", 8),
        (&"counted", 8),
        (&"sent", 8),
        (&"by status", -9),
    ]);
    let mut sums = [0; 3];
    for ending in Ending::ALL {
        let of_ending = counts.iter().filter(|((of, _), _)| *of == ending);
        let statuses: Vec<_> = of_ending
            .clone()
            .map(|((_, status), number)| format!("{status}: {number}"))
            .collect();
        let counted: u64 = of_ending.map(|(_, number)| number).sum();
        let row = [bounds.proven_of(ending), counted, bounds.sent_of(ending)];
        sums.iter_mut().zip(row).for_each(|(sum, number)| *sum += number);
        let [proven, counted, sent] = row;
        line(&[
            (&format!("{ending:?}"), -17),
            (&proven, 8),
            (&counted, 8),
            (&sent, 8),
            (&statuses.join(", "), -9),
        ]);
    }
    let [proven, counted, sent] = sums;
    line(&[(&"all", -17), (&proven, 8), (&counted, 8), (&sent, 8)]);
}

pub fn scrapes(scrapers: &[Scraper]) {
    println!();
    line(&[(&"scrapes", -17), (&"number", 8), (&"bytes", 9), (&"series", 8)]);
    for scraper in scrapers {
        line(&[
            (&scraper.name, -17),
            (&scraper.scrapes, 8),
            (&scraper.bytes, 9),
            (&scraper.series, 8),
        ]);
    }
}
