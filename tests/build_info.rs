//! `build_info!` says what is running, and nothing that it does not know.

use hr_prometheus::{MetricsRegistry, build_info, prometheus_client::registry::Registry};

/// The sample of `build_info`, which must be the only one.
#[track_caller]
fn sample(registry: &MetricsRegistry) -> String {
    let scrape = registry.encode().expect("a scrape");
    let mut samples = scrape.lines().filter(|line| !line.starts_with('#'));
    let sample = samples.next().expect("a sample").to_owned();
    assert_eq!(samples.next(), None, "{scrape}");
    sample
}

#[test]
fn the_version_is_that_of_the_package_which_calls_it() {
    let registry = MetricsRegistry::new();
    registry.register_with(build_info!(revision = "", rustc = ""));

    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        sample(&registry),
        format!(r#"build_info{{version="{version}"}} 1"#)
    );
}

#[test]
fn what_is_given_takes_the_place_of_what_was_found() {
    let registry = MetricsRegistry::new();
    registry.register_with(build_info!(
        rustc = "1.95.0",
        revision = Some("3f2a1bc"),
        version = "2.0.0"
    ));

    assert_eq!(
        sample(&registry),
        r#"build_info{version="2.0.0",revision="3f2a1bc",rustc="1.95.0"} 1"#,
    );
}

#[test]
fn values_that_are_not_known_are_omitted() {
    let registry = MetricsRegistry::new();
    registry.register_with(build_info!(
        version = "2.0.0",
        revision = None,
        rustc = "",
        branch = None
    ));

    assert_eq!(sample(&registry), r#"build_info{version="2.0.0"} 1"#);
}

#[test]
fn custom_labels_are_added_even_under_the_name_of_a_keyword() {
    let registry = MetricsRegistry::new();
    let branch = String::from("main");
    registry.register_with(build_info!(
        version = "2.0.0",
        revision = None,
        rustc = None,
        branch = branch.as_str(),
        r#type = "release",
    ));

    assert_eq!(
        sample(&registry),
        r#"build_info{version="2.0.0",branch="main",type="release"} 1"#,
    );
}

#[test]
fn the_prefix_and_the_labels_of_the_registry_hold_for_it() {
    let labels = [("region".into(), "eu".into())];
    let registry = MetricsRegistry::from(Registry::with_prefix_and_labels("shop", labels.into_iter()));
    registry.register_with(build_info!(version = "2.0.0", revision = None, rustc = None));

    assert_eq!(
        sample(&registry),
        r#"shop_build_info{region="eu",version="2.0.0"} 1"#,
    );
}
