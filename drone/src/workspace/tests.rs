use super::document::WorkOrderStatus;
use super::*;

#[test]
fn an_empty_directory_becomes_a_workspace_whose_identity_stays() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("lost+found")).unwrap();
    let first = Workspace::open(dir.path()).unwrap().document().clone();
    let second = Workspace::open(dir.path()).unwrap().document().clone();
    assert_eq!(first, second);
    assert!(uuid::Uuid::parse_str(first.workspace_id.as_str()).is_ok());
    for name in ["journal", "logs", "tmp", "cache"] {
        assert!(dir.path().join(".gadget").join(name).is_dir(), "{name}");
    }
}

#[test]
fn a_directory_with_things_of_someone_else_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.tex"), "years of work").unwrap();
    let error = Workspace::open(dir.path()).unwrap_err();
    assert!(error.to_string().contains("thesis.tex"), "{error}");
    assert!(error.is_final());
    assert!(!dir.path().join(".gadget").exists());
}

#[test]
fn a_start_that_died_before_its_identity_was_written_is_made_good() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join(".gadget")).unwrap();
    Workspace::open(dir.path()).unwrap();
}

#[test]
fn a_second_drone_is_told_who_holds_the_workspace_until_that_one_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let first = Workspace::open(dir.path()).unwrap();
    let error = Workspace::open(dir.path()).unwrap_err();
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    drop(first);
    Workspace::open(dir.path()).unwrap();
}

#[test]
fn a_damaged_identity_is_an_error_and_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    drop(Workspace::open(dir.path()).unwrap());
    let path = dir.path().join(".gadget/workspace.json");
    fs::write(&path, "{ half").unwrap();
    assert!(matches!(Workspace::open(dir.path()), Err(WorkspaceError::Damaged { .. })));
    assert_eq!(fs::read_to_string(path).unwrap(), "{ half");
}

#[test]
fn a_work_order_is_found_again_and_can_be_removed_twice() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = Workspace::open(dir.path()).unwrap();
    assert_eq!(workspace.work_order().unwrap(), None);
    let order = WorkOrderDocument {
        turn_id: "t".into(),
        chat_session_id: "s".into(),
        project_id: "p".into(),
        work_order_id: "w".into(),
        received_at: Timestamp::UNIX_EPOCH,
        prompt: "hello".to_owned(),
        status: WorkOrderStatus::Processing,
        error: None,
        attempt: 1,
        generation: 7,
    };
    workspace.put_work_order(&order).unwrap();
    assert_eq!(workspace.work_order().unwrap(), Some(order));
    let text = fs::read_to_string(dir.path().join(".gadget/work-order.json")).unwrap();
    for field in ["turnId", "chatSessionId", "projectId", "workOrderId", "receivedAt", "prompt", "processing"]
    {
        assert!(text.contains(field), "{field}");
    }
    workspace.remove_work_order().unwrap();
    workspace.remove_work_order().unwrap();
    assert_eq!(workspace.work_order().unwrap(), None);
}

#[test]
fn the_document_has_the_fields_of_the_contract() {
    let document = WorkspaceDocument {
        workspace_id: "w".into(),
        ..WorkspaceDocument::new("host".to_owned(), "/w".to_owned(), Timestamp::UNIX_EPOCH)
    };
    assert_eq!(
        serde_json::to_value(document).unwrap(),
        serde_json::json!({
            "workspaceId": "w",
            "createdAt": "1970-01-01T00:00:00Z",
            "hostname": "host",
            "workspaceDir": "/w",
            "chatSession": null,
            "lockedProject": null,
            "projects": [],
            "registration": null,
        })
    );
}

#[tokio::test]
async fn a_claim_that_outlives_its_process_for_a_moment_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let dying = Workspace::open(dir.path()).unwrap();
    // No process has this pid: it is beyond what the kernel gives out.
    let holder = Holder { pid: u32::MAX, hostname: hostname(), since: Timestamp::now() };
    write_json(&dying.paths().holder(), &holder).unwrap();
    let (opened, ()) = tokio::join!(Workspace::claim(dir.path().to_owned()), async {
        tokio::time::sleep(LOOK).await;
        drop(dying);
    });
    opened.unwrap();
}

#[tokio::test]
async fn a_claim_of_a_living_process_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let _held = Workspace::open(dir.path()).unwrap();
    assert!(matches!(Workspace::claim(dir.path().to_owned()).await, Err(WorkspaceError::Held { .. })));
}
