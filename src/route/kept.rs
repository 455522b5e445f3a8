//! Labels with values of path parameters in them.

use std::fmt::Write as _;

use crate::{
    limit::LONGEST_VALUE,
    route::{
        pattern::{Param, Pattern, Piece},
        rules::Rules,
    },
};

/// How many bytes a label with kept values may have. Labels of the application's own routes have no bound.
const LONGEST_LABEL: usize = 1_024;

/// How the labels of one route keep values.
#[derive(Debug)]
pub(crate) struct KeptParams(Vec<KeptPiece>);

#[derive(Debug)]
enum KeptPiece {
    Text(String),
    Param { param: Param, is_kept: bool },
}

impl KeptParams {
    /// `None` if nothing is kept of the route with this pattern and label.
    pub(crate) fn new(pattern: &Pattern, label: &str, rules: &Rules) -> Option<Self> {
        let pieces: Vec<_> = pattern
            .pieces()
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => KeptPiece::Text(text.clone()),
                Piece::Param(param) => KeptPiece::Param {
                    is_kept: rules.keeps(label, &param.name),
                    param: param.clone(),
                },
            })
            .collect();
        let keeps = |piece: &KeptPiece| matches!(piece, KeptPiece::Param { is_kept: true, .. });
        pieces.iter().any(keeps).then_some(Self(pieces))
    }

    /// Writes the label with these values of the parameters, in the order of the path; `false` if none of them can be
    /// kept.
    pub(crate) fn write_label<'a>(
        &self,
        label: &mut String,
        mut values: impl Iterator<Item = &'a str>,
    ) -> bool {
        label.clear();
        let mut keeps = false;
        for piece in &self.0 {
            match piece {
                KeptPiece::Text(text) => label.push_str(text),
                KeptPiece::Param { param, is_kept } => {
                    let Some(value) = values.next() else { return false };
                    if *is_kept && is_short(value) {
                        push_value(label, value);
                        keeps = true;
                    } else {
                        let _ = write!(label, "{param}");
                    }
                }
            }
        }
        // Text without a leading `/` could be mistaken for `unmatched` or `_OTHER`.
        keeps && label.len() <= LONGEST_LABEL && label.starts_with('/')
    }
}

fn is_short(value: &str) -> bool {
    value.len() <= LONGEST_VALUE || value.chars().nth(LONGEST_VALUE).is_none()
}

/// Writes a value as it is decoded, except for braces and control characters, which are written as a
/// client has to write them: percent-encoded.
fn push_value(label: &mut String, value: &str) {
    // Most values; this only saves time.
    if value
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.~ ".contains(&byte))
    {
        return label.push_str(value);
    }
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
