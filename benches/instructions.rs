//! Instructions per request of the default set-up, against a ceiling: `cargo bench --bench instructions`.

#[allow(unreachable_pub, reason = "two programs use it")]
mod callgrind;
mod harness;

use std::process::ExitCode;

use callgrind::Ceiling;
use harness::Kind;
use hr_prometheus::HrPrometheus;

/// 3 % above what has been reached.
const CEILINGS: [Ceiling; 9] = [
    ("default", 10, Kind::Static, 962),
    ("default", 10, Kind::Param, 1_075),
    ("default", 10, Kind::NotFound, 780),
    ("default", 500, Kind::Static, 964),
    ("default", 500, Kind::Param, 1_076),
    ("default", 500, Kind::NotFound, 793),
    ("default", 10, Kind::LongStatic, 1_115),
    ("default", 10, Kind::LongParam, 1_246),
    ("default", 10, Kind::LongNotFound, 884),
];

fn main() -> ExitCode {
    callgrind::run(&CEILINGS, async |_, application, requests| {
        callgrind::serve_with(HrPrometheus::default(), application, requests).await;
    })
}
