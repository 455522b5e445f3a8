//! The formats of a scrape: how families are read, checked and written.

pub(crate) mod attached;
pub(crate) mod constant;
pub(crate) mod difference;
pub(crate) mod direct;
pub(crate) mod encoded;
pub(crate) mod exemplar;
pub(crate) mod family;
pub(crate) mod format;
pub(crate) mod line;
pub(crate) mod lint;
pub(crate) mod mark;
#[cfg(feature = "protobuf")]
pub(crate) mod messages;
pub(crate) mod number;
pub(crate) mod own;
#[cfg(feature = "protobuf")]
pub(crate) mod protobuf;
pub(crate) mod reader;
pub(crate) mod rendered;
pub(crate) mod samples;
pub(crate) mod series;
pub(crate) mod text;
