//! A path parameter that keeps its values in the label: `/cell_neighbour/{cell_id}/direction/north`.
//!
//! By default no values are kept, because each value is a series. `direction` has only a few values, which
//! are worth distinguishing; `cell_id` has many, and stays `{cell_id}`.
//!
//! ```console
//! $ cargo run --example fixed_parameters      # PORT chooses another port than 8080
//! Listening on http://127.0.0.1:8080
//! ```
//!
//! In another terminal:
//!
//! ```console
//! $ curl -s -o /dev/null 'http://127.0.0.1:8080/cell_neighbour/[1-3]/direction/north'
//! $ curl -s http://127.0.0.1:8080/cell_neighbour/1/direction/south
//! The cell south of 1.
//! $ curl -s -o /dev/null -w '%{http_code}\n' http://127.0.0.1:8080/cell_neighbour/1/direction/up
//! 404
//! $ curl -s http://127.0.0.1:8080/metrics | grep request_count_total
//! request_count_total{method="GET",path="/cell_neighbour/{cell_id}/direction/north",status="200"} 3
//! request_count_total{method="GET",path="/cell_neighbour/{cell_id}/direction/south",status="200"} 1
//! request_count_total{method="GET",path="unmatched",status="404"} 1
//! ```
//!
//! Whatever a client writes into a kept parameter becomes a label, so the route accepts only the four directions. The
//! library has a limit too: after 1,000 different paths, or the number in `max_kept_paths`, further ones become `_OTHER`.
use std::{env, io};

use actix_web::{App, HttpServer, Responder, web};
use hr_prometheus::{HrPrometheus, metrics_scope};

/// The label of the route: without the regular expression.
const LABEL: &str = "/cell_neighbour/{cell_id}/direction/{direction}";
const ROUTE: &str = "/cell_neighbour/{cell_id}/direction/{direction:north|east|south|west}";

#[actix_web::main]
async fn main() -> io::Result<()> {
    env_logger::init();
    let port = env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    let port = port
        .parse()
        .map_err(|_| io::Error::other(format!("PORT is `{port}`: set it to a number from 0 to 65535")))?;

    // Built here, where `?` works, and cloned for each worker.
    let metrics = HrPrometheus::default().keep_params(LABEL, "direction").build()?;

    let server = HttpServer::new(move || {
        App::new()
            .service(metrics_scope())
            .route(ROUTE, web::get().to(neighbour))
            .wrap(metrics.clone())
    })
    .bind(("127.0.0.1", port))?;

    for address in server.addrs() {
        println!("Listening on http://{address}");
    }
    server.run().await
}

async fn neighbour(path: web::Path<(u64, String)>) -> impl Responder {
    let (cell, direction) = path.into_inner();
    format!("The cell {direction} of {cell}.\n")
}
