//! Measures hr-prometheus beside other request metrics for actix-web, and prints the tables in Markdown.
//!
//! `cargo run --release --manifest-path benches/peers/Cargo.toml` prints all of them, which takes some minutes; with
//! the name of a table (`instructions`, `allocations`, `options`, `time`, `threads`, `scrapes`, `memory`, `waits`,
//! `growth`) after it, that one. Needs valgrind. Every measurement runs in a process of its own, because some subjects have global state.

mod allocations;
mod arena;
mod child;
mod clock;
mod counting;
mod growth;
#[path = "../../harness/mod.rs"]
mod harness;
mod instructions;
mod machine;
mod markdown;
mod memory;
mod options;
mod scrapes;
mod subjects;
mod threads;
mod time;
mod waits;

use std::{env, process::ExitCode};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// One table: `print` asks for measurements by [`child::measure`], which in a process of their own end up in `measure`.
struct Table {
    name: &'static str,
    print: fn(),
    measure: fn(&[&str]),
}

const TABLES: [Table; 9] = [
    instructions::TABLE,
    allocations::TABLE,
    options::TABLE,
    time::TABLE,
    threads::TABLE,
    scrapes::TABLE,
    memory::TABLE,
    waits::TABLE,
    growth::TABLE,
];

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let table = |name| TABLES.iter().find(|table| table.name == name);
    match arguments[..] {
        [] => {
            machine::print();
            TABLES.iter().for_each(|table| (table.print)());
        }
        [child::WORD, name, ref rest @ ..] if let Some(table) = table(name) => (table.measure)(rest),
        [name] if let Some(table) = table(name) => {
            machine::print();
            (table.print)();
        }
        _ => {
            eprintln!("the tables are {}", TABLES.map(|table| table.name).join(", "));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
