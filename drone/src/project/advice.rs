//! What git's complaints mean for a person: which address or credential, and what to do.

use super::git::GitError;
use super::remote::{Remote, hide_password};

/// An error of a command that went to a remote.
pub(super) fn explain(remote: &Remote, error: &GitError) -> String {
    let GitError::Failed { stderr, .. } = error else { return words(error) };
    let host = remote.host();
    let said = stderr.to_lowercase();
    let says = |any: &[&str]| any.iter().any(|words| said.contains(words));
    let advice = if says(&[
        "could not read username",
        "could not read password",
        "terminal prompts disabled",
        "told us to quit",
    ]) {
        format!("{host} wants a credential and there is none; add one for {host} to the project")
    } else if says(&[
        "authentication failed",
        "access denied",
        "returned error: 401",
        "returned error: 403",
        "invalid username",
    ]) {
        format!("{host} refused the credential; renew it, or give it access to this repository")
    } else if says(&["permission denied (publickey", "no supported authentication methods"]) {
        format!("{host} refused the SSH key; add a key that {host} knows, or use an https address")
    } else if says(&["host key verification failed", "remote host identification has changed"]) {
        format!("the SSH host key of {host} is not the known one; check it and correct known_hosts")
    } else if says(&["could not resolve host", "name or service not known", "could not resolve hostname"]) {
        format!("there is no host {host}; check the address and the network")
    } else if says(&[
        "connection refused",
        "failed to connect",
        "couldn't connect",
        "connection timed out",
        "network is unreachable",
        "no route to host",
        "operation too slow",
    ]) {
        format!("{host} cannot be reached; check the address and the network, or try again later")
    } else if says(&["certificate", "ssl "]) {
        format!("the certificate of {host} is not trusted; add its authority to the machine's certificates")
    } else if says(&["transport '", "not allowed"]) {
        "only https, http, ssh, git and file are allowed".to_owned()
    } else if says(&["no space left"]) {
        "the disk is full; free some space".to_owned()
    } else if says(&["not found", "does not exist", "does not appear to be a git repository"]) {
        "there is no such repository, or the credential cannot see it; check the address".to_owned()
    } else {
        return words(error);
    };
    format!("{advice} (git said: {})", last_line(stderr))
}

/// An error in short words.
pub(super) fn words(error: &GitError) -> String {
    match error {
        GitError::Failed { stderr, .. } => last_line(stderr),
        other => other.to_string(),
    }
}

/// The last thing that git said that is no mere hint.
pub(super) fn last_line(stderr: &str) -> String {
    let lines = stderr.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("hint:"));
    let lines: Vec<&str> = lines.collect();
    let fatal = lines.iter().rev().find(|line| line.starts_with("fatal:") || line.starts_with("error:"));
    let line = fatal.or(lines.last()).copied().unwrap_or("nothing");
    hide_password(line).chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(stderr: &str) -> String {
        let remote = Remote::parse("https://example.org/a.git").unwrap();
        explain(
            &remote,
            &GitError::Failed { command: "clone".into(), code: Some(128), stderr: stderr.into() },
        )
    }

    #[test]
    fn complaints_of_git_become_advice() {
        for (stderr, advice) in [
            (
                "fatal: could not read Username for 'https://example.org': terminal prompts disabled",
                "there is none",
            ),
            ("remote: x\nfatal: Authentication failed for 'https://example.org/a.git/'", "renew it"),
            (
                "git@example.org: Permission denied (publickey).\nfatal: Could not read from remote repository.",
                "SSH key",
            ),
            (
                "fatal: unable to access 'https://example.org/': Could not resolve host: example.org",
                "no host example.org",
            ),
            (
                "fatal: unable to access 'x': Failed to connect to example.org port 443: Connection refused",
                "cannot be reached",
            ),
            ("fatal: repository 'https://example.org/a.git/' not found", "no such repository"),
            ("fatal: transport 'ext' not allowed", "only https"),
            ("fatal: write error: No space left on device", "disk is full"),
            ("fatal: something new", "something new"),
        ] {
            assert!(explained(stderr).contains(advice), "{stderr}: {}", explained(stderr));
        }
    }

    #[test]
    fn the_line_that_matters_is_shown() {
        assert_eq!(last_line("fatal: real\nhint: do this\n"), "fatal: real");
        assert_eq!(last_line("warning: a\nsomething\n"), "something");
        assert_eq!(last_line(""), "nothing");
    }
}
