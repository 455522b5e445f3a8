//! Parses the `Debug` output of actix-web's `ResourceMap`.
//!
//! ```text
//! ResourceMap { pattern: ResourceDef { …, patterns: Single("/a"), is_prefix: false, … }, …, nodes: None }
//! ```

/// The patterns of a route table, from its `Debug` text.
pub(crate) struct DebugText<'a> {
    rest: &'a str,
}

/// A scope, a resource or a mount.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ShownNode {
    /// Several where a resource has several; without those of the scopes around it.
    pub(crate) patterns: Vec<String>,
    pub(crate) is_prefix: bool,
    /// `None` for a resource and for a mount.
    pub(crate) children: Option<Vec<ShownNode>>,
}

impl<'a> DebugText<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// The next node; `None` if the text has another form.
    pub(crate) fn node(&mut self) -> Option<ShownNode> {
        self.expect("ResourceMap { pattern: ResourceDef { ")?;
        self.skip_to_field("patterns")?;
        let patterns = self.patterns()?;
        self.skip_to_field("is_prefix")?;
        let is_prefix = self.expect("true").is_some();
        if !is_prefix {
            self.expect("false")?;
        }
        self.skip_to_end()?;
        self.skip_to_field("nodes")?;
        let children = if self.expect("None").is_some() {
            None
        } else {
            self.expect("Some([")?;
            let children = self.list(Self::node)?;
            self.expect(")")?;
            Some(children)
        };
        self.skip_to_end()?;
        Some(ShownNode {
            patterns,
            is_prefix,
            children,
        })
    }

    fn patterns(&mut self) -> Option<Vec<String>> {
        let patterns = if self.expect("Single(").is_some() {
            vec![self.string()?]
        } else {
            self.expect("List([")?;
            self.list(Self::string)?
        };
        self.expect(")")?;
        Some(patterns)
    }

    /// The items of a list whose opening bracket has been read.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut items = Vec::new();
        while self.expect("]").is_none() {
            items.push(item(self)?);
            let _ = self.expect(", ");
        }
        Some(items)
    }

    fn expect(&mut self, text: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(text)?;
        Some(())
    }

    /// Skips fields of the structure that is read until the value of the one called `name`.
    fn skip_to_field(&mut self, name: &str) -> Option<()> {
        loop {
            let _ = self.expect(", ");
            let (field, rest) = self.rest.split_once(": ")?;
            self.rest = rest;
            if field == name {
                return Some(());
            }
            self.skip_value()?;
        }
    }

    /// Skips what is left of the structure that is read.
    fn skip_to_end(&mut self) -> Option<()> {
        while self.expect(" }").is_none() {
            self.expect(", ")?;
            self.skip_value()?;
        }
        Some(())
    }

    /// Skips to the end of a value: a comma or a closing bracket that is not within it.
    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            let next = self.rest.find(['"', '{', '[', '(', '}', ']', ')', ','])?;
            let (before, found) = (&self.rest[..next], &self.rest[next..]);
            match found.as_bytes().first()? {
                b'"' => {
                    self.rest = found;
                    self.string()?;
                    continue;
                }
                b'{' | b'[' | b'(' => depth += 1,
                b',' if depth == 0 => {
                    self.rest = found;
                    return Some(());
                }
                b',' => {}
                _ if depth == 0 => {
                    // The blank before a closing brace belongs to the brace.
                    let blank = usize::from(before.ends_with(' '));
                    self.rest = &self.rest[next - blank..];
                    return Some(());
                }
                _ => depth -= 1,
            }
            self.rest = &found[1..];
        }
    }

    /// A string, unescaped.
    fn string(&mut self) -> Option<String> {
        self.expect("\"")?;
        let mut text = String::new();
        let mut chars = self.rest.char_indices();
        loop {
            match chars.next()?.1 {
                '"' => break,
                '\\' => text.push(match chars.next()?.1 {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    '0' => '\0',
                    'u' => {
                        let code: String = chars
                            .by_ref()
                            .map(|(_, c)| c)
                            .skip(1)
                            .take_while(|&c| c != '}')
                            .collect();
                        char::from_u32(u32::from_str_radix(&code, 16).ok()?)?
                    }
                    other => other,
                }),
                other => text.push(other),
            }
        }
        self.rest = chars.as_str();
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::DebugText;

    #[test]
    fn a_text_in_another_form_is_refused() {
        for text in [
            "",
            "ResourceMap",
            "ResourceMap { pattern: ResourceDef { ",
            "ResourceMap { pattern: ResourceDef { id: 0, patterns: One(\"\") } }",
            "ResourceMap { pattern: ResourceDef { patterns: Single(\"), is_prefix: true }, nodes: None }",
            "ResourceMap { pattern: ResourceDef { patterns: Single(\"\"), is_prefix: maybe }, nodes: None }",
            "ResourceMap { pattern: ResourceDef { patterns: Single(\"\"), is_prefix: true }, nodes: Some([)] }",
            "ResourceMap { pattern: ResourceDef { patterns: Single(\"\"), is_prefix: true }, children: None }",
            "ResourceMap { pattern: ResourceDef { patterns: Single(\"\\u{zz}\"), is_prefix: true }, nodes: None }",
        ] {
            assert_eq!(DebugText::new(text).node(), None, "{text}");
        }
    }

    #[test]
    fn what_is_escaped_is_read() {
        let patterns = "a \" \\ \n \u{7} é {".to_owned();
        let text = format!(
            "ResourceMap {{ pattern: ResourceDef {{ patterns: Single({patterns:?}), is_prefix: false }}, nodes: None }}"
        );
        let node = DebugText::new(&text).node().expect("a node");
        assert_eq!(
            (node.patterns, node.is_prefix, node.children),
            (vec![patterns], false, None)
        );
    }

    proptest! {
        #[test]
        fn any_pattern_is_read_as_it_was(patterns in vec(any::<String>(), 1..4), is_prefix: bool) {
            let text = format!(
                "ResourceMap {{ pattern: ResourceDef {{ name: {:?}, patterns: List({patterns:?}), is_prefix: {is_prefix} }}, nodes: None }}",
                patterns.last(),
            );
            let node = DebugText::new(&text).node();
            prop_assert_eq!(node.map(|node| (node.patterns, node.is_prefix)), Some((patterns, is_prefix)));
        }

        #[test]
        fn a_text_in_any_other_form_ends_the_reader(
            pieces in vec(select(&["ResourceMap { pattern: ResourceDef { ", "patterns: ", "Single(", "List([", "\"", "\\", "\\u{", "}", "é", "]", ")", ", ", "is_prefix: ", "true", " }", "nodes: ", "None", "Some(["][..]), 0..20),
        ) {
            let text = format!("ResourceMap {{ pattern: ResourceDef {{ {}", pieces.concat());
            let _ = DebugText::new(&text).node();
        }
    }
}
