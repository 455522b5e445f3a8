//! Instructions per request of the default set-up, against a ceiling: `cargo bench --bench instructions`.

#[allow(unreachable_pub, reason = "two programs use it")]
mod callgrind;
mod harness;

use std::process::ExitCode;

use callgrind::Recorded;
use harness::Kind;
use hr_prometheus::HrPrometheus;

const RECORDED: [Recorded; 9] = [
    ("default", 10, Kind::Static, 933),
    ("default", 10, Kind::Param, 1_048),
    ("default", 10, Kind::NotFound, 761),
    ("default", 500, Kind::Static, 934),
    ("default", 500, Kind::Param, 1_050),
    ("default", 500, Kind::NotFound, 770),
    ("default", 10, Kind::LongStatic, 1_082),
    ("default", 10, Kind::LongParam, 1_209),
    ("default", 10, Kind::LongNotFound, 857),
];

fn main() -> ExitCode {
    callgrind::run(&RECORDED, async |_, application, requests| {
        callgrind::serve_with(HrPrometheus::default(), application, requests).await;
    })
}
