//! `gadget login`.

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::secret;
use crate::access::{SignedIn, sign_in_file, trimmed};
use crate::args::LoginArgs;
use crate::console::Console;
use crate::data_dir::write_private;
use crate::live::chain;

#[derive(Deserialize)]
struct Answer {
    token: String,
}

pub(crate) async fn run(args: LoginArgs, console: &mut Console) -> anyhow::Result<()> {
    let LoginArgs { url, email } = args;
    let url = trimmed(url.as_str());
    let password = secret(console, "Password")?;
    let Answer { token } = ask(&url, "sign-in", &json!({ "email": email, "password": password })).await?;
    let path = sign_in_file().context("this user has no directory for settings: set HOME")?;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let signed_in = serde_json::to_vec(&SignedIn { url: url.clone(), token })?;
    write_private(&path, &signed_in).with_context(|| format!("failed to write {}", path.display()))?;
    Ok(console.line(&format!("signed in to {url} as {email}"))?)
}

/// Asks a hub for a token, by one of its routes for that.
pub(crate) async fn ask<T: DeserializeOwned>(url: &str, route: &str, body: &Value) -> anyhow::Result<T> {
    let request = reqwest::Client::new()
        .post(format!("{url}/api/v1/auth/{route}"))
        .timeout(std::time::Duration::from_secs(30))
        .json(body);
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => bail!("no answer from {url}: {}", chain(&error)),
    };
    let status = response.status();
    if !status.is_success() {
        let problem: Value = response.json().await.unwrap_or_default();
        bail!("{}", problem["detail"].as_str().unwrap_or(&format!("the hub answered {status}")));
    }
    response.json().await.context("this is not a Gadget hub")
}
