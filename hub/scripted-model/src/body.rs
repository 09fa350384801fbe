//! A plan as an HTTP response that happens as it is read.

use std::time::Duration;
use std::vec;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::engine::Observed;
use crate::plan::{Act, Plan};

/// The connection breaks here, as the script says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the script cuts the connection")]
pub(crate) struct Cut;

/// Carries a plan out up to its status line; the rest happens while the body is read.
pub(crate) async fn perform(plan: Plan, observed: watch::Sender<Observed>) -> Result<Response<Body>, Cut> {
    let Plan { before, status, headers, after } = plan;
    let mut ending = Ending { observed, is_whole: false };
    for act in before {
        match act {
            Act::Pause(time) => pause(time).await,
            Act::Stall => std::future::pending().await,
            Act::Cut => {
                ending.is_whole = true;
                return Err(Cut);
            }
            Act::Send(_) => {}
        }
    }
    let acts = Acts { acts: after.into_iter(), ending };
    let mut response = Response::new(Body::from_stream(stream::unfold(acts, next)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

struct Acts {
    acts: vec::IntoIter<Act>,
    ending: Ending,
}

async fn next(mut state: Acts) -> Option<(Result<Bytes, Cut>, Acts)> {
    loop {
        match state.acts.next() {
            Some(Act::Send(bytes)) => return Some((Ok(bytes), state)),
            Some(Act::Pause(time)) => pause(time).await,
            Some(Act::Stall) => std::future::pending().await,
            Some(Act::Cut) => {
                // The server writes out what it has when there is nothing more to send at once, so the client gets
                // everything up to the break.
                tokio::task::yield_now().await;
                state.ending.is_whole = true;
                state.acts = Vec::new().into_iter();
                return Some((Err(Cut), state));
            }
            None => {
                state.ending.is_whole = true;
                return None;
            }
        }
    }
}

/// A pause of no length still sends what was said before it: the next bytes go by themselves.
async fn pause(time: Duration) {
    if time.is_zero() { tokio::task::yield_now().await } else { sleep(time).await }
}

/// Counts how a response ended, whoever ended it.
struct Ending {
    observed: watch::Sender<Observed>,
    /// It came to its scripted end.
    is_whole: bool,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let is_whole = self.is_whole;
        self.observed.send_modify(|observed| {
            if is_whole {
                observed.finished += 1;
            } else {
                observed.abandoned += 1;
            }
        });
    }
}
