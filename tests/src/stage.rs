//! What most tests need: a model that follows a script, a hub that uses it, and a tab on a session.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use protocol::document::ChatSession;
use scripted_model::script::Script;
use scripted_model::settings::Settings;
use scripted_model::{Pace, ScriptedModel, Server};

use crate::api::Api;
use crate::gadget::{Gadget, Options};
use crate::ide::Ide;

/// A key that must be seen by the model server and by nobody else.
pub const KEY: &str = "sk-nobody-else-may-see-this";

#[derive(Debug)]
pub struct Stage {
    pub model: ScriptedModel,
    pub server: Server,
    pub gadget: Gadget,
    /// As the owner.
    pub api: Api,
}

impl Stage {
    /// Each script answers the prompts that have `[[script:its name]]` in them. `pace`: milliseconds between words.
    pub async fn with_scripts<'a>(
        scripts: impl IntoIterator<Item = (&'a str, Script)>,
        pace: u64,
    ) -> Result<Self> {
        let scripts =
            scripts.into_iter().map(|(name, script)| (name.to_owned(), script)).collect::<BTreeMap<_, _>>();
        let settings = Settings {
            scripts,
            secrets: vec![KEY.to_owned()],
            pace: Pace { piece: pace, seed: 1 },
            ..Settings::default()
        };
        let model = ScriptedModel::new(settings);
        let server = model.serve_here().await?;
        let options = Options::openai(&format!("{}/v1", server.url()), KEY);
        let gadget = Gadget::start(options).await?;
        let api = Api::new(&gadget)?;
        Ok(Self { model, server, gadget, api })
    }

    /// One script for every prompt.
    pub async fn with_script(script: Script) -> Result<Self> {
        Self::with_scripts([("default", script)], 0).await
    }

    /// A tab of its own on a session of its own.
    pub async fn open(&self, name: &str, git_url: Option<&str>) -> Result<(Ide, ChatSession)> {
        self.open_as(&self.api, name, git_url).await
    }

    /// The same for whoever signs in with `api`.
    pub async fn open_as(&self, api: &Api, name: &str, git_url: Option<&str>) -> Result<(Ide, ChatSession)> {
        let project = api.create_project(name, git_url).await?;
        let session = api.create_session(&project).await?;
        let ide = Ide::connect_with(&self.gadget, api.token(), name).await?;
        ide.open(&project, &session).await?;
        Ok((ide, session))
    }

    /// The model was asked as it should be: each call with one result, nothing rewritten, no secret.
    pub fn well_asked(&self) -> Result<()> {
        let violations = self.model.violations();
        ensure!(violations.is_empty(), "the model was asked in a wrong way: {violations:#?}");
        Ok(())
    }
}
