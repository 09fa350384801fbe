//! Whom a request may be addressed to, and from which page it may come.
//!
//! `Host`: a stranger's page can point a name of its own at this machine (DNS rebinding) and would then be of the same
//! origin as the hub; so a hub that only this machine reaches answers to its own names alone. `Origin`: browsers let
//! any page open a WebSocket anywhere and say only here which page it was.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Uri};
use protocol::error::{Code, Refusal};
use url::Url;

use crate::app::SharedApp;
use crate::config::{AllowedHosts, HubConfig};
use crate::http::problem::Problem;

/// Asked by whoever watches over the hub, by whatever address that has for it; the answers hold nothing.
const FOR_ANYBODY: [&str; 2] = ["/healthz", "/readyz"];

/// Middleware for everything that a browser could be made to ask for.
pub async fn check(State(app): State<SharedApp>, request: Request, next: Next) -> Response {
    if FOR_ANYBODY.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    match decide(&app.config, request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => Problem::from(refusal).into_response(),
    }
}

/// For Socket.IO as well, which has no problem details to answer with.
pub(crate) fn decide(config: &HubConfig, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    let host = addressed(uri, headers)
        .ok_or_else(|| Refusal::new(Code::Invalid, "the request must name one host in its `Host` header"))?;
    if !host_allowed(config, &host) {
        return Err(Refusal::new(
            Code::Forbidden,
            format!("this hub does not answer to the name {:?}; use its own address", host.host()),
        ));
    }
    match headers.get(ORIGIN) {
        Some(origin) if !origin_allowed(config, origin, &host) => Err(Refusal::new(
            Code::Forbidden,
            "pages of this origin may not talk to the hub; add it to the allowed origins if they should",
        )),
        Some(_) | None => Ok(()),
    }
}

/// HTTP/2 has it in the URL, HTTP/1.1 in the header. Several that differ are none.
fn addressed(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    let mut named = headers.get_all(HOST).iter();
    match (uri.authority(), named.next(), named.next()) {
        (Some(authority), None, _) => Some(authority.clone()),
        (None, Some(host), None) => parse(host),
        (Some(authority), Some(host), None) => parse(host).filter(|host| host == authority),
        _ => None,
    }
}

fn parse(host: &HeaderValue) -> Option<Authority> {
    Authority::try_from(host.as_bytes()).ok().filter(|authority| !authority.as_str().contains('@'))
}

fn host_allowed(config: &HubConfig, host: &Authority) -> bool {
    let name = host.host();
    match &config.hosts {
        AllowedHosts::Any => true,
        AllowedHosts::These(names) => {
            names.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
                || config.public_url.host_str().is_some_and(|own| own.eq_ignore_ascii_case(name))
        }
    }
}

/// The hub's own pages, those at its public address, and the configured ones.
fn origin_allowed(config: &HubConfig, origin: &HeaderValue, host: &Authority) -> bool {
    // `null` stands for pages without an origin, such as sandboxed frames: anybody can make one.
    let Some(origin) = origin.to_str().ok().and_then(|text| Url::parse(text).ok()) else { return false };
    // A proxy in front may have ended TLS, so that the scheme is not known here; name and port are.
    let own = Url::parse(&format!("{}://{host}", origin.scheme())).is_ok_and(|own| same_place(&own, &origin));
    let configured = || config.allowed_origins.iter().filter_map(|text| Url::parse(text).ok());
    own || std::iter::once(config.public_url.clone())
        .chain(configured())
        .any(|allowed| allowed.scheme() == origin.scheme() && same_place(&allowed, &origin))
}

fn same_place(one: &Url, other: &Url) -> bool {
    one.host().is_some()
        && one.host() == other.host()
        && one.port_or_known_default() == other.port_or_known_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn local() -> HubConfig {
        let url = Url::parse("http://127.0.0.1:8420").unwrap();
        HubConfig { hosts: AllowedHosts::loopback(), ..HubConfig::new(PathBuf::new(), url) }
    }

    fn asked(config: &HubConfig, headers: &[(&'static str, &'static str)]) -> Result<(), Code> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        decide(config, &Uri::from_static("/"), &map).map_err(|refusal| refusal.code)
    }

    #[test]
    fn a_local_hub_answers_to_its_own_names_on_any_port() {
        for host in ["localhost:8420", "LOCALHOST", "127.0.0.1:8420", "[::1]:9"] {
            assert_eq!(asked(&local(), &[("host", host)]), Ok(()), "{host}");
        }
    }

    #[test]
    fn a_local_hub_does_not_answer_to_a_stranger_s_name_for_it() {
        for host in ["evil.example:8420", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.2"] {
            assert_eq!(asked(&local(), &[("host", host)]), Err(Code::Forbidden), "{host}");
        }
    }

    #[test]
    fn a_request_that_names_no_host_or_several_is_refused() {
        assert_eq!(asked(&local(), &[]), Err(Code::Invalid));
        assert_eq!(asked(&local(), &[("host", "localhost"), ("host", "localhost")]), Err(Code::Invalid));
        assert_eq!(asked(&local(), &[("host", "user@localhost")]), Err(Code::Invalid));
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("localhost"));
        let elsewhere = Uri::from_static("http://evil.example/");
        assert_eq!(decide(&local(), &elsewhere, &headers).unwrap_err().code, Code::Invalid);
    }

    #[test]
    fn the_hub_s_own_page_may_talk_to_it() {
        for (host, origin) in [
            ("127.0.0.1:8420", "http://127.0.0.1:8420"),
            ("localhost:8420", "http://localhost:8420"),
            // Reached under another name than the public one.
            ("localhost:9999", "http://localhost:9999"),
            ("localhost", "http://127.0.0.1:8420"),
        ] {
            assert_eq!(asked(&local(), &[("host", host), ("origin", origin)]), Ok(()), "{origin}");
        }
    }

    #[test]
    fn a_stranger_s_page_may_not() {
        for origin in [
            "https://evil.example",
            "http://localhost:3000",
            "http://127.0.0.1",
            "null",
            "file://",
            "nonsense",
        ] {
            let headers = [("host", "localhost:8420"), ("origin", origin)];
            assert_eq!(asked(&local(), &headers), Err(Code::Forbidden), "{origin}");
        }
    }

    #[test]
    fn behind_a_proxy_that_ends_tls_the_page_s_origin_is_https() {
        let config = HubConfig::new(PathBuf::new(), Url::parse("http://hub.svc:8080").unwrap());
        let headers = [("host", "gadget.example"), ("origin", "https://gadget.example")];
        assert_eq!(asked(&config, &headers), Ok(()));
    }

    #[test]
    fn configured_origins_may_talk_to_the_hub() {
        let config = HubConfig { allowed_origins: vec!["https://ide.example".to_owned()], ..local() };
        let from = |origin| asked(&config, &[("host", "localhost:8420"), ("origin", origin)]);
        assert_eq!(from("https://ide.example"), Ok(()));
        assert_eq!(from("http://ide.example"), Err(Code::Forbidden));
        assert_eq!(from("https://ide.example:444"), Err(Code::Forbidden));
    }
}
