//! The program, as people and other languages' tests start it.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(20);

fn start(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_scripted-model"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn url(program: &mut Child) -> String {
    let mut line = String::new();
    let mut stdout = BufReader::new(program.stdout.take().unwrap());
    timeout(LIMIT, stdout.read_line(&mut line)).await.unwrap().unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    ready["url"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn it_prints_its_address_serves_a_script_file_and_ends_at_a_signal() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/faults.json");
    let mut program = start(&["--script", script]);
    let url = url(&mut program).await;
    let address = url.strip_prefix("http://").unwrap();
    let body = r#"{"model":"m","messages":[{"role":"user","content":"[[script:hello]]"}]}"#;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(LIMIT, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.contains("Hello there!"), "{answer}");

    let pid = program.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    let status = timeout(LIMIT, program.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn a_file_that_is_no_script_is_refused_with_the_place_of_the_mistake() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("script.json");
    std::fs::write(&file, r#"{ "scripts": { "a": { "answers": [[{ "shout": "!" }]] } } }"#).unwrap();
    let program = start(&["--script", file.to_str().unwrap()]);
    let output = timeout(LIMIT, program.wait_with_output()).await.unwrap().unwrap();
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("script.json is no script file") && error.contains("line 1"), "{error}");
}
