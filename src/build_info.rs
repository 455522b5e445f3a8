//! The build of the user's crate that is running.

use prometheus_client::{metrics::info::Info, registry::Registry};

/// Registers `build_info`, whose labels say which build is running; its value is always 1.
///
/// | label | value | source |
/// | --- | --- | --- |
/// | `version` | the version of the package that calls the macro | its `Cargo.toml` |
/// | `revision` | the commit | the variable `VERGEN_GIT_SHA`, if it is set when the package is compiled |
/// | `rustc` | the version of the compiler | the variable `VERGEN_RUSTC_SEMVER`, if it is set too |
///
/// Pass it to [`MetricsRegistry::register_with`], once per registry:
///
/// ```
/// use hr_prometheus::{MetricsRegistry, build_info};
///
/// let registry = MetricsRegistry::new();
/// registry.register_with(build_info!());
///
/// let labels = [("version", env!("CARGO_PKG_VERSION"))];
/// assert_eq!(registry.value("build_info", &labels), Some(1.0));
/// ```
///
/// The crate [vergen] sets the two variables from a build script. Without one, set them yourself:
/// `VERGEN_GIT_SHA=$(git rev-parse --short HEAD) cargo build`. Or pass values, and custom labels, to the macro, as a
/// `&str` or an `Option<&str>`. Labels whose value is unknown, `None` or empty are omitted:
///
/// ```
/// use hr_prometheus::{MetricsRegistry, build_info};
///
/// let registry = MetricsRegistry::new();
/// registry.register_with(build_info!(
///     version = "1.4.0",
///     revision = Some("3f2a1bc"),
///     rustc = option_env!("RUSTC_THAT_NOBODY_SET"),
///     features = "tls",
/// ));
///
/// assert_eq!(
///     registry.encode()?.lines().collect::<Vec<_>>(),
///     [
///         "# HELP build The running version, and how it was built.",
///         "# TYPE build info",
///         r#"build_info{version="1.4.0",revision="3f2a1bc",features="tls"} 1"#,
///         "# EOF",
///     ],
/// );
/// # Ok::<(), hr_prometheus::Error>(())
/// ```
///
/// Prometheus exporters prefix it with the name of the application: `shop_build_info`. Use the prefix of the registry, or
/// that of a sub-registry:
///
/// ```
/// use hr_prometheus::{MetricsRegistry, build_info};
///
/// let registry = MetricsRegistry::new();
/// registry.register_with(|registry| build_info!()(registry.sub_registry_with_prefix("shop")));
/// assert_eq!(registry.value("shop_build_info", &[]), Some(1.0));
/// ```
///
/// Join it to other metrics of the same instance to see them by version:
///
/// ```text
/// sum by (version) (rate(request_count_total[5m]) * on (instance) group_left (version) build_info)
/// ```
///
/// [`MetricsRegistry::register_with`]: crate::MetricsRegistry::register_with
/// [vergen]: https://docs.rs/vergen
#[macro_export]
macro_rules! build_info {
    ($($label:ident = $value:expr),* $(,)?) => {
        |registry: &mut $crate::prometheus_client::registry::Registry| {
            $crate::register_build_info(
                registry,
                &[
                    ("version", ::core::option::Option::Some(::core::env!("CARGO_PKG_VERSION"))),
                    ("revision", ::core::option_env!("VERGEN_GIT_SHA")),
                    ("rustc", ::core::option_env!("VERGEN_RUSTC_SEMVER")),
                    $((::core::stringify!($label), ::core::option::Option::<&str>::from($value)),)*
                ],
            );
        }
    };
}

/// Registers `build_info` with `labels`; of two with one name the last counts. Only for the macro.
pub fn register_build_info(registry: &mut Registry, labels: &[(&str, Option<&str>)]) {
    let mut known: Vec<(String, String)> = Vec::new();
    for (name, value) in labels {
        // A raw identifier: `r#type`.
        let name = name.trim_start_matches("r#");
        let value = value.unwrap_or_default();
        match known.iter_mut().find(|(known, _)| known == name) {
            Some(label) => value.clone_into(&mut label.1),
            None => known.push((name.to_owned(), value.to_owned())),
        }
    }
    known.retain(|(_, value)| !value.is_empty());
    registry.register(
        "build",
        "The running version, and how it was built",
        Info::new(known),
    );
}
