//! How requests end.

/// How a request comes to its end, or what is odd about it. Each has paths of its own, by which it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ending {
    Normal,
    Pipelined,
    HalfClose,
    SlowReader,
    SlowWriter,
    Reset,
    Fin,
    StreamReset,
    ConnectionLost,
    CutUpload,
    HandlerError,
    MiddlewareError,
    HandlerPanic,
    MiddlewarePanic,
    BodyPanic,
    /// Panics whose payload panics when it is dropped.
    Bomb,
    /// Dropped by a time-out outside of the middleware.
    Dropped,
    BrokenBody,
    WebSocket,
    Events,
    Garbage,
    Encoded,
    LongPath,
    InventedPath,
    InventedMethod,
    InventedHost,
    /// Labels that a client makes up, some of which cannot be read.
    InventedLabel,
    Excluded,
    /// The program's own: one request to each worker.
    Probe,
    Scrape,
}

impl Ending {
    pub const ALL: [Self; 30] = [
        Self::Normal,
        Self::Pipelined,
        Self::HalfClose,
        Self::SlowReader,
        Self::SlowWriter,
        Self::Reset,
        Self::Fin,
        Self::StreamReset,
        Self::ConnectionLost,
        Self::CutUpload,
        Self::HandlerError,
        Self::MiddlewareError,
        Self::HandlerPanic,
        Self::MiddlewarePanic,
        Self::BodyPanic,
        Self::Bomb,
        Self::Dropped,
        Self::BrokenBody,
        Self::WebSocket,
        Self::Events,
        Self::Garbage,
        Self::Encoded,
        Self::LongPath,
        Self::InventedPath,
        Self::InventedMethod,
        Self::InventedHost,
        Self::InventedLabel,
        Self::Excluded,
        Self::Probe,
        Self::Scrape,
    ];

    /// The first segment of its paths.
    pub fn scope(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Pipelined => "pipelined",
            Self::HalfClose => "half_close",
            Self::SlowReader => "slow_reader",
            Self::SlowWriter => "slow_writer",
            Self::Reset => "reset",
            Self::Fin => "fin",
            Self::StreamReset => "stream_reset",
            Self::ConnectionLost => "connection_lost",
            Self::CutUpload => "cut_upload",
            Self::HandlerError => "handler_error",
            Self::MiddlewareError => "middleware_error",
            Self::HandlerPanic => "handler_panic",
            Self::MiddlewarePanic => "middleware_panic",
            Self::BodyPanic => "body_panic",
            Self::Bomb => "bomb",
            Self::Dropped => "dropped",
            Self::BrokenBody => "broken_body",
            Self::WebSocket => "web_socket",
            Self::Events => "events",
            Self::Garbage => "garbage",
            Self::Encoded => "encoded",
            Self::LongPath => "long_path",
            Self::InventedPath => "unmatched",
            Self::InventedMethod => "invented_method",
            Self::InventedHost => "invented_host",
            Self::InventedLabel => "invented_label",
            Self::Excluded => "excluded",
            Self::Probe => "probe",
            Self::Scrape => "metrics",
        }
    }

    /// The statuses that it may be counted under. Each may be a 499: a server that stops drops what it has.
    pub fn statuses(self) -> &'static [u16] {
        match self {
            Self::Normal
            | Self::HalfClose
            | Self::SlowReader
            | Self::SlowWriter
            | Self::BodyPanic
            | Self::BrokenBody
            | Self::Events
            | Self::Encoded
            | Self::LongPath
            | Self::InventedHost
            | Self::InventedLabel
            | Self::Probe => &[200],
            // A body that does not come to its end is a bad request. One client in four leaves its pipeline early.
            Self::Pipelined
            | Self::Reset
            | Self::Fin
            | Self::StreamReset
            | Self::ConnectionLost
            | Self::CutUpload => &[200, 400],
            Self::HandlerError => &[400, 404, 418, 500, 503],
            Self::MiddlewareError => &[401],
            Self::HandlerPanic | Self::MiddlewarePanic => &[500],
            Self::Bomb => &[200, 500],
            Self::Dropped | Self::Garbage | Self::Excluded => &[],
            Self::WebSocket => &[101],
            Self::InventedPath => &[404],
            Self::InventedMethod => &[405],
            Self::Scrape => &[200, 503],
        }
    }

    /// Whether it goes over HTTP/1, HTTP/2 or both.
    pub fn fits(self, protocol: Protocol) -> bool {
        match self {
            Self::StreamReset | Self::ConnectionLost => protocol == Protocol::Http2,
            Self::Pipelined
            | Self::HalfClose
            | Self::SlowWriter
            | Self::Reset
            | Self::Fin
            | Self::WebSocket
            | Self::Garbage
            | Self::InventedHost => protocol == Protocol::Http1,
            Self::Probe | Self::Scrape => false,
            _ => true,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// The scopes of all endings whose paths the server has.
pub fn scopes() -> impl Iterator<Item = &'static str> {
    let has_scope =
        |ending: &Ending| !matches!(ending, Ending::InventedPath | Ending::Garbage | Ending::Scrape);
    Ending::ALL.into_iter().filter(has_scope).map(Ending::scope)
}
