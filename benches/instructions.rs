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
    ("default", 10, Kind::Static, 1_163),
    ("default", 10, Kind::Param, 1_371),
    ("default", 10, Kind::NotFound, 963),
    ("default", 500, Kind::Static, 1_157),
    ("default", 500, Kind::Param, 1_365),
    ("default", 500, Kind::NotFound, 949),
    ("default", 10, Kind::LongStatic, 9_999),
    ("default", 10, Kind::LongParam, 9_999),
    ("default", 10, Kind::LongNotFound, 9_999),
];

fn main() -> ExitCode {
    callgrind::run(&CEILINGS, async |_, application, requests| {
        callgrind::serve_with(HrPrometheus::default(), application, requests).await;
    })
}
