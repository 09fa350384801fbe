//! Starts that cannot be, and what they say.

use tokio::net::TcpListener;

use crate::bench::{Home, text};

#[tokio::test]
async fn a_second_start_on_the_same_data_names_the_process_that_holds_it() {
    let home = Home::new();
    let first = home.local(&[]).await;
    let second = home.run(&["local", "--listen", "127.0.0.1:0"]).await;
    assert_eq!(second.status.code(), Some(1));
    let said = text(&second.stderr);
    assert!(said.contains(&format!("process {}", first.pid())), "{said}");
    first.stop().await;
    let third = home.local(&[]).await;
    third.stop().await;
}

#[tokio::test]
async fn a_taken_port_is_said_with_what_to_do() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = home.run(&["local", "--listen", &address]).await;
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains(&address) && said.contains("--listen 127.0.0.1:0"), "{said}");
    assert_eq!(text(&output.stdout), "");
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_used_is_said_with_what_to_do() {
    let home = Home::new();
    let output = home.run(&["local", "--listen", "127.0.0.1:0", "--data", "/dev/null/gadget"]).await;
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("/dev/null/gadget") && said.contains("--data DIR"), "{said}");
}

#[tokio::test]
async fn a_workspace_with_other_content_is_refused_before_anything_starts() {
    let home = Home::new();
    let dir = home.dir.path().join("mine");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("thesis.txt"), "years of work").unwrap();
    let output = home.run(&["local", "--listen", "127.0.0.1:0", "--workspace", dir.to_str().unwrap()]).await;
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("neither empty nor a workspace") && said.contains("--project"), "{said}");
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
}

#[tokio::test]
async fn flags_that_make_no_sense_are_refused_in_words() {
    let home = Home::new();
    let cases: &[(&[&str], i32, &str)] = &[
        (&["local", "--listen", "nowhere"], 2, "--listen"),
        (&["local", "--key-env", "KEY"], 2, "--openai"),
        (&["local", "--no-such-flag"], 2, "--no-such-flag"),
        (
            &["local", "--openai", "http://127.0.0.1:1/v1", "--key-env", "NO_SUCH_KEY"],
            1,
            "NO_SUCH_KEY is not set",
        ),
        (&["local", "--ollama", "file:///x"], 1, "http"),
        (&["local", "--project", "no/such/place"], 1, "no such directory"),
        (&["no-such-command"], 2, "no-such-command"),
        (&["drone", "no-such-command"], 2, "no-such-command"),
    ];
    for (args, code, words) in cases {
        let output = home.run(args).await;
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(*code), "{args:?}: {said}");
        assert!(said.contains(words), "{args:?}: {said}");
    }
    assert!(!home.data().exists(), "nothing is made by a start that is refused");
}

#[tokio::test]
async fn every_command_explains_itself() {
    let home = Home::new();
    let commands: &[&[&str]] = &[
        &[],
        &["local"],
        &["prompt"],
        &["attach"],
        &["sessions"],
        &["drones"],
        &["users"],
        &["users", "add"],
        &["users", "ls"],
        &["users", "passwd"],
        &["providers"],
        &["providers", "add"],
        &["providers", "ls"],
        &["providers", "probe"],
        &["providers", "enable"],
        &["providers", "disable"],
        &["providers", "rm"],
        &["login"],
        &["completions"],
        &["drone"],
        &["drone", "init"],
        &["drone", "run"],
    ];
    for command in commands {
        let mut args = command.to_vec();
        args.push("--help");
        let output = home.run(&args).await;
        assert_eq!(output.status.code(), Some(0), "{command:?}");
        assert!(text(&output.stdout).contains("Usage: gadget"), "{command:?}");
    }
    let completions = home.run(&["completions", "bash"]).await;
    assert!(text(&completions.stdout).contains("_gadget"));
}
