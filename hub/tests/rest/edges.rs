//! What is answered where there is nothing, or nothing by that method.

use http::Method;

use crate::fixture::Hub;

#[tokio::test]
async fn an_unknown_path_and_a_wrong_method_are_answered_with_a_problem() {
    let hub = Hub::new().await;
    for path in ["/nonsense", "/api/v1/nonsense", "/api", "/internal/nonsense", "/assets/none.js"] {
        let answer = hub.ask(Method::GET, path, None, None).await;
        assert_eq!(answer.refusal(), (404, "not_found"), "{path}");
        assert_eq!(answer.content_type, "application/problem+json", "{path}");
    }
    for (method, path) in [
        (Method::DELETE, "/api/v1/me"),
        (Method::POST, "/"),
        (Method::PUT, "/healthz"),
        (Method::GET, "/internal/git-credential"),
    ] {
        let answer = hub.ask(method, path, None, None).await;
        assert_eq!(answer.refusal(), (405, "invalid"), "{path}");
    }
}

#[tokio::test]
async fn a_hub_for_this_machine_alone_does_not_answer_to_other_names() {
    let named = |config: &mut hub::config::HubConfig| {
        config.hosts = hub::config::AllowedHosts::These(vec!["other".into()]);
    };
    // The public address of the fixture is 127.0.0.1, which stays good.
    let hub = Hub::with(named).await;
    assert_eq!(hub.ask(Method::GET, "/api/v1/me", None, None).await.refusal(), (401, "unauthorized"));
    let hub = Hub::with(|config| {
        named(config);
        config.public_url = "http://third".parse().unwrap();
    })
    .await;
    assert_eq!(hub.ask(Method::GET, "/api/v1/me", None, None).await.refusal(), (403, "forbidden"));
    // A probe comes by the address of a pod or the like.
    assert_eq!(hub.ask(Method::GET, "/healthz", None, None).await.status, 200);
}
