//! `gadget providers`.

use reqwest::Method;
use serde_json::{Value, json};

use super::secret;
use crate::access::HubAccess;
use crate::api::Api;
use crate::args::{AddProviderArgs, ListArgs, ProviderName, ProvidersCommand};
use crate::console::Console;
use crate::table::table;

pub(crate) async fn run(command: ProvidersCommand, console: &mut Console) -> anyhow::Result<()> {
    match command {
        ProvidersCommand::Add(args) => add(args, console).await,
        ProvidersCommand::Ls(args) => list(args, console).await,
        ProvidersCommand::Probe(ProviderName { name, hub, json }) => {
            let api = Api::new(HubAccess::find(&hub)?)?;
            let provider: Value = api.probe(&format!("/providers/{name}/probe")).await?;
            tell(&provider, json, console)
        }
        ProvidersCommand::Enable(name) => switch(name, true, console).await,
        ProvidersCommand::Disable(name) => switch(name, false, console).await,
        ProvidersCommand::Rm(ProviderName { name, hub, json }) => {
            Api::new(HubAccess::find(&hub)?)?.delete(&format!("/providers/{name}")).await?;
            if json {
                return Ok(console.json(&json!({ "name": name, "removed": true }))?);
            }
            Ok(console.line(&format!("{name} is removed"))?)
        }
    }
}

async fn add(args: AddProviderArgs, console: &mut Console) -> anyhow::Result<()> {
    let AddProviderArgs { name, sdk, url, key_env, key_stdin, hub, json } = args;
    let api = Api::new(HubAccess::find(&hub)?)?;
    let mut body = json!({ "name": name, "sdk": sdk, "baseUrl": url });
    if let Some(variable) = key_env {
        body["keyEnv"] = variable.into();
    }
    if key_stdin {
        body["apiKey"] = secret(console, "Key")?.into();
    }
    let _added: Value = api.ask(Method::POST, "/providers", Some(&body)).await?;
    let provider: Value = api.probe(&format!("/providers/{name}/probe")).await?;
    tell(&provider, json, console)
}

async fn switch(name: ProviderName, enabled: bool, console: &mut Console) -> anyhow::Result<()> {
    let ProviderName { name, hub, json } = name;
    let api = Api::new(HubAccess::find(&hub)?)?;
    let body = json!({ "enabled": enabled });
    let provider: Value = api.ask(Method::PATCH, &format!("/providers/{name}"), Some(&body)).await?;
    tell(&provider, json, console)
}

async fn list(args: ListArgs, console: &mut Console) -> anyhow::Result<()> {
    let ListArgs { hub, json } = args;
    let providers: Vec<Value> = Api::new(HubAccess::find(&hub)?)?.list("/providers").await?;
    if json {
        return Ok(providers.iter().try_for_each(|provider| console.json(provider))?);
    }
    let rows: Vec<[String; 5]> = providers.iter().map(row).collect();
    Ok(console.out(&table(console.style, ["NAME", "SDK", "STATUS", "MODELS", "ADDRESS"], &rows))?)
}

fn tell(provider: &Value, json: bool, console: &mut Console) -> anyhow::Result<()> {
    if json {
        return Ok(console.json(provider)?);
    }
    let [name, _sdk, status, models, _address] = row(provider);
    Ok(console.line(&format!("{name}: {status}, {models} models"))?)
}

fn row(provider: &Value) -> [String; 5] {
    let text = |name: &str| provider[name].as_str().unwrap_or("–").to_owned();
    let status = match (provider["enabled"].as_bool(), provider["probeError"].as_str()) {
        (Some(false), _) => "disabled".to_owned(),
        (_, Some(error)) => error.to_owned(),
        _ => "enabled".to_owned(),
    };
    let models = provider["models"].as_array().map_or(0, Vec::len);
    [text("name"), text("sdk"), status, models.to_string(), text("baseUrl")]
}
