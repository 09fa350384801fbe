//! A drone that asks to be let in, and goes away again.

use std::time::Duration;

use anyhow::Result;
use client::{Config, Incoming};
use serde_json::json;

use crate::deadline::within;

/// `Ok`: let in. Else what the hub says.
pub async fn knock(hub: &str, drone: &str, token: &str) -> Result<Result<(), String>> {
    let payload = json!({ "registrationId": drone, "token": token });
    let config = Config::new(hub)?;
    let (client, mut incoming) = client::connect(config, move |_| std::future::ready(Ok(payload.clone())))?;
    let told = within("an answer to a drone's CONNECT", async {
        loop {
            match incoming.recv().await {
                Some(Incoming::Connected(_)) => return Ok(()),
                Some(Incoming::Fatal(fatal)) => return Err(format!("{fatal:?}")),
                Some(_) => {}
                None => return Err("the client ended".to_owned()),
            }
        }
    })
    .await?;
    let _closed = tokio::time::timeout(Duration::from_secs(5), client.close()).await;
    Ok(told)
}
