use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use tokio::net::TcpListener;

use super::*;

/// A provider on a free port. It ends with the test's runtime.
async fn serve(router: Router) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/v1", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn client() -> reqwest::Client {
    super::super::http_client().unwrap()
}

fn ids(models: &[ProviderModel]) -> Vec<&str> {
    models.iter().map(|model| model.id.as_str()).collect()
}

#[tokio::test]
async fn models_of_an_openai_endpoint_are_found_with_what_it_says_of_them() {
    let list = json!({ "data": [
        { "id": "small" },
        { "id": "big", "context_length": 64000, "supported_parameters": ["tools", "reasoning"] },
    ] });
    let url = serve(Router::new().route("/v1/models", get(|| async move { axum::Json(list) }))).await;
    let found = models(&client(), Sdk::OpenAi, &url, None).await.unwrap();
    assert_eq!(ids(&found), ["big", "small"]);
    assert_eq!(found[0].context_window, Some(64_000));
    assert!(found[0].capabilities.thinking && found[0].capabilities.tools);
    assert!(!found[1].capabilities.thinking && found[1].capabilities.tools);
}

#[tokio::test]
async fn models_of_ollama_are_found_with_capabilities_and_context() {
    let tags = json!({ "models": [{ "name": "qwen:7b" }, { "name": "broken" }] });
    let show = |body: axum::Json<Value>| async move {
        if body["model"] == "broken" {
            return Err(StatusCode::INTERNAL_SERVER_ERROR);
        }
        Ok(axum::Json(json!({
            "capabilities": ["completion", "tools", "thinking"],
            "model_info": { "qwen.context_length": 32768 },
        })))
    };
    let router = Router::new()
        .route("/v1/api/tags", get(|| async move { axum::Json(tags) }))
        .route("/v1/api/show", post(show));
    let url = serve(router).await;
    let found = models(&client(), Sdk::Ollama, &url, None).await.unwrap();
    assert_eq!(ids(&found), ["broken", "qwen:7b"]);
    assert_eq!(found[1].context_window, Some(32_768));
    assert!(found[1].capabilities.thinking && found[1].capabilities.tools && !found[1].capabilities.vision);
    assert_eq!(found[0].capabilities, Capabilities::default());
}

#[test]
fn the_window_of_an_ollama_model_is_its_files_own_or_one_that_fits_a_machine() {
    let window = |parameters: &str, largest: u64| {
        ollama_window(&json!({ "parameters": parameters, "model_info": { "x.context_length": largest } }))
    };
    assert_eq!(window("", 8192), Some(8192));
    assert_eq!(window("", 262_144), Some(32_768));
    assert_eq!(window("stop  \"<end>\"\nnum_ctx                        65536", 262_144), Some(65_536));
    assert_eq!(ollama_window(&json!({})), None);
}

#[tokio::test]
async fn what_is_wrong_is_said_with_the_address() {
    let url = serve(Router::new().route("/v1/models", get(|| async { StatusCode::UNAUTHORIZED }))).await;
    let refused = models(&client(), Sdk::OpenAi, &url, None).await.unwrap_err();
    assert!(matches!(refused, ProbeError::KeyRefused { status: 401, .. }), "{refused}");
    let elsewhere = models(&client(), Sdk::Ollama, &url, None).await.unwrap_err();
    assert!(matches!(elsewhere, ProbeError::Status { status: 404, .. }), "{elsewhere}");
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let nobody = Url::parse(&format!("http://{closed}")).unwrap();
    let unreachable = models(&client(), Sdk::OpenAi, &nobody, None).await.unwrap_err().to_string();
    assert!(unreachable.contains("refused"), "{unreachable}");
}

#[test]
fn a_model_that_is_gone_stays_and_is_marked() {
    let model = |id: &str| ollama_model(id.to_owned(), &Value::Null);
    let merged = merge(&[model("old"), model("both")], vec![model("both"), model("new")]);
    let seen: Vec<_> = merged.iter().map(|model| (model.id.as_str(), model.removed)).collect();
    assert_eq!(seen, [("both", false), ("new", false), ("old", true)]);
}
