//! The hub's REST interface, as the commands use it.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use url::form_urlencoded;

use crate::access::HubAccess;
use crate::live::chain;

const TIMEOUT: Duration = Duration::from_secs(30);
/// Probing a provider asks a server that may be slow.
const PROBE_TIMEOUT: Duration = Duration::from_mins(2);

pub(crate) struct Api {
    http: reqwest::Client,
    access: HubAccess,
}

/// RFC 9457, as far as it is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
    code: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<T> {
    items: Vec<T>,
    #[serde(default)]
    next_cursor: Option<String>,
}

/// A request without a body.
pub(crate) const NOTHING: Option<&()> = None;

impl Api {
    pub(crate) fn new(access: HubAccess) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(TIMEOUT).build().context("failed to set up HTTP")?;
        Ok(Self { http, access })
    }

    pub(crate) fn access(&self) -> &HubAccess {
        &self.access
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask(Method::GET, path, NOTHING).await
    }

    /// All pages of a list.
    pub(crate) async fn list<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<Vec<T>> {
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("limit", "200");
            if let Some(cursor) = &cursor {
                query.append_pair("cursor", cursor);
            }
            let request = self.request(Method::GET, &format!("{path}?{}", query.finish()))?;
            let page: Page<T> = self.answer(request).await?;
            all.extend(page.items);
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(all),
            }
        }
    }

    pub(crate) async fn ask<T: DeserializeOwned, B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> anyhow::Result<T> {
        let mut request = self.request(method, path)?;
        if let Some(body) = body {
            request = request.json(body);
        }
        self.answer(request).await
    }

    /// As [`Api::ask`], with more patience.
    pub(crate) async fn probe<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.answer(self.request(Method::POST, path)?.timeout(PROBE_TIMEOUT)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<()> {
        self.send(self.request(Method::DELETE, path)?).await.map(drop)
    }

    fn request(&self, method: Method, path: &str) -> anyhow::Result<RequestBuilder> {
        let url = format!("{}/api/v1{path}", self.access.url);
        Ok(self.http.request(method, url).bearer_auth(self.access.token()?))
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> anyhow::Result<T> {
        self.send(request).await?.json().await.context("the hub's answer is not as expected")
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<reqwest::Response> {
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => bail!("no answer from the hub at {}: {}", self.access.url, chain(&error)),
        };
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let problem: Problem = response.json().await.unwrap_or_default();
        bail!("{}", problem.words(status))
    }
}

impl Problem {
    fn words(self, status: StatusCode) -> String {
        let Self { title, detail, code } = self;
        let what = detail.or(title).unwrap_or_else(|| format!("the hub answered {status}"));
        let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
        let advice = match status {
            StatusCode::UNAUTHORIZED => "; sign in again with `gadget login`",
            StatusCode::FORBIDDEN => "; ask an administrator of the hub",
            _ => "",
        };
        format!("{what}{code}{advice}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_in_its_own_words_with_what_to_do() {
        let problem = Problem {
            title: Some("Unauthorized".into()),
            detail: Some("the token has expired".into()),
            code: Some("token_expired".into()),
        };
        assert_eq!(
            problem.words(StatusCode::UNAUTHORIZED),
            "the token has expired (token_expired); sign in again with `gadget login`"
        );
        assert_eq!(Problem::default().words(StatusCode::BAD_GATEWAY), "the hub answered 502 Bad Gateway");
    }
}
