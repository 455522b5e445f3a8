//! HTTP/2, where many requests share a connection.

use std::{net::SocketAddr, time::Duration};

use actix_web::web::Bytes;
use futures_util::future::join_all;
use h2::client::{SendRequest, handshake};
use tokio::{
    net::TcpStream,
    runtime,
    time::{sleep, timeout},
};

use crate::{
    dice::Dice,
    ending::Ending,
    plan::{Act, Ask, Outcome, Plan},
    tally::Ground,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// One client over one round.
pub fn run(ground: &Ground, plan: &mut Plan) {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    while !ground.is_over() {
        let act = plan.next();
        let (address, steady) = ground.place_of(&act);
        let client = Client { ground, steady };
        let error = match runtime.block_on(async { timeout(PATIENCE, client.perform(address, &act)).await }) {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error,
            Err(_) => format!("no end within {PATIENCE:?}"),
        };
        if steady {
            ground
                .tally
                .problem(format!("{:?} over HTTP/2: {error}", act.ending));
        }
    }
}

#[derive(Clone, Copy)]
struct Client<'a> {
    ground: &'a Ground,
    steady: bool,
}

/// A request as h2 takes it, whose type is in a crate that is no dependency of this one.
fn default_request<R: Default, T>(_: fn(&mut SendRequest<Bytes>, R, bool) -> T) -> R {
    R::default()
}

impl Client<'_> {
    async fn perform(self, address: SocketAddr, act: &Act) -> Result<(), String> {
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| error.to_string())?;
        let (client, connection) = handshake(stream).await.map_err(|error| error.to_string())?;
        let connection = tokio::spawn(async {
            // However it ends.
            let _ = connection.await;
        });
        let mut dice = act.dice.clone();
        let streams = act.asks.iter().map(|ask| {
            let dice = Dice(dice.next());
            self.stream(address, client.clone(), ask, dice)
        });
        let streams = join_all(streams);
        if act.ending == Ending::ConnectionLost {
            let _ = timeout(Duration::from_millis(dice.below(20)), streams).await;
            connection.abort();
        } else {
            streams.await;
        }
        drop(client);
        // It ends by itself, once nobody uses it any more.
        let _ = connection.await;
        Ok(())
    }

    /// One request, read to its end or for as long as its ending wants it.
    async fn stream(self, address: SocketAddr, client: SendRequest<Bytes>, ask: &Ask, mut dice: Dice) {
        let leaves = matches!(
            ask.ending,
            Ending::StreamReset | Ending::Events | Ending::CutUpload
        ) || ask.ending == Ending::SlowReader && dice.one_in(2);
        let outcome = self.read(address, client, ask, &mut dice, leaves).await;
        let tally = &self.ground.tally;
        match outcome {
            Some(outcome) if leaves || ask.ending == Ending::ConnectionLost => {
                tally.saw(ask, outcome, self.steady);
            }
            Some(outcome) => tally.saw_the_end(ask, outcome, self.steady),
            None if leaves => {}
            None if self.steady => tally.problem(format!("{:?} over HTTP/2: not sent", ask.ending)),
            None => {}
        }
    }

    /// What was seen of the response; None where it was not sent, or left before there was one.
    async fn read(
        self,
        address: SocketAddr,
        client: SendRequest<Bytes>,
        ask: &Ask,
        dice: &mut Dice,
        leaves: bool,
    ) -> Option<Outcome> {
        let mut request = default_request(SendRequest::<Bytes>::send_request);
        *request.method_mut() = ask.method.parse().ok()?;
        *request.uri_mut() = format!("http://{address}{}", ask.path).parse().ok()?;
        for (name, value) in &ask.headers {
            request.headers_mut().insert(*name, value.parse().ok()?);
        }
        let mut client = client.ready().await.ok()?;
        self.ground.tally.sent(ask.ending);
        let (response, mut upload) = client.send_request(request, ask.body.is_none()).ok()?;
        if let Some(body) = &ask.body {
            let end = if leaves {
                dice.index(body.len())
            } else {
                body.len()
            };
            // What the window does not take waits in h2.
            upload
                .send_data(Bytes::copy_from_slice(&body[..end]), !leaves)
                .ok()?;
        }
        // An application that waits for the rest of a body does not answer.
        if leaves && (ask.body.is_some() || dice.one_in(2)) {
            sleep(Duration::from_micros(dice.below(15_000))).await;
            // The last handles on a stream reset it.
            return None;
        }
        let Ok(response) = response.await else {
            return Some(Outcome::Nothing);
        };
        let status = response.status().as_u16();
        let mut body = response.into_body();
        let mut chunks = dice.below(4);
        while let Some(chunk) = body.data().await {
            let Ok(chunk) = chunk else {
                return Some(Outcome::Cut(status));
            };
            if leaves && chunks == 0 {
                return Some(Outcome::Cut(status));
            }
            chunks = chunks.saturating_sub(1);
            if ask.ending == Ending::SlowReader {
                sleep(Duration::from_millis(1)).await;
            }
            let _ = body.flow_control().release_capacity(chunk.len());
        }
        Some(Outcome::Answered(status))
    }
}
