//! Which route a path matches, in most cases without a regular expression: actix-web matches every parameter by one.

use crate::route::pattern::{Pattern, Piece};

/// The patterns of a resource or a prefix.
#[derive(Debug)]
pub(super) struct QuickPatterns {
    all: Vec<QuickPattern>,
    is_prefix: bool,
}

#[derive(Debug)]
struct QuickPattern {
    /// What every path begins with that it matches.
    beginning: Box<str>,
    /// `None` if only a regular expression can tell.
    steps: Option<Vec<Step>>,
}

/// A part of a pattern, which takes its part of a path and no other.
#[derive(Debug)]
enum Step {
    Text(Box<str>),
    /// A parameter: up to the next slash, and something.
    Segment,
    /// All that is left.
    Tail,
}

/// What a look at a path says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guess {
    No,
    /// It matches, and takes so many bytes of the path.
    Yes(usize),
    Unclear,
}

impl QuickPatterns {
    pub(super) fn new(patterns: &[String], is_prefix: bool) -> Self {
        Self {
            all: patterns
                .iter()
                .map(|pattern| QuickPattern::new(pattern, is_prefix))
                .collect(),
            is_prefix,
        }
    }

    /// Whether one of the patterns matches the path: the first that does, as in actix-web.
    #[inline]
    pub(super) fn guess(&self, path: &str) -> Guess {
        let mut guess = Guess::No;
        for pattern in self.all.iter().filter(|pattern| pattern.may_begin(path)) {
            let Some(steps) = &pattern.steps else {
                guess = Guess::Unclear;
                continue;
            };
            match self.taken(steps, path.as_bytes()) {
                Some(taken) if guess == Guess::No => return Guess::Yes(taken),
                Some(_) => return guess,
                None => {}
            }
        }
        guess
    }

    #[inline(never)]
    fn taken(&self, steps: &[Step], path: &[u8]) -> Option<usize> {
        let mut rest = path;
        for step in steps {
            match step {
                Step::Text(text) => rest = rest.strip_prefix(text.as_bytes())?,
                Step::Segment => {
                    let end = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
                    if end == 0 {
                        return None;
                    }
                    rest = &rest[end..];
                }
                Step::Tail => rest = &[],
            }
        }
        let is_whole = rest.is_empty() || (self.is_prefix && rest[0] == b'/');
        is_whole.then_some(path.len() - rest.len())
    }
}

impl QuickPattern {
    /// Whether a path begins as the pattern does: told by the last eight bytes of that, in which most patterns differ.
    #[inline]
    fn may_begin(&self, path: &str) -> bool {
        let (path, beginning) = (path.as_bytes(), self.beginning.as_bytes());
        let Some(last) = beginning.last_chunk::<8>() else {
            return path.starts_with(beginning);
        };
        let end = path.get(..beginning.len());
        end.and_then(|end| end.last_chunk()) == Some(last)
    }

    fn new(text: &str, is_prefix: bool) -> Self {
        let beginning = text.split('{').next().unwrap_or_default();
        // actix-web ignores the text before a tail without a name.
        let is_text = !beginning.contains('*');
        Self {
            beginning: if is_text { beginning.into() } else { "".into() },
            steps: steps(text, is_prefix),
        }
    }
}

fn steps(text: &str, is_prefix: bool) -> Option<Vec<Step>> {
    let pattern = Pattern::parse(text);
    // A prefix treats a slash at its end in a special way.
    if !pattern.is_closed() || (is_prefix && (text.is_empty() || text.ends_with(['/', '*']))) {
        return None;
    }
    let mut pieces = pattern.pieces().iter().peekable();
    let mut steps = Vec::new();
    while let Some(piece) = pieces.next() {
        steps.push(match piece {
            Piece::Text(text) if !text.ends_with('*') => Step::Text(text.as_str().into()),
            Piece::Param(param) if param.is_tail && !param.has_regex => Step::Tail,
            // The next part must begin where it ends, which is at a slash.
            Piece::Param(param) if !param.has_regex => match pieces.peek() {
                Some(Piece::Text(text)) if text.starts_with('/') => Step::Segment,
                None => Step::Segment,
                Some(_) => return None,
            },
            _ => return None,
        });
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use actix_web::dev::ResourceDef;

    use super::{Guess, QuickPatterns};

    const PATTERNS: [&[&str]; 22] = [
        &[""],
        &["/"],
        &["/a"],
        &["/a/"],
        &["/a/b"],
        &["/é"],
        &["/{x}"],
        &["/a/{x}"],
        &["/a/{x}/"],
        &["/a/{x}/b"],
        &["/a/{x}/{y}"],
        &["/a{x}"],
        &["/{x}.b"],
        &["/{x}{y}"],
        &["/{x}-{y}"],
        &[r"/{x:\d+}"],
        &[r"/a/{x:\d+}/b"],
        &["/a/{tail}*"],
        &["/a*"],
        &["/a/*"],
        &["/a", "/b/{x}", "/a/{x}"],
        &[r"/b/{x:\d+}", "/b/{x}"],
    ];

    const PATHS: [&str; 26] = [
        "", "/", "//", "/a", "/a/", "/a//", "/ab", "/a/b", "/a/b/", "/a/b/b", "/a//b", "/a/1/b", "/a/1/b/c",
        "/a/b/c", "/a/b/c/", "/é", "/é/", "/1", "/12", "/1/2", "/1.b", "/1-2", "/b/1", "/b/x", "/b", "a",
    ];

    #[test]
    fn what_is_clear_is_what_actix_web_finds() {
        let mut clear = 0;
        for patterns in PATTERNS {
            let patterns: Vec<_> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
            for is_prefix in [false, true] {
                // A tail in a prefix has no meaning, which actix-web says by a panic.
                if is_prefix && patterns.iter().any(|pattern| pattern.contains("}*")) {
                    continue;
                }
                let quick = QuickPatterns::new(&patterns, is_prefix);
                let exact = if is_prefix {
                    ResourceDef::prefix
                } else {
                    ResourceDef::new
                };
                let exact = exact(patterns.clone());
                for path in PATHS {
                    let found = exact.find_match(path).map_or(Guess::No, Guess::Yes);
                    match quick.guess(path) {
                        Guess::Unclear => {}
                        guess => {
                            assert_eq!(guess, found, "{patterns:?}, a prefix: {is_prefix}, {path:?}");
                            clear += 1;
                        }
                    }
                }
            }
        }
        assert!(clear > 700, "{clear}");
    }

    #[test]
    fn segments_and_tails_are_clear() {
        let guess = |pattern: &str, path| QuickPatterns::new(&[pattern.to_owned()], false).guess(path);
        assert_eq!(guess("/users/{id}", "/users/17"), Guess::Yes(9));
        assert_eq!(
            guess("/users/{id}/posts/{post}", "/users/17/posts/1"),
            Guess::Yes(17)
        );
        assert_eq!(guess("/files/{tail}*", "/files/a/b"), Guess::Yes(10));
        assert_eq!(guess(r"/users/{id:\d+}", "/users/17"), Guess::Unclear);
        assert_eq!(guess(r"/users/{id:\d+}", "/user/17"), Guess::No);
    }
}
