//! `gadget-hub` as a process: starts, serves, keeps others off its data, stops when told.

#![expect(clippy::unwrap_used, reason = "a hub that does not start should end the test")]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use scripted_model::ScriptedModel;
use scripted_model::script::Script;
use serde_json::{Value, json};

struct Hub {
    child: Child,
    url: String,
    /// Kept open: a log that nobody takes would stop the process.
    log: Option<BufReader<ChildStderr>>,
}

fn command(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gadget-hub"));
    command.env_clear().args(["--listen", "127.0.0.1:0", "--data"]).arg(data);
    command
}

/// Ready once it has said where it listens.
fn start(command: &mut Command) -> Hub {
    let child = command.args(["--log-format", "json"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut hub = Hub { child, url: String::new(), log: None };
    let mut log = BufReader::new(hub.child.stderr.take().unwrap());
    while hub.url.is_empty() {
        let mut line = String::new();
        assert!(log.read_line(&mut line).unwrap() > 0, "the hub ended before it listened");
        let record: Value = serde_json::from_str(&line).unwrap();
        let url = record["fields"]["url"].as_str().unwrap_or_default();
        url.trim_end_matches('/').clone_into(&mut hub.url);
    }
    hub.log = Some(log);
    hub
}

impl Hub {
    fn stop(mut self, signal: Signal) -> Option<i32> {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Hub {
    /// Also when the test fails; nothing happens to one that has been stopped.
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(Duration::from_secs(20)).no_proxy().build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_administrator_signs_in_and_the_hub_stops_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    std::fs::write(&password, "correct horse\n").unwrap();
    let hub = start(
        command(&dir.path().join("data"))
            .args(["--admin-email", "root@example.org", "--admin-password-file"])
            .arg(&password),
    );
    let client = client();
    let page = client.get(&hub.url).send().await.unwrap();
    assert!(page.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    let sign_in = client
        .post(format!("{}/api/v1/auth/sign-in", hub.url))
        .json(&json!({ "email": "root@example.org", "password": "correct horse" }))
        .send()
        .await
        .unwrap();
    assert_eq!(sign_in.status(), 200);
    let signed_in: Value = sign_in.json().await.unwrap();
    let me: Value = client
        .get(format!("{}/api/v1/me", hub.url))
        .bearer_auth(signed_in["token"].as_str().unwrap())
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!((&me["email"], &me["roles"]), (&json!("root@example.org"), &json!(["admin", "member"])));
    assert_eq!(hub.stop(Signal::SIGTERM), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_printed_beside_the_running_hub_signs_the_administrator_in_once() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(&mut command(dir.path()));
    let invite = |account: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gadget-hub"));
        let data =
            [("GADGET_DATA", dir.path().as_os_str()), ("GADGET_PUBLIC_URL", "https://g.example".as_ref())];
        command.env_clear().envs(data).args(["invite", account]).output().unwrap()
    };
    let printed = invite("admin");
    assert!(printed.status.success(), "{printed:?}");
    let link = String::from_utf8(printed.stdout).unwrap();
    let code = link.trim().strip_prefix("https://g.example/#invite=").unwrap();
    let client = client();
    let redeem = async || {
        let url = format!("{}/api/v1/auth/redeem", hub.url);
        client.post(url).json(&json!({ "invite": code })).send().await.unwrap()
    };
    let signed_in: Value = redeem().await.json().await.unwrap();
    assert_eq!(signed_in["user"]["handle"], "admin");
    assert_eq!(signed_in["user"]["roles"], json!(["admin", "member"]));
    assert_eq!(redeem().await.status(), 401);
    let audit = client.get(format!("{}/api/v1/audit", hub.url));
    let audit = audit.bearer_auth(signed_in["token"].as_str().unwrap()).send().await.unwrap();
    let audit: Value = audit.json().await.unwrap();
    assert_eq!(audit["items"][0]["action"], "invite.redeem");
    let wrong = invite("ada");
    assert!(!wrong.status.success());
    assert!(String::from_utf8(wrong.stderr).unwrap().contains("e-mail"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_server_of_the_settings_is_asked_what_it_offers_though_it_comes_up_after_the_hub() {
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    std::fs::write(&password, "correct horse").unwrap();
    // Nobody listens there yet.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = command(&dir.path().join("data"));
    command.args(["--openai", &format!("http://{address}/v1"), "--admin-email", "root@example.org"]);
    let hub = start(command.arg("--admin-password-file").arg(&password));
    let client = client();
    let sign_in = json!({ "email": "root@example.org", "password": "correct horse" });
    let sign_in = client.post(format!("{}/api/v1/auth/sign-in", hub.url)).json(&sign_in);
    let signed_in: Value = sign_in.send().await.unwrap().json().await.unwrap();
    let get = async |path: &str| -> Value {
        let request = client.get(format!("{}/api/v1/{path}", hub.url));
        request.bearer_auth(signed_in["token"].as_str().unwrap()).send().await.unwrap().json().await.unwrap()
    };
    let provider = async |is: fn(&Value) -> bool| {
        let looking = async {
            while !get("providers").await["items"].as_array().unwrap().iter().any(is) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), looking).await
    };
    provider(|provider| provider["name"] == "openai" && provider["probeError"].is_string())
        .await
        .expect("it is to be asked in vain first");
    let _server = ScriptedModel::of(Script::default()).serve(address).await.unwrap();
    provider(|provider| provider["name"] == "openai" && provider["models"][0]["id"] == "scripted")
        .await
        .expect("it is to be asked again");
    assert_eq!(hub.stop(Signal::SIGTERM), Some(0));
}

#[test]
fn a_hub_that_is_to_wait_takes_over_from_one_that_ends_and_can_be_told_to_stop_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let first = start(&mut command(dir.path()));
    let waiting = || {
        let mut command = command(dir.path());
        command.args(["--wait-for-data", "1m", "--log-format", "json"]).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        assert!(line.contains("waits for another hub to let go of"), "{line}");
        (Hub { child, url: String::new(), log: None }, log)
    };
    let (told_to_stop, _log) = waiting();
    assert_eq!(told_to_stop.stop(Signal::SIGTERM), Some(0));
    let (second, mut log) = waiting();
    assert_eq!(first.stop(Signal::SIGTERM), Some(0));
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    assert!(line.contains("the hub listens on"), "{line}");
    assert_eq!(second.stop(Signal::SIGTERM), Some(0));
}

#[cfg(not(feature = "kube"))]
#[test]
fn a_hub_that_was_built_without_the_cluster_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let refused = command(dir.path()).args(["--fleet", "kube"]).output().unwrap();
    assert!(!refused.status.success());
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(error.contains("--features kube"), "{error}");
}

#[test]
fn a_second_hub_on_the_same_data_is_told_which_process_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(&mut command(dir.path()));
    let second = command(dir.path()).output().unwrap();
    assert!(!second.status.success());
    let error = String::from_utf8(second.stderr).unwrap();
    assert!(error.contains(&format!("process {}", hub.child.id())), "{error}");
    assert_eq!(hub.stop(Signal::SIGINT), Some(0));
    let third = start(&mut command(dir.path()));
    assert_eq!(third.stop(Signal::SIGTERM), Some(0));
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_gadget-hub"))
        .env_clear()
        .args(["--listen", &address, "--data"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains(&address) && error.contains("--listen"), "{error}");
}
