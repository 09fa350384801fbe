//! `helm test` on an installation that works.

use anyhow::{Result, ensure};
use crds::ChatSession;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::Role;
use kube::api::DeleteParams;
use tests::release::Release;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn helm_test_sees_a_turn_outlive_its_drone_and_leaves_neither_session_nor_rights() -> Result<()> {
    let release = Release::install().await?;
    // Twice: the pod of the first is there for its log.
    for _ in 0..2 {
        let said = release.test().await?;
        for line in [
            "deleted the drone's pod in the middle",
            "the turn ended whole",
            "removed the session with its pod and its workspace",
            "passed: a turn outlived its drone",
        ] {
            ensure!(said.contains(line), "{line}: {said}");
        }
    }
    ensure!(release.api::<ChatSession>().get_opt("gadget-trial").await?.is_none(), "the session is left");
    ensure!(release.api::<Pod>().get_opt("gadget-trial").await?.is_none(), "the drone's pod is left");
    let claim = release.api::<PersistentVolumeClaim>().get_opt("ws-gadget-trial").await?;
    ensure!(claim.is_none(), "the workspace is left");
    ensure!(release.api::<Role>().get_opt("gadget-test").await?.is_none(), "the test's rights are left");
    let account = release.api::<ServiceAccount>().get_opt("gadget-test").await?;
    ensure!(account.is_none(), "the test's account is left");
    // Kept by helm for its log, and no part of what it uninstalls.
    release.api::<Pod>().delete("gadget-test", &DeleteParams::default()).await?;
    release.remove().await
}
