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
    ("default", 10, Kind::Static, 976),
    ("default", 10, Kind::Param, 1_095),
    ("default", 10, Kind::NotFound, 797),
    ("default", 500, Kind::Static, 987),
    ("default", 500, Kind::Param, 1_106),
    ("default", 500, Kind::NotFound, 813),
    ("default", 10, Kind::LongStatic, 1_138),
    ("default", 10, Kind::LongParam, 1_269),
    ("default", 10, Kind::LongNotFound, 903),
];

fn main() -> ExitCode {
    callgrind::run(&CEILINGS, async |_, application, requests| {
        callgrind::serve_with(HrPrometheus::default(), application, requests).await;
    })
}
