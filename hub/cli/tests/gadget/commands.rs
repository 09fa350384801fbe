//! Commands that talk to a hub that runs.

use serde_json::Value;

use crate::bench::{Home, text};

fn lines(bytes: &[u8]) -> Vec<Value> {
    text(bytes).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn lists_are_for_people_and_for_machines() {
    let home = Home::new();
    let local = home.local(&[]).await;
    let sessions = lines(&home.run(&["sessions", "--json"]).await.stdout);
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0]["_id"], local.session());
    let shown = text(&home.run(&["sessions"]).await.stdout);
    assert!(shown.starts_with("ID") && shown.contains(local.session()), "{shown}");

    let prompt = home.run(&["prompt", "list files"]).await;
    assert_eq!(prompt.status.code(), Some(0), "{}", text(&prompt.stderr));
    let drones = lines(&home.run(&["drones", "--json"]).await.stdout);
    assert_eq!(drones.len(), 1);
    assert_eq!(drones[0]["chatSessionId"], local.session());
    local.stop().await;
}

#[tokio::test]
async fn without_a_hub_each_command_says_how_to_get_one() {
    let home = Home::new();
    for command in [&["sessions"][..], &["drones"], &["users", "ls"], &["providers", "ls"], &["prompt", "x"]]
    {
        let output = home.run(command).await;
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        assert!(text(&output.stderr).contains("gadget local"), "{command:?}");
    }
}

#[tokio::test]
async fn an_account_that_was_made_can_sign_in_and_sees_only_its_own() {
    use std::process::Stdio;
    use tokio::io::AsyncWriteExt as _;

    let home = Home::new();
    let local = home.local(&[]).await;
    let with_password = async |args: &[&str], password: &str| {
        let mut child = home
            .gadget(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(password.as_bytes()).await.unwrap();
        child.wait_with_output().await.unwrap()
    };
    let added =
        with_password(&["users", "add", "ada@example.org", "--json"], "correct horse battery\n").await;
    assert_eq!(added.status.code(), Some(0), "{}", text(&added.stderr));
    assert_eq!(lines(&added.stdout)[0]["email"], "ada@example.org");
    let users = lines(&home.run(&["users", "ls", "--json"]).await.stdout);
    assert_eq!(users.len(), 2);

    let wrong = with_password(&["login", local.text("url"), "--email", "ada@example.org"], "guess\n").await;
    assert_eq!(wrong.status.code(), Some(1));
    let right = ["login", local.text("url"), "--email", "ada@example.org"];
    let signed_in = with_password(&right, "correct horse battery\n").await;
    assert_eq!(signed_in.status.code(), Some(0), "{}", text(&signed_in.stderr));
    let hers = home.run(&["sessions", "--json", "--hub", local.text("url")]).await;
    assert_eq!(text(&hers.stdout), "", "{}", text(&hers.stderr));
    let refused = home.run(&["users", "ls", "--hub", local.text("url")]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("administrator"), "{}", text(&refused.stderr));

    let changed = with_password(&["users", "passwd", "ada"], "another long password\n").await;
    assert_eq!(changed.status.code(), Some(0), "{}", text(&changed.stderr));
    let stale = home.run(&["sessions", "--hub", local.text("url")]).await;
    assert!(text(&stale.stderr).contains("sign in again"), "{}", text(&stale.stderr));
    local.stop().await;
}
