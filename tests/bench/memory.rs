//! What a hub weighs when nothing happens: empty, and for each idle connection.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::Server;
use crate::raw_peer::RawPeer;
use crate::relay::Target;
use crate::report::{Figure, Goal};
use crate::sample::as_f64;

const CONNECTIONS: u32 = 1_000;

pub(crate) async fn run(peer: &str) -> Result<Vec<Figure>> {
    let node = {
        let server = Server::start(None, "node", &[peer.to_owned()])?;
        let url: serde_json::Value = serde_json::from_str(&server.ready)?;
        let url = url["url"].as_str().context("the peer printed no url")?.to_owned();
        weigh(&server, &url, &serde_json::json!({ "token": "" })).await.context("node socket.io")?
    };
    let server = crate::hub_server::start(None, 1, 2)?;
    let target: Target = serde_json::from_str(&server.ready)?;
    let pair = target.pairs.first().context("the hub made no session")?;
    let hub = weigh(&server, &target.url, &pair.ide_auth).await.context("hub")?;
    Ok(vec![
        Figure::new("hub, nobody connected", "MiB", hub.empty / 1_048_576.0, 1)
            .against("node socket.io", node.empty / 1_048_576.0)
            .goal(Goal::AtMost(25.0)),
        Figure::new("hub, for each idle IDE", "KiB", hub.each / 1024.0, u64::from(CONNECTIONS))
            .against("node socket.io", node.each / 1024.0)
            .goal(Goal::AtMost(30.0)),
    ])
}

struct Weight {
    empty: f64,
    each: f64,
}

async fn weigh(server: &Server, url: &str, auth: &serde_json::Value) -> Result<Weight> {
    // The first connection fills pools and caches that the others share.
    let first = RawPeer::connect(url, auth).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let empty = as_f64(server.resident()?);
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS {
        idle.push(RawPeer::connect(url, auth).await?);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let full = as_f64(server.resident()?);
    drop((first, idle));
    Ok(Weight { empty, each: (full - empty) / f64::from(CONNECTIONS) })
}
