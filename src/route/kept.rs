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

    /// The label with these values of the parameters, in the order of the path; `None` if none of them can be kept.
    pub(crate) fn label<'a>(&self, mut values: impl Iterator<Item = &'a str>) -> Option<String> {
        let mut label = String::new();
        let mut keeps = false;
        for piece in &self.0 {
            match piece {
                KeptPiece::Text(text) => label.push_str(text),
                KeptPiece::Param { param, is_kept } => {
                    let value = values.next()?;
                    if *is_kept && value.chars().nth(LONGEST_VALUE).is_none() {
                        push_value(&mut label, value);
                        keeps = true;
                    } else {
                        let _ = write!(label, "{param}");
                    }
                }
            }
        }
        // What does not begin with `/` could be mistaken for a word of ours.
        let is_good =
            keeps && values.next().is_none() && label.len() <= LONGEST_LABEL && label.starts_with('/');
        is_good.then_some(label)
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
