//! `gadget local` from its first line to its end.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use scripted_model::ScriptedModel;
use scripted_model::script::{Answer, Script, Step};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Instant;

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
    assert_eq!(local.ready.as_object().unwrap().len(), 5, "{}", local.ready);
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
    let kept = ["url", "token", "workspace"].map(|name| first.text(name).to_owned());
    first.stop().await;
    assert!(!home.data().join("local.json").exists(), "a hub that has gone is not found by others");
    let port = kept[0].rsplit(':').next().unwrap();
    let second =
        Local::start(home.gadget(["local", "--json", "--listen", &format!("127.0.0.1:{port}")])).await;
    assert_eq!(["url", "token", "workspace"].map(|name| second.text(name).to_owned()), kept);
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
    kill(Pid::from_raw(child.id().unwrap().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}

/// What is promised: everything stops within this.
const STOP: Duration = Duration::from_secs(5);

/// A model server that takes connections and says nothing.
async fn mute_server() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    (listener, url)
}

#[tokio::test]
async fn a_signal_while_a_model_server_is_waited_for_stops_the_start() {
    let home = Home::new();
    let (mute, url) = mute_server().await;
    let mut child = home.gadget(["local", "--listen", "127.0.0.1:0", "--openai", &url]).spawn().unwrap();
    let _connection = mute.accept().await.unwrap();
    let began = Instant::now();
    kill(Pid::from_raw(child.id().unwrap().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    assert!(began.elapsed() < STOP, "{:?}", began.elapsed());
    assert!(drone_processes(&home.data()).is_empty());
}

/// Pids of processes with this in their command line.
fn with_argument(text: &str) -> Vec<i32> {
    let pids = std::fs::read_dir("/proc").unwrap();
    let pids = pids.filter_map(|entry| entry.unwrap().file_name().to_string_lossy().parse().ok());
    let has = |pid: &i32| {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&arguments).contains(text)
    };
    pids.filter(has).collect()
}

#[tokio::test]
async fn a_command_that_will_not_end_keeps_nothing_from_stopping() {
    for with_prompt in [false, true] {
        let home = Home::new();
        let marker = format!("stubborn-{}", home.dir.path().display());
        let command = format!("trap '' TERM INT HUP; : {marker}; while :; do sleep 1; done");
        let script = Script::new([Answer::new([Step::call("shell_exec", json!({ "command": command }))])]);
        let server = ScriptedModel::of(script).serve_here().await.unwrap();
        let (_mute, mute_url) = mute_server().await;
        let url = format!("{}/v1", server.url());
        let options = ["--openai", &url, "--ollama", &mute_url, "--model", "scripted"];
        let prompt: &[&str] = if with_prompt { &["--prompt", "go on"] } else { &[] };
        let mut local = home.local(&[&options[..], prompt].concat()).await;
        let mut elsewhere = (!with_prompt).then(|| home.gadget(["prompt", "go on"]).spawn().unwrap());
        until("the command runs", || (!with_argument(&marker).is_empty()).then_some(())).await;
        let began = Instant::now();
        local.signal(Signal::SIGTERM);
        let expected = if with_prompt { 130 } else { 0 };
        assert_eq!(local.ended().await.code(), Some(expected));
        assert!(began.elapsed() < STOP, "{:?} (prompt: {with_prompt})", began.elapsed());
        assert!(drone_processes(&home.data()).is_empty());
        if let Some(prompt) = &mut elsewhere {
            prompt.kill().await.unwrap();
        }
        assert_eq!(with_argument(&marker), Vec::<i32>::new(), "the command has gone with the rest");
    }
}
