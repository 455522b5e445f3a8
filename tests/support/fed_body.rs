//! A response body that the test feeds.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use actix_web::web::Bytes;
use futures_util::stream::{self, Stream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What the test sends becomes a chunk, and the body ends when the sender is dropped.
#[derive(Clone)]
pub struct FedBody(Arc<Mutex<UnboundedReceiver<Bytes>>>);

pub fn fed_body() -> (UnboundedSender<Bytes>, FedBody) {
    let (sender, receiver) = unbounded_channel();
    (sender, FedBody(Arc::new(Mutex::new(receiver))))
}

impl FedBody {
    pub fn stream(&self) -> impl Stream<Item = Result<Bytes, Infallible>> + use<> {
        let Self(receiver) = self.clone();
        stream::poll_fn(move |cx| {
            let mut receiver = receiver.lock().expect("a test that did not panic");
            receiver.poll_recv(cx).map(|chunk| chunk.map(Ok))
        })
    }
}
