//! The settings that the server writes into the page: the address of the metrics, and their names.

use std::fmt::Write as _;

use crate::registry::names::{FamilyNames, MonitorNames};

/// The settings of the page, as JSON that is safe in a `<script>`.
pub(super) fn settings(metrics: &str, monitors: &[MonitorNames]) -> String {
    let mut json = String::from("{\"metrics\":");
    push_string(&mut json, metrics);
    json.push_str(",\"monitors\":[");
    push_separated(&mut json, monitors, |json, monitor| {
        json.push('{');
        push_separated(json, &monitor.families, push_family);
        json.push('}');
    });
    json.push_str("]}");
    json
}

fn push_family(json: &mut String, family: &FamilyNames) {
    push_string(json, family.role);
    json.push_str(":{\"name\":");
    push_string(json, &family.name);
    json.push_str(",\"labels\":{");
    push_separated(json, &family.labels, |json, (name, says)| {
        push_string(json, says);
        json.push(':');
        push_string(json, name);
    });
    json.push_str("}}");
}

fn push_separated<T>(json: &mut String, items: &[T], push: impl Fn(&mut String, &T)) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        push(json, item);
    }
}

/// Without the characters that end a `<script>` or begin a comment in it.
fn push_string(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            '<' | '>' | '&' | '\0'..='\u{1f}' => {
                // Writing to a string does not fail.
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            _ => json.push(c),
        }
    }
    json.push('"');
}

/// The reference from the page at `from` to `to`: relative, because a proxy may serve both below a prefix.
pub(super) fn relative(from: &str, to: &str) -> String {
    let common = from.bytes().zip(to.bytes()).take_while(|(a, b)| a == b).count();
    // Both have a slash at their beginning, and what is cut off ends in one.
    let common = from.as_bytes()[..common]
        .iter()
        .rposition(|byte| *byte == b'/')
        .map_or(0, |slash| slash + 1);
    let ups = from[common..].matches('/').count();
    let up = if ups == 0 {
        "./".to_owned()
    } else {
        "../".repeat(ups)
    };
    up + &to[common..]
}

#[cfg(test)]
mod tests {
    use super::{relative, settings};
    use crate::registry::names::{FamilyNames, MonitorNames};

    #[test]
    fn an_address_is_relative_to_the_page() {
        for (from, to, reference) in [
            ("/live", "/metrics", "./metrics"),
            ("/live/", "/metrics", "../metrics"),
            ("/admin/live", "/admin/metrics", "./metrics"),
            ("/admin/live", "/metrics", "../metrics"),
            ("/admin/live/", "/metrics", "../../metrics"),
            ("/live", "/internal/metrics", "./internal/metrics"),
            ("/live", "/livemetrics", "./livemetrics"),
            ("/a/live", "/b/metrics", "../b/metrics"),
            ("/ä/live", "/ö/metrics", "../ö/metrics"),
            ("/live", "/a:b/metrics", "./a:b/metrics"),
        ] {
            assert_eq!(relative(from, to), reference, "{from} {to}");
        }
    }

    #[test]
    fn settings_are_json_that_ends_no_script() {
        let monitors = [MonitorNames {
            families: vec![FamilyNames {
                role: "requests",
                name: "shop_hits".to_owned(),
                labels: vec![("verb".to_owned(), "method"), ("endpoint".to_owned(), "path")],
            }],
        }];
        assert_eq!(
            settings("</script>\\\"\n&", &monitors),
            r#"{"metrics":"\u003c/script\u003e\\\"\u000a\u0026","monitors":[{"requests":{"name":"shop_hits","labels":{"method":"verb","path":"endpoint"}}}]}"#,
        );
        assert_eq!(
            settings("./metrics", &[]),
            r#"{"metrics":"./metrics","monitors":[]}"#
        );
    }
}
