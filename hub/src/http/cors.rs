//! What browsers are told about pages of other origins: those that the configuration names may talk to the hub.
//!
//! Requests of any other origin are refused by [`super::host`]; this is only for browsers, which would otherwise keep
//! the answers from pages that are allowed.

use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::config::HubConfig;

/// Says nothing to a page whose origin is not named. No cookies: tokens travel in a header of their own.
pub(crate) fn layer(config: &HubConfig) -> CorsLayer {
    let origins = config.allowed_origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE])
        .max_age(Duration::from_mins(10))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use http::{Request, Response};
    use tower::ServiceExt as _;
    use url::Url;

    async fn preflight(origin: &'static str) -> Response<Body> {
        let url = Url::parse("http://hub.example").unwrap();
        let config = HubConfig {
            allowed_origins: vec!["https://ide.example".to_owned()],
            ..HubConfig::new("/data".into(), url)
        };
        let request =
            Request::options("/").header("origin", origin).header("access-control-request-method", "PUT");
        let app = Router::new().route("/", get(async || "")).layer(layer(&config));
        app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn a_named_origin_may_send_a_token() {
        let answer = preflight("https://ide.example").await;
        assert_eq!(answer.headers()["access-control-allow-origin"], "https://ide.example");
        assert!(answer.headers()["access-control-allow-headers"].to_str().unwrap().contains("authorization"));
        assert!(answer.headers()["access-control-allow-methods"].to_str().unwrap().contains("PUT"));
        assert!(!answer.headers().contains_key("access-control-allow-credentials"));
    }

    #[tokio::test]
    async fn any_other_origin_is_told_nothing() {
        for origin in ["https://evil.example", "null", "https://ide.example.evil.example"] {
            assert!(
                !preflight(origin).await.headers().contains_key("access-control-allow-origin"),
                "{origin}"
            );
        }
    }
}
