//! The proxy breaks what a rule says, and nothing else.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, bail};
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams, WatchEvent, WatchParams};
use tests::control_plane::proxy::{Fault, Proxy, Rule, When};
use tests::control_plane::{kubeconfig, shared};
use tests::deadline::within;

/// A client behind a proxy, as a service account that may do everything in a namespace of this name.
async fn place(namespace: &str) -> Result<(Proxy, Client)> {
    let control_plane = shared().await?;
    control_plane.create_namespace(namespace).await?;
    let account = format!("--serviceaccount={namespace}:default");
    let granted = ["-n", namespace, "create", "rolebinding", "all", "--clusterrole=admin", &account];
    control_plane.kubectl(granted).await?;
    let proxy = Proxy::start(control_plane).await?;
    let path: PathBuf = control_plane.directory().join(format!("{namespace}.kubeconfig"));
    control_plane.service_account_kubeconfig(&path, namespace, "default", Some(proxy.url())).await?;
    let client = kubeconfig::client(path, "client-under-test").await?;
    // The first request shows that the grant has come to the API server's knowledge.
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    tests::deadline::eventually("the grant", || async { Ok(maps.get_opt("x").await.ok()) }).await?;
    Ok((proxy, client))
}

fn map(name: &str) -> ConfigMap {
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    ConfigMap { metadata, ..ConfigMap::default() }
}

#[tokio::test]
async fn a_rule_hits_the_request_that_it_names_and_no_other() -> Result<()> {
    let (proxy, client) = place("proxy-rules").await?;
    let maps: Api<ConfigMap> = Api::namespaced(client, "proxy-rules");
    let create = async |name: &str| maps.create(&PostParams::default(), &map(name)).await;
    proxy.inject(Rule::on("create", "configmaps", Fault::conflict()).nth(2));
    create("one").await?;
    match create("two").await {
        Err(kube::Error::Api(status)) => assert_eq!((status.code, status.reason.as_str()), (409, "Conflict")),
        other => bail!("the conflict did not come: {other:?}"),
    }
    create("two").await?;

    proxy.inject(Rule::on("create", "configmaps", Fault::Reset).times(1));
    assert!(create("three").await.is_err());
    assert!(maps.get_opt("three").await?.is_none());
    proxy.inject(Rule::on("create", "configmaps", Fault::AnswerReset).times(1));
    assert!(create("three").await.is_err());
    assert!(maps.get_opt("three").await?.is_some());
    assert_eq!(proxy.count(|request| request.is("create", "configmaps")), 5);
    assert_eq!(proxy.writes(), 5);
    Ok(())
}

#[tokio::test]
async fn watches_are_closed_and_expired_between_two_events() -> Result<()> {
    let (proxy, client) = place("proxy-watches").await?;
    let maps: Api<ConfigMap> = Api::namespaced(client, "proxy-watches");
    let parameters = WatchParams::default().fields("metadata.name=x").disable_bookmarks();
    for expire in [false, true] {
        let mut events = maps.watch(&parameters, "0").await?.boxed();
        if expire {
            proxy.expire_watches();
        } else {
            proxy.close_watches();
        }
        match (within("the end of the watch", events.next()).await?, expire) {
            (None, false) => {}
            (Some(Ok(WatchEvent::Error(status))), true) => assert_eq!(status.code, 410),
            (other, _) => bail!("the watch said {other:?}"),
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_client_can_be_killed_before_and_after_any_of_its_writes() -> Result<()> {
    let (proxy, client) = place("proxy-crashes").await?;
    let maps: Api<ConfigMap> = Api::namespaced(client, "proxy-crashes");
    for (name, when) in [("before", When::Before), ("after", When::After)] {
        let killed = Arc::new(AtomicBool::new(false));
        let kill = killed.clone();
        proxy.on_write(2, when, move |_| kill.store(true, Ordering::SeqCst));
        maps.create(&PostParams::default(), &map(&format!("{name}-first"))).await?;
        let (parameters, last) = (PostParams::default(), map(name));
        let mut second = Box::pin(maps.create(&parameters, &last));
        let never = proxy.log().wait("the write", |seen| {
            seen.iter().any(|seen| seen.code.is_none() && killed.load(Ordering::SeqCst)).then_some(())
        });
        tokio::select! {
            answer = &mut second => bail!("it was answered: {answer:?}"),
            reached = never => reached.context("the write did not come")?,
        }
        drop(second);
        assert!(!proxy.is_armed());
        assert_eq!(maps.get_opt(name).await?.is_some(), when == When::After);
    }
    Ok(())
}

#[tokio::test]
async fn an_api_server_that_is_down_can_be_reached_again_later() -> Result<()> {
    let (proxy, client) = place("proxy-down").await?;
    let maps: Api<ConfigMap> = Api::namespaced(client, "proxy-down");
    proxy.set_down(true);
    assert!(maps.get_opt("x").await.is_err());
    proxy.set_down(false);
    maps.get_opt("x").await?;
    Ok(())
}
