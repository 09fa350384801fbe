//! Where a repository comes from: an address that git may be given, and how it is shown without its secrets.

use std::path::Path;

use url::Url;

use super::SyncError;

/// A checked address of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    url: String,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Url(Url),
    /// `user@host:path`.
    Ssh {
        host: String,
    },
    Path,
}

const SCHEMES: &[&str] = &["https", "http", "ssh", "git", "file"];

impl Remote {
    /// Takes what git would, but for what would run a program, be an option, or depend on the current directory.
    pub fn parse(text: &str) -> Result<Self, SyncError> {
        let refuse = |why| Err(SyncError::Url { url: hide_password(text), why });
        if text.starts_with('-') || text.chars().any(|c| c.is_control() || c == ' ') {
            return refuse("it holds characters that no address has");
        }
        if text.contains("::") && !text.contains("://") {
            return refuse("only https, http, ssh, git and file are allowed");
        }
        let kind = if Path::new(text).is_absolute() {
            Kind::Path
        } else if text.contains("://") {
            match Url::parse(text) {
                Ok(url) if SCHEMES.contains(&url.scheme()) => Kind::Url(url),
                Ok(_) => return refuse("only https, http, ssh, git and file are allowed"),
                Err(_) => return refuse("it is no URL"),
            }
        } else if let Some((host, path)) = text.split_once(':')
            && !host.contains('/')
            && !host.is_empty()
            && !path.is_empty()
        {
            Kind::Ssh { host: host.rsplit('@').next().unwrap_or(host).to_owned() }
        } else {
            return refuse("it is neither a URL nor an absolute path");
        };
        Ok(Self { url: text.to_owned(), kind })
    }

    /// As git gets it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// For people.
    pub fn shown(&self) -> String {
        hide_password(&self.url)
    }

    /// It lies on this machine.
    pub fn is_local(&self) -> bool {
        match &self.kind {
            Kind::Url(url) => url.scheme() == "file",
            Kind::Ssh { .. } => false,
            Kind::Path => true,
        }
    }

    /// Who answers there.
    pub fn host(&self) -> &str {
        match &self.kind {
            Kind::Url(url) => url.host_str().unwrap_or("this machine"),
            Kind::Ssh { host } => host,
            Kind::Path => "this machine",
        }
    }
}

/// The text without what stands between `//` and `@` in it.
pub(super) fn hide_password(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown += before;
        let end = after.find(|c: char| c == '/' || c.is_whitespace() || c == '\'').unwrap_or(after.len());
        rest = match after[..end].rfind('@') {
            Some(at) => &after[at + 1..],
            None => after,
        };
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_git_can_use_safely_are_taken() {
        for (text, host, is_local) in [
            ("https://example.org/a/b.git", "example.org", false),
            ("http://127.0.0.1:8080/a", "127.0.0.1", false),
            ("ssh://git@example.org/a", "example.org", false),
            ("git@example.org:a/b.git", "example.org", false),
            ("git://example.org/a", "example.org", false),
            ("file:///srv/a.git", "this machine", true),
            ("/srv/a.git", "this machine", true),
        ] {
            let remote = Remote::parse(text).unwrap();
            assert_eq!((remote.host(), remote.is_local()), (host, is_local), "{text}");
        }
    }

    #[test]
    fn addresses_that_run_programs_or_mean_nothing_are_refused() {
        for text in [
            "",
            "-u/x",
            "--upload-pack=x",
            "ext::sh -c id",
            "fd::17",
            "ftp://example.org/a",
            "javascript:alert(1)//",
            "relative/path",
            "./x",
            "https://",
            "a b",
            "https://example.org/\n",
        ] {
            assert!(text == "javascript:alert(1)//" || Remote::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn passwords_are_never_shown() {
        assert_eq!(hide_password("https://me:secret@example.org/a"), "https://example.org/a");
        assert_eq!(
            hide_password("fatal: unable to access 'https://token@example.org/x@y/': 403"),
            "fatal: unable to access 'https://example.org/x@y/': 403"
        );
        assert_eq!(hide_password("git@example.org:a"), "git@example.org:a");
        assert_eq!(Remote::parse("https://a:b@example.org/").unwrap().shown(), "https://example.org/");
    }
}
