//! What every object in the index has.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;

pub type Name = Arc<str>;
pub type Uid = Arc<str>;

/// An object, or what is known of one that does not fit our schema.
#[derive(Debug)]
pub enum Seen<T> {
    Good(Arc<T>),
    Broken(Arc<Broken>),
}

impl<T> Clone for Seen<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Good(good) => Self::Good(Arc::clone(good)),
            Self::Broken(broken) => Self::Broken(Arc::clone(broken)),
        }
    }
}

/// An object that does not fit our schema: older, newer, or edited past it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub name: Name,
    pub uid: Uid,
    pub generation: i64,
    /// Time of creation: what is said about the object must not change with each try.
    pub created: Timestamp,
    pub error: String,
}

/// The object that owns another as its controller, or alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub kind: Arc<str>,
    pub name: Name,
    pub uid: Uid,
}

impl Broken {
    pub(super) fn new(meta: &ObjectMeta, error: String) -> Self {
        Self { name: name(meta), uid: uid(meta), generation: generation(meta), created: created(meta), error }
    }
}

pub(super) fn name(meta: &ObjectMeta) -> Name {
    meta.name.as_deref().unwrap_or_default().into()
}

pub(super) fn uid(meta: &ObjectMeta) -> Uid {
    meta.uid.as_deref().unwrap_or_default().into()
}

pub(super) fn generation(meta: &ObjectMeta) -> i64 {
    meta.generation.unwrap_or_default()
}

/// Versions of one object are numbers that grow. Zero when the server says something else: then nothing is newer.
pub(super) fn version(meta: &ObjectMeta) -> u64 {
    meta.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or_default()
}

pub(super) fn created(meta: &ObjectMeta) -> Timestamp {
    meta.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

pub(super) fn label<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.labels.as_ref()?.get(key).map(String::as_str)
}

/// The controller, else the first of ours.
pub(super) fn owner(meta: &ObjectMeta) -> Option<Owner> {
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    let ours = |owner: &&OwnerReference| owner.api_version.starts_with(crds::GROUP);
    let owner =
        owners.iter().find(|owner| owner.controller == Some(true)).or_else(|| owners.iter().find(ours))?;
    Some(Owner {
        kind: owner.kind.as_str().into(),
        name: owner.name.as_str().into(),
        uid: owner.uid.as_str().into(),
    })
}
