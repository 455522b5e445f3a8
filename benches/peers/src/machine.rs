//! What the figures were measured on, and with which versions.

use std::{fs, process::Command};

use crate::child;

/// The crates whose versions matter, in the order of the tables.
const CRATES: [&str; 10] = [
    "actix-web",
    "hr-prometheus",
    "prometheus-client",
    "actix-web-prom",
    "actix-web-metrics",
    "metrics-exporter-prometheus",
    "actix-web-prometheus",
    "opentelemetry-instrumentation-actix-web",
    "opentelemetry_sdk",
    "opentelemetry-prometheus",
];

pub fn print() {
    let cpu_info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu_info.lines().find(|line| line.starts_with("model name"));
    let cpu = cpu
        .and_then(|line| line.split_once(": "))
        .map_or("unknown", |(_, name)| name);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().expect("the text before a space");
    println!(
        "{}, {cpu}, {} shared cores (load {load} when it began), {}.\n",
        said(Command::new("date").args(["-u", "+%Y-%m-%d"])),
        child::cores(),
        said(Command::new("rustc").arg("--version")),
    );
    let versions = CRATES.map(|name| format!("{name} {}", version(name)));
    println!("{}.\n", versions.join(", "));
}

/// As Cargo.lock has it.
fn version(name: &str) -> &'static str {
    let lock = include_str!("../Cargo.lock");
    let (_, package) = lock
        .split_once(&format!("name = \"{name}\"\nversion = \""))
        .expect("a package of Cargo.lock");
    package.split('"').next().expect("the text before the quote")
}

fn said(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}
