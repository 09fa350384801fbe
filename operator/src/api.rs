//! The only door for writes. Each has a time-out, and none goes out when another may lead.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::{NamespaceResourceScope, Status};
use kube::{Client, Resource};
use serde::{Deserialize, Serialize};

use crate::index::Uid;
use crate::leader::Leadership;
use crate::metrics::{Metrics, Verb};

/// Who wrote a field, as the API server records it.
pub const MANAGER: &str = "gadget-operator";

#[derive(Clone)]
pub struct Api {
    client: Client,
    namespace: Arc<str>,
    leadership: Leadership,
    time_out: Duration,
    metrics: Arc<Metrics>,
}

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("another operator leads")]
    NotLeading,
    #[error("the API server did not answer in time")]
    TimedOut,
    #[error("failed to write down what is to be sent")]
    Encode(#[source] serde_json::Error),
    #[error("failed to build the request")]
    Build(#[source] kube::core::request::Error),
    /// The server understood and said no.
    #[error("{}", .0.message)]
    Refused(Box<Status>),
    /// Somebody was faster, or the object is another one by now.
    #[error("{}", .0.message)]
    Conflict(Box<Status>),
    #[error("the object is gone")]
    Gone,
    #[error("failed to talk to the API server")]
    Failed(#[source] kube::Error),
}

/// What of an answer is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub uid: Uid,
    pub version: u64,
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    metadata: ObjectMeta,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectMeta {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    resource_version: String,
}

impl Api {
    pub fn new(
        client: Client,
        namespace: Arc<str>,
        leadership: Leadership,
        time_out: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { client, namespace, leadership, time_out, metrics }
    }

    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    pub async fn create<K: Kind>(&self, object: &K) -> Result<Answer, WriteError> {
        let body = serde_json::to_vec(object).map_err(WriteError::Encode)?;
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let request = self.requests::<K>().create(&params, body).map_err(WriteError::Build)?;
        self.send::<K>(Verb::Create, request).await
    }

    /// A merge patch of the object, its status apart.
    pub async fn patch<K: Kind>(&self, name: &str, patch: &impl Body) -> Result<Answer, WriteError> {
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let request =
            self.requests::<K>().patch(name, &params, &Patch::Merge(patch)).map_err(WriteError::Build)?;
        self.send::<K>(Verb::Patch, request).await
    }

    /// A merge patch of the status.
    pub async fn patch_status<K: Kind>(&self, name: &str, patch: &impl Body) -> Result<Answer, WriteError> {
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let request = self
            .requests::<K>()
            .patch_subresource("status", name, &params, &Patch::Merge(patch))
            .map_err(WriteError::Build)?;
        self.send::<K>(Verb::PatchStatus, request).await
    }

    /// Deletes this very object, and none that has its name by now. One that is gone already is no error.
    pub async fn delete<K: Kind>(&self, name: &str, uid: &str) -> Result<(), WriteError> {
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let request = self.requests::<K>().delete(name, &params).map_err(WriteError::Build)?;
        match self.send::<K>(Verb::Delete, request).await {
            Ok(_) | Err(WriteError::Gone) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn requests<K: Kind>(&self) -> kube::core::Request {
        kube::core::Request::new(K::url_path(&(), Some(&self.namespace)))
    }

    async fn send<K: Kind>(&self, verb: Verb, request: Request) -> Result<Answer, WriteError> {
        // Asked for at the last moment: a reconcile that was held up may have outlived the lease.
        let term = self.leadership.term().ok_or(WriteError::NotLeading)?;
        let answer = tokio::select! {
            biased;
            () = term.ended() => return Err(WriteError::NotLeading),
            answer = tokio::time::timeout(self.time_out, self.client.request::<Object>(request)) => answer,
        };
        let result = match answer {
            Err(_) => Err(WriteError::TimedOut),
            Ok(Err(error)) => Err(WriteError::from(error)),
            Ok(Ok(object)) => Ok(Answer {
                uid: object.metadata.uid.into(),
                version: object.metadata.resource_version.parse().unwrap_or_default(),
            }),
        };
        self.metrics.wrote(&K::kind(&()), verb, result.is_ok());
        result
    }
}

type Request = http::Request<Vec<u8>>;

/// A namespaced kind that we write.
pub trait Kind: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize {}
impl<K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize> Kind for K {}

/// What a patch is made of.
pub trait Body: Serialize + Debug {}
impl<B: Serialize + Debug> Body for B {}

impl From<kube::Error> for WriteError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => match status.code {
                404 if !is_about_the_kind(&status) => Self::Gone,
                409 => Self::Conflict(status),
                400 | 403 | 404 | 405 | 413 | 422 => Self::Refused(status),
                _ => Self::Failed(kube::Error::Api(status)),
            },
            other => Self::Failed(other),
        }
    }
}

/// A kind or namespace that is not there is not the object that is gone.
fn is_about_the_kind(status: &Status) -> bool {
    let of = status.details.as_ref().map_or("", |details| details.kind.as_str());
    status.message.contains("could not find the requested resource") || of == "namespaces"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16, message: &str) -> WriteError {
        let status = Status { code, ..Status::failure(message, "") };
        WriteError::from(kube::Error::Api(status.boxed()))
    }

    #[test]
    fn answers_are_told_apart_by_who_can_do_something() {
        assert!(matches!(refused(404, "pods \"x\" not found"), WriteError::Gone));
        assert!(matches!(
            refused(404, "the server could not find the requested resource"),
            WriteError::Refused(_)
        ));
        assert!(matches!(refused(409, "exists"), WriteError::Conflict(_)));
        assert!(matches!(refused(403, "exceeded quota"), WriteError::Refused(_)));
        assert!(matches!(refused(422, "invalid"), WriteError::Refused(_)));
        for passing in [429, 500, 503, 504] {
            assert!(matches!(refused(passing, "later"), WriteError::Failed(_)), "{passing}");
        }
    }
}
