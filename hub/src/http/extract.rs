//! What handlers are given: who asks, bodies and queries that are checked, parts of lists.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::Operation;
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Request};
use http::header::AUTHORIZATION;
use http::request::Parts;
use protocol::error::{Code, Refusal};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::app::SharedApp;
use crate::auth::Principal;
use crate::http::problem::Problem;
use crate::socket::guard::Guard;
use crate::store::{Page, PageRequest};

/// Somebody who is signed in.
pub(super) struct Signed(pub(super) Principal);

/// Somebody who is signed in and manages this hub.
pub(super) struct Administrator(pub(super) Principal);

/// A JSON body of at most the configured size.
pub(super) struct JsonBody<T>(pub(super) T);

/// The query of the URL.
pub(super) struct Query<T>(pub(super) T);

/// Where a request comes from, as far as can be known.
pub(super) struct ClientAddress(pub(super) IpAddr);

impl FromRequestParts<SharedApp> for Signed {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &SharedApp) -> Result<Self, Problem> {
        let token = parts
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .ok_or_else(|| {
                Refusal::new(Code::Unauthorized, "sign in first: send the token as `Authorization: Bearer …`")
            })?;
        Ok(Self(app.auth.authenticate(token.trim()).await?))
    }
}

impl FromRequestParts<SharedApp> for Administrator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &SharedApp) -> Result<Self, Problem> {
        let Signed(who) = Signed::from_request_parts(parts, app).await?;
        who.require_admin()?;
        Ok(Self(who))
    }
}

impl<T: DeserializeOwned> FromRequest<SharedApp> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &SharedApp) -> Result<Self, Problem> {
        let most = app.config.limits.rest_body;
        let body = axum::body::to_bytes(request.into_body(), most).await.map_err(|_| {
            Refusal::new(Code::TooLarge, format!("the body broke off or is longer than {most} bytes"))
        })?;
        serde_json::from_slice(&body)
            .map(Self)
            .map_err(|error| Problem::invalid(format!("the body is not what is expected here: {error}")))
    }
}

impl<T: DeserializeOwned> FromRequestParts<SharedApp> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _app: &SharedApp) -> Result<Self, Problem> {
        axum::extract::Query::try_from_uri(&parts.uri).map(|axum::extract::Query(query)| Self(query)).map_err(
            |error| {
                Problem::invalid(format!("the query is not what is expected here: {}", error.body_text()))
            },
        )
    }
}

impl FromRequestParts<SharedApp> for ClientAddress {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &SharedApp) -> Result<Self, Problem> {
        let forwarded = || {
            let chain = parts.headers.get("x-forwarded-for")?.to_str().ok()?;
            // The proxy in front of this hub adds what it saw at the end; what stands before is hearsay.
            chain.rsplit(',').next()?.trim().parse().ok()
        };
        let peer = parts
            .extensions
            .get::<ConnectInfo<Guard>>()
            .map(|ConnectInfo(guard)| guard.peer())
            .or_else(|| parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| *peer))
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
        Ok(Self(app.config.trust_forwarded_for.then(forwarded).flatten().unwrap_or(peer)))
    }
}

impl OperationInput for Signed {}
impl OperationInput for Administrator {}
impl OperationInput for ClientAddress {}

impl<T: JsonSchema> OperationInput for JsonBody<T> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        axum::Json::<T>::operation_input(context, operation);
    }
}

impl<T: JsonSchema> OperationInput for Query<T> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        axum::extract::Query::<T>::operation_input(context, operation);
    }
}

/// Which part of a list.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Paging {
    /// `nextCursor` of the part before; absent: from the start.
    #[serde(default)]
    cursor: Option<String>,
    /// How many, 1 to 200; 50 when absent.
    #[serde(default)]
    limit: Option<u32>,
}

impl Paging {
    pub(super) fn newest_first(self) -> Result<PageRequest, Problem> {
        self.request(true)
    }

    pub(super) fn oldest_first(self) -> Result<PageRequest, Problem> {
        self.request(false)
    }

    fn request(self, newest_first: bool) -> Result<PageRequest, Problem> {
        let limit = self.limit.unwrap_or(50);
        if !(1..=200).contains(&limit) {
            return Err(Problem::invalid("limit: must be 1 to 200"));
        }
        Ok(PageRequest { cursor: self.cursor, limit, newest_first })
    }
}

/// A part of a list.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct List<T> {
    items: Vec<T>,
    /// Hand it in as `cursor` to get what follows; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

impl<T> List<T> {
    pub(super) fn whole(items: Vec<T>) -> Self {
        Self { items, next_cursor: None }
    }

    pub(super) fn of<U>(page: Page<U>, shown: impl FnMut(U) -> T) -> Self {
        let Page { items, next_cursor } = page;
        Self { items: items.into_iter().map(shown).collect(), next_cursor }
    }
}

/// Distinguishes a field that is absent (leave it) from one that is null (clear it).
#[expect(clippy::option_option, reason = "absent, null and a value are three things in a PATCH")]
pub(super) fn present<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}
