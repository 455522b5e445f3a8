//! Instructions of a scrape of 1,000 series, against a ceiling: `cargo bench --bench instructions_of_scrapes`.

#[allow(dead_code, unreachable_pub, reason = "three programs use it")]
mod callgrind;
mod harness;

use std::{env, hint::black_box, process::ExitCode};

use actix_web::{App, dev::Service as _, rt::System, test, test::TestRequest, web};
use hr_prometheus::{HrPrometheus, MetricsRegistry};

const SERIES: usize = 1_000;

const SCRAPES: usize = 5;

/// The instructions of a scrape when they were last taken.
const RECORDED: u64 = 6_590_000;

fn main() -> ExitCode {
    if let [_, _, scrapes] = &env::args().collect::<Vec<_>>()[..] {
        scrape_counted(&recorded(), scrapes.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    let reached = callgrind::per_repetition(SCRAPES, |scrapes| ["scrape", scrapes].map(str::to_owned));
    let ceiling = callgrind::ceiling(RECORDED, 0);
    println!("instructions of a scrape of {SERIES} series: {reached}, ceiling {ceiling}");
    if reached <= ceiling {
        ExitCode::SUCCESS
    } else {
        eprintln!("above the ceiling: make it cheaper, or say beside the ceiling why it must cost more");
        ExitCode::FAILURE
    }
}

/// One request for each of as many routes as there are to be series.
fn recorded() -> MetricsRegistry {
    let registry = MetricsRegistry::new();
    System::new().block_on(async {
        let app = App::new()
            .app_data(registry.clone())
            .configure(|app| {
                for route in 0..SERIES {
                    app.route(&format!("/items/{route}"), web::get().to(async || ""));
                }
            })
            .wrap(HrPrometheus::default());
        let app = test::init_service(app).await;
        for route in 0..SERIES {
            let request = TestRequest::with_uri(&format!("/items/{route}")).to_request();
            drop(app.call(request).await);
        }
    });
    registry
}

/// All that callgrind counts.
#[inline(never)]
fn scrape_counted(registry: &MetricsRegistry, scrapes: usize) {
    for _ in 0..scrapes {
        black_box(registry.encode().is_ok());
    }
}
