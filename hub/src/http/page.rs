//! The built page at `/`, embedded in the program, and the headers that keep it to itself.

use std::borrow::Cow;
use std::fmt::Write as _;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use protocol::error::{Code, Refusal};
use rust_embed::{Embed, EmbeddedFile};

use crate::app::SharedApp;
use crate::http::problem::Problem;

/// What `npm run build` in `hub/web` made. An unoptimised program reads the files where they were built.
#[derive(Embed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Built;

const INDEX: &str = "index.html";
/// Files under it carry a hash of their content in their names.
const HASHED: &str = "assets/";

/// Nothing inline, nothing from elsewhere, in nobody's frame; and no address of ours in anybody's log.
const HEADERS: [(&str, &str); 7] = [
    (
        "content-security-policy",
        "default-src 'self'; connect-src 'self' ws: wss:; style-src 'self'; img-src 'self' data:; \
         object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
];

/// `/` and every file of the built page. The page routes by the URL's fragment, so there is nothing else to answer.
pub fn router() -> Router<SharedApp> {
    let index = Router::new().route("/", get(|headers: HeaderMap| async move { answer(INDEX, &headers) }));
    let beside = Built::iter().filter(|name| !name.starts_with(HASHED)).map(Cow::into_owned);
    beside
        .fold(index, |router, name| {
            let path = format!("/{name}");
            router.route(&path, get(move |headers: HeaderMap| async move { answer(&name, &headers) }))
        })
        .route("/assets/{*path}", get(asset))
}

async fn asset(axum::extract::Path(path): axum::extract::Path<String>, headers: HeaderMap) -> Response {
    answer(&format!("{HASHED}{path}"), &headers)
}

fn answer(name: &str, request: &HeaderMap) -> Response {
    let mut response = match Built::get(name) {
        Some(file) => file_response(name, file, request),
        None => Problem::from(Refusal::new(Code::NotFound, "the page has no such file")).into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

fn file_response(name: &str, file: EmbeddedFile, request: &HeaderMap) -> Response {
    // A hashed name never means another content; anything else is asked for again and usually not sent again.
    let cache = if name.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let etag = format!("\"{}\"", hex(&file.metadata.sha256_hash()));
    let known = request.get_all(IF_NONE_MATCH).iter().any(|value| names(value, &etag));
    let cache_headers = [(CACHE_CONTROL, cache), (ETAG, etag.as_str())];
    if known {
        return (StatusCode::NOT_MODIFIED, cache_headers).into_response();
    }
    (cache_headers, [(CONTENT_TYPE, content_type(name))], file.data).into_response()
}

fn names(value: &HeaderValue, etag: &str) -> bool {
    let tags = value.to_str().unwrap_or_default();
    tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

fn content_type(name: &str) -> String {
    let guessed = mime_guess::from_path(name).first_or_octet_stream();
    match guessed.type_() {
        mime_guess::mime::TEXT => format!("{guessed}; charset=utf-8"),
        _ => guessed.to_string(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header<'a>(response: &'a Response, name: &str) -> &'a str {
        response.headers().get(name).unwrap().to_str().unwrap()
    }

    #[test]
    fn the_page_is_html_that_is_asked_for_again_each_time() {
        let response = answer(INDEX, &HeaderMap::new());
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(header(&response, "content-type"), "text/html; charset=utf-8");
        assert_eq!(header(&response, "cache-control"), "no-cache");
    }

    #[test]
    fn what_a_browser_has_is_not_sent_again() {
        let etag = header(&answer(INDEX, &HeaderMap::new()), "etag").to_owned();
        for known in [etag.clone(), format!("\"x\", W/{etag}"), "*".to_owned()] {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, known.parse().unwrap());
            assert_eq!(answer(INDEX, &headers).status(), StatusCode::NOT_MODIFIED, "{known}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, "\"older\"".parse().unwrap());
        assert_eq!(answer(INDEX, &headers).status(), StatusCode::OK);
    }

    #[test]
    fn every_answer_keeps_the_page_to_itself() {
        for name in [INDEX, "assets/none.js"] {
            let response = answer(name, &HeaderMap::new());
            let policy = header(&response, "content-security-policy");
            assert!(policy.starts_with("default-src 'self'; connect-src 'self' ws: wss:;"), "{policy}");
            assert!(!policy.contains("unsafe"), "{policy}");
            assert_eq!(header(&response, "x-content-type-options"), "nosniff");
        }
    }

    #[test]
    fn files_have_the_types_that_browsers_insist_on() {
        for (name, kind) in [
            ("assets/a.js", "text/javascript; charset=utf-8"),
            ("assets/a.css", "text/css; charset=utf-8"),
            ("assets/a.svg", "image/svg+xml"),
            ("assets/a.woff2", "font/woff2"),
            ("assets/a", "application/octet-stream"),
        ] {
            assert_eq!(content_type(name), kind);
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_said_so() {
        for name in ["assets/none.js", "../Cargo.toml", "assets/../../Cargo.toml"] {
            assert_eq!(answer(name, &HeaderMap::new()).status(), StatusCode::NOT_FOUND, "{name}");
        }
    }

    #[test]
    fn everything_that_the_page_loads_is_there() {
        let index = Built::get(INDEX).unwrap();
        let html = String::from_utf8(index.data.into_owned()).unwrap();
        let loaded = html
            .split(['"', '\''])
            .filter_map(|text| text.strip_prefix('/'))
            .filter(|name| name.contains('.'));
        for name in loaded {
            assert!(Built::get(name).is_some(), "{name} is not in the built page");
        }
        assert!(!html.contains("<script>"), "an inline script would not run");
    }
}
