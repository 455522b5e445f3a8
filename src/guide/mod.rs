//! Explains how to use this crate, task by task.
//!
//! **Setting up**
//!
//! - [Options](options): every option in tables, and recipes for labels, prefixes and several applications.
//! - [Serving `/metrics`](serving): formats, another path or port, and who may read it.
//! - [Coming from other crates](coming_from): what to write instead, and what changes in the scrape.
//!
//! **Deciding what to record**
//!
//! - [Labels](labels): which ones to choose, what they cost, and custom labels step by step.
//! - [Custom monitors](custom_monitors): when labels are not enough.
//! - [Long-lived responses](long_lived): event streams, WebSockets and other responses without an end.
//!
//! **Running it**
//!
//! - [Queries](queries): PromQL for the questions that people ask.
//! - [Many replicas](replicas): what to sum, what not to average, and what happens at a restart.
//! - [Troubleshooting](troubleshooting): from a symptom to its cause.
//! - [Testing](testing): how to assert metrics in your own tests.
//! - [Upgrading](upgrading): what a new version may change.
//!
//! The Rust code on these pages is compiled and run as tests. CI sends the queries to a real Prometheus.
//!
//! # Examples
//!
//! Complete programs. The first lines of each file have the commands and their output:
//!
//! | example | shows |
//! | --- | --- |
//! | [`quickstart`](https://github.com/hundredrooms/hr-prometheus/blob/main/examples/quickstart.rs) | a server with slow, flaky and streaming routes, metrics of workers and objectives, and the live page |
//! | [`custom_labels`](https://github.com/hundredrooms/hr-prometheus/blob/main/examples/custom_labels.rs) | custom labels without a custom monitor |
//! | [`custom_monitor`](https://github.com/hundredrooms/hr-prometheus/blob/main/examples/custom_monitor.rs) | a custom monitor beside the default one |
//! | [`fixed_parameters`](https://github.com/hundredrooms/hr-prometheus/blob/main/examples/fixed_parameters.rs) | one path parameter kept, the rest collapsed |
//! | [`admin_port`](https://github.com/hundredrooms/hr-prometheus/blob/main/examples/admin_port.rs) | `/metrics` on a separate port, behind a token, stopped last |
//! | [`from_actix_web_prom`](https://github.com/hundredrooms/hr-prometheus/blob/main/examples/from_actix_web_prom.rs) | the names and labels of actix-web-prom, and metrics of the crate `prometheus`; build it with `--features prometheus-0_14` |
//! | [`otel`](https://github.com/hundredrooms/hr-prometheus/blob/main/examples/otel.rs) | OpenTelemetry names, process and scrape metrics; build it with `--features process` |
//! | [`monitoring`](https://github.com/hundredrooms/hr-prometheus/tree/main/examples/monitoring) | one command for three replicas, load and Prometheus; dashboards, alerts with tests and a runbook, consoles, and what scale costs |

#[doc = include_str!("coming_from.md")]
pub mod coming_from {}

#[doc = include_str!("custom_monitors.md")]
pub mod custom_monitors {}

#[doc = include_str!("labels.md")]
pub mod labels {}

#[doc = include_str!("long_lived.md")]
pub mod long_lived {}

#[doc = include_str!("options.md")]
pub mod options {}

#[doc = include_str!("queries.md")]
pub mod queries {}

#[doc = include_str!("replicas.md")]
pub mod replicas {}

#[doc = include_str!("serving.md")]
pub mod serving {}

#[doc = include_str!("testing.md")]
pub mod testing {}

#[doc = include_str!("troubleshooting.md")]
pub mod troubleshooting {}

#[doc = include_str!("upgrading.md")]
pub mod upgrading {}
