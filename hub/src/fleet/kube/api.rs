//! Calls of the API server: each with a time-out, each failure counted. Decides nothing.

use std::time::Duration;

use crds::{ChatSession, DroneRegistration, names};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde_json::Value;

use super::metrics::FleetMetrics;

const LIMIT: Duration = Duration::from_secs(10);
/// A drone that connects waits for it, and the CONNECT has a limit of its own.
const REVIEW_LIMIT: Duration = Duration::from_secs(5);

/// The API server did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// In the server's own words, which are for people.
    #[error("the API server refused to {call}: {message}")]
    Refused { call: &'static str, code: u16, message: String },
    #[error("failed to {call}: the API server cannot be reached")]
    Unreachable {
        call: &'static str,
        #[source]
        source: kube::Error,
    },
    #[error("failed to {call}: the API server did not answer in time")]
    TimedOut { call: &'static str },
}

#[derive(Clone)]
pub(super) struct KubeApi {
    sessions: Api<ChatSession>,
    drones: Api<DroneRegistration>,
    reviews: Api<TokenReview>,
    metrics: FleetMetrics,
}

impl KubeApi {
    pub(super) fn new(client: &Client, namespace: &str, metrics: FleetMetrics) -> Self {
        Self {
            sessions: Api::namespaced(client.clone(), namespace),
            drones: Api::namespaced(client.clone(), namespace),
            reviews: Api::all(client.clone()),
            metrics,
        }
    }

    /// The one that is there when the name is taken.
    pub(super) async fn create_session(&self, session: &ChatSession) -> Result<ChatSession, ApiError> {
        let call = "make a chat session's resource";
        let made = self.call(call, LIMIT, self.sessions.create(&PostParams::default(), session)).await;
        match made {
            Err(error) if error.code() == Some(409) => {
                let name = session.metadata.name.as_deref().unwrap_or_default();
                self.call("read a chat session's resource", LIMIT, self.sessions.get(name)).await
            }
            made => made,
        }
    }

    /// The one that is there when the name is taken.
    pub(super) async fn create_drone(
        &self,
        drone: &DroneRegistration,
    ) -> Result<DroneRegistration, ApiError> {
        let call = "make a drone's resource";
        let made = self.call(call, LIMIT, self.drones.create(&PostParams::default(), drone)).await;
        match made {
            Err(error) if error.code() == Some(409) => {
                let name = drone.metadata.name.as_deref().unwrap_or_default();
                self.call("read a drone's resource", LIMIT, self.drones.get(name)).await
            }
            made => made,
        }
    }

    /// `None`: there is no such session.
    pub(super) async fn patch_session(
        &self,
        name: &str,
        patch: &Value,
    ) -> Result<Option<ChatSession>, ApiError> {
        let (patch, params) = (Patch::Merge(patch), PatchParams::default());
        let patched = self.sessions.patch(name, &params, &patch);
        found(self.call("change a chat session's resource", LIMIT, patched).await)
    }

    /// `None`: there is no such drone.
    pub(super) async fn patch_drone(
        &self,
        name: &str,
        patch: &Value,
    ) -> Result<Option<DroneRegistration>, ApiError> {
        let patch = Patch::Merge(patch);
        let params = PatchParams::default();
        let patched = self.drones.patch(name, &params, &patch);
        found(self.call("change a drone's resource", LIMIT, patched).await)
    }

    pub(super) async fn patch_session_status(
        &self,
        name: &str,
        patch: &Value,
    ) -> Result<Option<ChatSession>, ApiError> {
        let patch = Patch::Merge(patch);
        let params = PatchParams::default();
        let patched = self.sessions.patch_status(name, &params, &patch);
        found(self.call("write a chat session's status", LIMIT, patched).await)
    }

    pub(super) async fn patch_drone_status(
        &self,
        name: &str,
        patch: &Value,
    ) -> Result<Option<DroneRegistration>, ApiError> {
        let patch = Patch::Merge(patch);
        let params = PatchParams::default();
        let patched = self.drones.patch_status(name, &params, &patch);
        found(self.call("write a drone's status", LIMIT, patched).await)
    }

    /// Deletes the object that had this uid; another one of the same name stays.
    pub(super) async fn delete_session(&self, name: &str, uid: &str) -> Result<(), ApiError> {
        let only_this = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let params = DeleteParams { preconditions: Some(only_this), ..DeleteParams::default() };
        let deleted = self.sessions.delete(name, &params);
        match self.call("delete a chat session's resource", LIMIT, deleted).await {
            Err(error) if !matches!(error.code(), Some(404 | 409)) => Err(error),
            Err(_) | Ok(_) => Ok(()),
        }
    }

    pub(super) async fn delete_drone(&self, name: &str) -> Result<(), ApiError> {
        let params = DeleteParams::default();
        let deleted = self.drones.delete(name, &params);
        found(self.call("delete a drone's resource", LIMIT, deleted).await).map(drop)
    }

    /// Whose token it is, if anybody's.
    pub(super) async fn review(&self, token: &str) -> Result<TokenReviewStatus, ApiError> {
        // The API server takes the question itself for an error then.
        if token.is_empty() {
            return Ok(TokenReviewStatus::default());
        }
        let spec = TokenReviewSpec {
            audiences: Some(vec![names::HUB_AUDIENCE.to_owned()]),
            token: Some(token.to_owned()),
        };
        let review = TokenReview { spec, ..TokenReview::default() };
        let params = PostParams::default();
        let reviewed = self.call("check a pod's token", REVIEW_LIMIT, self.reviews.create(&params, &review));
        Ok(reviewed.await?.status.unwrap_or_default())
    }

    async fn call<T>(
        &self,
        call: &'static str,
        limit: Duration,
        answer: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, ApiError> {
        let outcome = match tokio::time::timeout(limit, answer).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(kube::Error::Api(status))) => {
                ApiError::Refused { call, code: status.code, message: status.message.clone() }
            }
            Ok(Err(source)) => ApiError::Unreachable { call, source },
            Err(_) => ApiError::TimedOut { call },
        };
        // Names that are taken or gone are answers, not failures.
        if !matches!(outcome.code(), Some(404 | 409)) {
            self.metrics.failed(call);
        }
        Err(outcome)
    }
}

impl ApiError {
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Unreachable { .. } | Self::TimedOut { .. } => None,
        }
    }
}

fn found<T>(answer: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.code() == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}
