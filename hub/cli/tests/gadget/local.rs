//! `gadget local` from its first line to its end.

use std::os::unix::fs::PermissionsExt as _;

use nix::sys::signal::Signal;

use crate::bench::{Home, Local, drone_processes, text, until};

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_first_line_says_where_everything_is_and_secrets_are_private() {
    let home = Home::new();
    let local = home.local(&[]).await;
    assert_eq!(local.text("dataDir"), home.data().to_str().unwrap());
    assert_eq!(local.ready["pid"], local.pid());
    assert_eq!(local.text("link"), format!("{}/#token={}", local.text("url"), local.text("token")));
    assert!(local.text("workspace").starts_with(home.data().to_str().unwrap()));
    assert_eq!(std::fs::read_to_string(home.data().join("token")).unwrap(), local.text("token"));
    assert_eq!(mode(&home.data()), 0o700);
    assert_eq!(mode(&home.data().join("token")), 0o600);

    let me = local.get("/me").await;
    assert_eq!(me["handle"], "owner");
    local.stop().await;
}

#[tokio::test]
async fn a_second_start_finds_owner_token_session_and_port_again() {
    let home = Home::new();
    let first = home.local(&[]).await;
    let kept = ["url", "token", "workspace", "session"].map(|name| first.text(name).to_owned());
    first.stop().await;
    assert!(!home.data().join("local.json").exists(), "a hub that has gone is not found by others");
    let port = kept[0].rsplit(':').next().unwrap();
    let second =
        Local::start(home.gadget(["local", "--json", "--listen", &format!("127.0.0.1:{port}")])).await;
    assert_eq!(["url", "token", "workspace", "session"].map(|name| second.text(name).to_owned()), kept);
    second.stop().await;
}

#[tokio::test]
async fn each_signal_stops_everything_and_leaves_no_child() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let home = Home::new();
        let mut local = home.local(&["--prompt", "list files"]).await;
        local.event("workOrderComplete").await;
        assert_eq!(local.ended().await.code(), Some(0));
        // The session has a drone now; a prompt from elsewhere brings it up again.
        let mut local = home.local(&[]).await;
        let prompt = home.run(&["prompt", "list files"]).await;
        assert_eq!(prompt.status.code(), Some(0), "{}", text(&prompt.stderr));
        assert!(!drone_processes(&home.data()).is_empty());
        local.signal(signal);
        assert_eq!(local.ended().await.code(), Some(0));
        assert!(drone_processes(&home.data()).is_empty());
    }
}

#[tokio::test]
async fn a_person_sees_one_link_and_that_the_demo_is_no_ai() {
    let home = Home::new();
    let mut command = home.gadget(["local", "--listen", "127.0.0.1:0"]);
    let said = home.dir.path().join("stdout");
    let mut child = command.stdout(std::fs::File::create(&said).unwrap()).spawn().unwrap();
    let words = until("the start text", || {
        std::fs::read_to_string(&said).ok().filter(|words| words.contains("Ctrl-C"))
    })
    .await;
    assert_eq!(words.matches("/#token=").count(), 1, "{words}");
    assert!(words.contains("scripted, no AI") && words.contains("--ollama"), "{words}");
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(child.id().unwrap().try_into().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}
