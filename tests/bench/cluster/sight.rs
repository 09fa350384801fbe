//! What is seen of one object, and when: a watch that is there before whatever it is to see.

use std::fmt::Debug;

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tests::deadline::within;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Whether a step is done, by the object, or by its absence.
pub(super) type Step<K> = Box<dyn Fn(Option<&K>) -> bool + Send>;

pub(super) struct Sight {
    what: String,
    task: JoinHandle<Result<Vec<Instant>>>,
}

impl Sight {
    /// Looks at the object `name` from now on, until the last of the steps is done.
    pub(super) async fn of<K>(api: Api<K>, name: &str, steps: Vec<Step<K>>) -> Result<Self>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let what = format!("{} {name}", K::kind(&()));
        let (began, beginning) = oneshot::channel();
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let task = tokio::spawn(look(api, config, steps, began));
        within(&format!("a watch of {what}"), beginning).await?.with_context(|| what.clone())?;
        Ok(Self { what, task })
    }

    /// When each step was seen to be done.
    pub(super) async fn end(self) -> Result<Vec<Instant>> {
        let Self { what, task } = self;
        within(&what, task).await?.context("a watch failed")?.with_context(|| what)
    }

    pub(super) async fn last(self) -> Result<Instant> {
        self.end().await?.pop().context("a sight has a step")
    }
}

async fn look<K>(
    api: Api<K>,
    config: watcher::Config,
    steps: Vec<Step<K>>,
    began: oneshot::Sender<()>,
) -> Result<Vec<Instant>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut events = std::pin::pin!(watcher::watcher(api, config));
    let mut began = Some(began);
    let mut done = Vec::new();
    while done.len() < steps.len() {
        let event = events.next().await.context("the watch has ended")?.context("the watch broke")?;
        let object = match &event {
            Event::Apply(object) | Event::InitApply(object) => Some(object),
            Event::Delete(_) => None,
            Event::InitDone => {
                if let Some(began) = began.take() {
                    let _nobody_waits = began.send(());
                }
                continue;
            }
            Event::Init => continue,
        };
        while done.len() < steps.len() && steps[done.len()](object) {
            done.push(Instant::now());
        }
    }
    Ok(done)
}
