//! Labels with kept values of path parameters, and how many of them there may be.

use std::{collections::HashMap, fmt::Write as _, sync::Arc};

use actix_web::{
    dev::{Path, ResourceDef},
    http::uri::PathAndQuery,
};
use parking_lot::Mutex;

use crate::{
    limit::{LONGEST_VALUE, Limits, OTHER},
    middleware::options::Options,
    route::{Place, captured_as, decoded, matcher, places, text_of_pattern},
};

/// How the requests of one middleware are labelled in one worker: by its options, wherever somebody looks.
#[derive(Debug)]
pub(crate) struct Labelling {
    pub(crate) options: Arc<Options>,
    pub(crate) limits: Arc<Limits>,
    /// The routes by their labels; `None` for those of which nothing is kept.
    kept: Mutex<HashMap<String, Option<Arc<KeptParams>>>>,
}

/// What a request in progress is shown as.
#[derive(Clone, Debug)]
pub(crate) enum Shown {
    As(Arc<str>),
    LeftOut,
}

/// What becomes of a path with kept values.
pub(crate) enum Kept {
    /// It is left out.
    LeftOut,
    /// It is the label of the route with this pattern.
    Route(String),
    /// It is one of those that the cap allows.
    Admitted(Arc<str>),
    OverLimit,
}

impl Labelling {
    pub(crate) fn new(options: Arc<Options>, limits: Arc<Limits>) -> Self {
        Self {
            options,
            limits,
            kept: Mutex::default(),
        }
    }

    /// What is kept of paths that match `pattern`; `None` if it is nothing.
    pub(crate) fn kept_params(&self, pattern: &str) -> Option<Arc<KeptParams>> {
        if !self.options.keeps_params() {
            return None;
        }
        let mut kept = self.kept.lock();
        let params = kept
            .entry(text_of_pattern(pattern))
            .or_insert_with_key(|route| KeptParams::of(route, &self.options).map(Arc::new))
            .clone()?;
        params.learn(pattern);
        Some(params)
    }

    /// Decides on a path with kept values. `find` gives the pattern of the route that a path matches, if any.
    pub(crate) fn admit(&self, path: &str, find: impl FnOnce(&str) -> Option<String>) -> Kept {
        if self.options.excludes_route(path) {
            return Kept::LeftOut;
        }
        if let Some(pattern) = find(path).filter(|pattern| text_of_pattern(pattern) == path) {
            return Kept::Route(pattern);
        }
        let admitted = self.limits.paths.admit(path, self.options.max_kept_paths());
        admitted.map_or(Kept::OverLimit, Kept::Admitted)
    }

    /// What a request in progress is shown as: the label that it is counted under, if the route with the pattern that
    /// `find` gives for its path is the one that serves it. `None` if there is no such route.
    pub(crate) fn shown(&self, path: &PathAndQuery, find: impl Fn(&str) -> Option<String>) -> Option<Shown> {
        let path = decoded(path);
        let pattern = find(path.path())?;
        let route = text_of_pattern(&pattern);
        if self.options.excludes_route(&route) {
            return Some(Shown::LeftOut);
        }
        let kept = self.kept_params(&pattern);
        let Some(kept) = kept.and_then(|kept| kept.label(path.path())) else {
            return Some(Shown::As(route.into()));
        };
        Some(match self.admit(&kept, find) {
            Kept::LeftOut => Shown::LeftOut,
            Kept::Route(_) => Shown::As(kept.into()),
            Kept::Admitted(label) => Shown::As(label),
            Kept::OverLimit => Shown::As(OTHER.into()),
        })
    }

    /// What a request in progress is shown as where no route is known for it.
    pub(crate) fn shown_unmatched(&self) -> Shown {
        if self.options.excludes_unmatched() {
            Shown::LeftOut
        } else {
            Shown::As(Arc::clone(self.options.unmatched()))
        }
    }
}

/// A route with parameters whose values are kept.
#[derive(Debug)]
pub(crate) struct KeptParams {
    /// One for each pattern with this label, by the pattern: they differ in the regular expressions of parameters.
    matchers: Mutex<Vec<(Box<str>, Matcher)>>,
    pieces: Vec<Piece>,
}

#[derive(Debug)]
struct Matcher {
    whole: Option<ResourceDef>,
    /// The same for what is below it, in case that it is a mount; a tail has nothing below.
    mount: Option<ResourceDef>,
}

#[derive(Debug)]
enum Piece {
    Text(String),
    Value {
        /// The name of the parameter in the matchers.
        captured_as: String,
        /// The parameter as a label has it where its value is not kept.
        collapsed: String,
    },
}

impl KeptParams {
    fn of(route: &str, options: &Options) -> Option<Self> {
        let mut pieces = Vec::new();
        let (mut text, mut name) = (String::new(), String::new());
        let mut params = 0;
        for (c, place) in places(route) {
            match place {
                Place::Static => text.push(c),
                Place::Name => name.push(c),
                Place::Regex => {}
                Place::Bracket if c == '{' => name.clear(),
                Place::Bracket => {
                    params += 1;
                    let collapsed = format!("{{{name}}}");
                    if options.keeps(route, &name) {
                        pieces.push(Piece::Text(std::mem::take(&mut text)));
                        pieces.push(Piece::Value {
                            captured_as: captured_as(params),
                            collapsed,
                        });
                    } else {
                        text.push_str(&collapsed);
                    }
                }
            }
        }
        let ends_with_value = matches!(pieces.last(), Some(Piece::Value { .. }));
        if ends_with_value && text == "*" {
            // The mark of a tail whose value is kept.
            if let Some(Piece::Value { collapsed, .. }) = pieces.last_mut() {
                collapsed.push('*');
            }
        } else {
            pieces.push(Piece::Text(text));
        }
        (pieces.len() > 1).then(|| Self {
            matchers: Mutex::default(),
            pieces,
        })
    }

    /// Learns one more pattern that has this label.
    fn learn(&self, pattern: &str) {
        let mut matchers = self.matchers.lock();
        if matchers.iter().any(|(known, _)| **known == *pattern) {
            return;
        }
        let make = |make| matcher(pattern, make);
        let matcher = Matcher {
            whole: make(ResourceDef::new),
            mount: (!pattern.ends_with("}*"))
                .then(|| make(ResourceDef::prefix))
                .flatten(),
        };
        matchers.push((pattern.into(), matcher));
    }

    /// The label of `path`, which is decoded, with its values; `None` if none of them can be kept.
    pub(crate) fn label(&self, path: &str) -> Option<String> {
        let mut info = Path::new(path);
        let matchers = self.matchers.lock();
        let whole = matchers.iter().filter_map(|(_, matcher)| matcher.whole.as_ref());
        let mounts = matchers.iter().filter_map(|(_, matcher)| matcher.mount.as_ref());
        // None if it was matched by a further pattern of a resource that has several, or rewritten by a middleware.
        whole
            .chain(mounts)
            .find(|matcher| matcher.capture_match_info(&mut info))?;
        drop(matchers);

        let mut label = String::with_capacity(path.len());
        let mut keeps = false;
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => label.push_str(text),
                Piece::Value {
                    captured_as,
                    collapsed,
                } => {
                    let value = info.get(captured_as);
                    match value.filter(|value| value.chars().nth(LONGEST_VALUE).is_none()) {
                        Some(value) => {
                            push_value(&mut label, value);
                            keeps = true;
                        }
                        None => label.push_str(collapsed),
                    }
                }
            }
        }
        // What begins otherwise could be mistaken for a word of ours.
        (keeps && label.starts_with('/')).then_some(label)
    }
}

/// Writes a value as it is decoded, but for what would look like a parameter, and control characters: these as a
/// client has to write them, percent-encoded.
fn push_value(label: &mut String, value: &str) {
    for c in value.chars() {
        if matches!(c, '{' | '}') || c.is_control() {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(label, "%{byte:02X}");
            }
        } else {
            label.push(c);
        }
    }
}
