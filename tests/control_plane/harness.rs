//! What the harness itself promises.

use anyhow::Result;
use tests::control_plane::{ControlPlane, Options};

#[tokio::test]
async fn the_control_plane_starts_and_keeps_what_it_has_when_its_api_server_is_killed() -> Result<()> {
    let began = tokio::time::Instant::now();
    let mut control_plane = ControlPlane::start(Options::default()).await?;
    println!("up after {:?}", began.elapsed());
    control_plane.create_namespace("drones").await?;
    let version = control_plane.kubectl(["version"]).await?;
    assert!(version.contains("Server Version: v1.34.4"), "{version}");
    let helm = control_plane.helm(["list", "--all-namespaces"]).await?;
    assert!(helm.starts_with("NAME"), "{helm}");
    control_plane.kill_api_server()?;
    control_plane.start_api_server().await?;
    let namespaces = control_plane.kubectl(["get", "namespace", "drones", "-o", "name"]).await?;
    assert_eq!(namespaces, "namespace/drones\n");
    let audit = control_plane.settled_audit().await?;
    let created = audit.all()?.into_iter().any(|entry| entry.is_write() && entry.resource == "namespaces");
    assert!(created);
    Ok(())
}
