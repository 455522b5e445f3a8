//! A route pattern, parsed: text, parameters, and the label that is made of them.

use std::fmt;

/// A pattern as actix-web has it: `/users/{id:\d+}/{tail}*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    pieces: Vec<Piece>,
    /// Whether the last parameter is closed by a bracket.
    is_closed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Also an empty one, before a parameter.
    Text(String),
    Param(Param),
}

/// A parameter; actix-web calls it a dynamic segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Param {
    pub(crate) name: String,
    /// Whether it has a custom regular expression.
    pub(crate) has_regex: bool,
    /// Whether it is a tail, `{name}*`, which takes the rest of the path.
    pub(crate) is_tail: bool,
}

impl fmt::Display for Param {
    /// Writes the parameter as labels have it: without its regular expression.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tail = if self.is_tail { "*" } else { "" };
        write!(f, "{{{}}}{tail}", self.name)
    }
}

impl Pattern {
    pub(crate) fn parse(pattern: &str) -> Self {
        let mut pieces = Vec::new();
        let mut rest = pattern;
        let mut is_closed = true;
        while let Some(open) = rest.find('{') {
            pieces.push(Piece::Text(rest[..open].to_owned()));
            let inside = &rest[open + 1..];
            let end = closing_bracket(inside);
            is_closed = end.is_some();
            let end = end.unwrap_or(inside.len());
            let (name, regex) = match inside[..end].split_once(':') {
                Some((name, regex)) => (name, Some(regex)),
                None => (&inside[..end], None),
            };
            rest = inside.get(end + 1..).unwrap_or_default();
            let is_tail = rest == "*";
            if is_tail {
                rest = "";
            }
            pieces.push(Piece::Param(Param {
                name: name.to_owned(),
                has_regex: regex.is_some(),
                is_tail,
            }));
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Self { pieces, is_closed }
    }

    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    pub(crate) fn params(&self) -> impl Iterator<Item = &Param> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Param(param) => Some(param),
            Piece::Text(_) => None,
        })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// The label of the route: the pattern without the regular expressions of its parameters, `/` for a service mounted
    /// at the root.
    pub(crate) fn label(&self) -> String {
        if self.pieces.is_empty() {
            return "/".to_owned();
        }
        self.pieces.iter().map(Piece::to_string).collect()
    }
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Param(param) => param.fmt(f),
        }
    }
}

/// Where the bracket closes that was opened before `text`; regular expressions have brackets too.
fn closing_bracket(text: &str) -> Option<usize> {
    let mut depth = 1_usize;
    text.char_indices().find_map(|(at, c)| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        (depth == 0).then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use actix_web::dev::ResourceDef;
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::Pattern;

    #[test]
    fn a_label_has_no_regular_expressions() {
        for (pattern, label) in [
            ("", "/"),
            ("/a", "/a"),
            (r"/users/{id:\d{3}}/{name}", "/users/{id}/{name}"),
            ("/files/{tail:.*}", "/files/{tail}"),
            ("/files/{tail}*", "/files/{tail}*"),
            ("/a:b/{id:[^:]+}:c", "/a:b/{id}:c"),
            ("/{a}*b", "/{a}*b"),
        ] {
            assert_eq!(Pattern::parse(pattern).label(), label);
        }
    }

    #[test]
    fn a_parameter_may_be_left_open() {
        for (pattern, is_closed) in [
            ("/{a}", true),
            ("/{a", false),
            ("/{", false),
            (r"/{a:\d{2}", false),
        ] {
            assert_eq!(Pattern::parse(pattern).is_closed(), is_closed, "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_a_label_that_stays_the_same(
            pieces in vec(select(&["{", "}", ":", "*", "/", "a", r"\d", "{2}", "é", ".", "{b}", "{c:[^}]}"][..]), 0..12),
        ) {
            let pattern = Pattern::parse(&pieces.concat());
            // actix-web takes no other.
            if !pattern.is_closed() || pattern.params().any(|param| param.name.contains('{')) {
                return Ok(());
            }
            let label = pattern.label();
            prop_assert!(!label.is_empty());
            prop_assert_eq!(Pattern::parse(&label).label(), &*label);
        }

        /// Each parameter has a distinct name, as actix-web demands.
        #[test]
        fn the_parameters_are_those_that_actix_web_finds(
            pieces in vec((select(&["/", "/a", "/é-", ".", ":x"][..]), select(&["", "{}", r"{:\d+}", "{:[a-f]{1,2}}", "{:x{2}y{3}}"][..])), 1..8),
            is_tail: bool,
        ) {
            let mut pattern = String::from("/");
            let mut label = String::from("/");
            for (index, (text, param)) in pieces.iter().enumerate() {
                pattern.push_str(text);
                label.push_str(text);
                if !param.is_empty() {
                    pattern.push_str(&param.replacen('{', &format!("{{p{index}"), 1));
                    write!(label, "{{p{index}}}").unwrap();
                }
            }
            if is_tail {
                pattern.push_str("/{tail}*");
                label.push_str("/{tail}*");
            }
            let parsed = Pattern::parse(&pattern);
            prop_assert!(parsed.is_closed());
            prop_assert_eq!(parsed.label(), &*label);
            // It accepts a path that is made of the label by putting a value in for each parameter.
            let params: Vec<_> = parsed.params().map(|param| param.name.clone()).collect();
            let mut path = label.trim_end_matches('*').to_owned();
            for (index, (_, param)) in pieces.iter().enumerate() {
                let value = match *param { "{:[a-f]{1,2}}" => "a", "{:x{2}y{3}}" => "xxyyy", _ => "7" };
                path = path.replace(&format!("{{p{index}}}"), value);
            }
            let path = path.replace("{tail}", "any/thing");
            let mut info = actix_web::dev::Path::new(&*path);
            prop_assert!(ResourceDef::new(&*pattern).capture_match_info(&mut info), "{pattern} {path}");
            let found: Vec<_> = info.iter().map(|(name, _)| name.to_owned()).collect();
            prop_assert_eq!(params, found);
        }
    }
}
