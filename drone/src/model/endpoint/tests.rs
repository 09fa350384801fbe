use std::sync::{Arc, Mutex};

use axum::Router;
use axum::response::IntoResponse;
use protocol::document::Capabilities;
use protocol::value::ReasoningEffort;
use scripted_model::script::{Drip, ErrorStep, Step};
use scripted_model::settings::Settings;
use scripted_model::{Observed, ScriptedModel, Server};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::*;
use crate::model::{Completion, Message, ModelEvent, Stop};
use crate::session_token::TokenKeeper;

const LIMIT: Duration = Duration::from_secs(30);
const DIALECTS: [Dialect; 2] = [Dialect::OpenAi, Dialect::Ollama];

/// The one that a test waits for is short, the others long enough for any machine.
fn clocks(short: Option<Clock>) -> Clocks {
    let limit = |clock| if short == Some(clock) { Duration::from_millis(200) } else { LIMIT };
    Clocks {
        headers: limit(Clock::Headers),
        first_delta: limit(Clock::FirstDelta),
        next_delta: limit(Clock::NextDelta),
    }
}

fn client() -> reqwest::Client {
    http_client(&"http://127.0.0.1".parse().unwrap()).unwrap()
}

fn endpoint(hub: &str, dialect: Dialect, clocks: Clocks) -> Endpoint {
    endpoint_by(client(), hub, dialect, clocks)
}

fn endpoint_by(client: reqwest::Client, hub: &str, dialect: Dialect, clocks: Clocks) -> Endpoint {
    let tokens = TokenKeeper::new(Some(SessionToken::new("token"))).tokens();
    Endpoint::new(client, &hub.parse().unwrap(), "some provider", dialect, tokens, clocks).unwrap()
}

fn request(prompt: &str) -> ModelRequest {
    ModelRequest {
        model: "scripted".to_owned(),
        system: String::new(),
        messages: vec![Message::User { text: prompt.to_owned() }],
        tools: Vec::new(),
        reasoning_effort: ReasoningEffort::Off,
        capabilities: Capabilities { thinking: false, tools: true, vision: false },
        context_window: None,
        max_output_tokens: None,
    }
}

/// A server that does what the prompt's JSON says.
async fn serve() -> (ScriptedModel, Server) {
    let model = ScriptedModel::with_rule(Settings::default(), |request| {
        Some(serde_json::from_str(request.prompt().unwrap()).unwrap())
    });
    let server = model.serve_here().await.unwrap();
    (model, server)
}

fn prompt(steps: &[Step]) -> ModelRequest {
    request(&serde_json::to_string(steps).unwrap())
}

async fn run(endpoint: &Endpoint, request: &ModelRequest) -> (Vec<ModelEvent>, Result<Completion, Fault>) {
    let mut events = Vec::new();
    let mut stream = match endpoint.stream(request, CancellationToken::new()).await {
        Ok(stream) => stream,
        Err(fault) => return (events, Err(fault)),
    };
    loop {
        match timeout(LIMIT, stream.next()).await.expect("the stream hangs") {
            Some(Ok(ModelEvent::Done(completion))) => {
                assert!(stream.next().await.is_none(), "nothing comes after the end");
                return (events, Ok(completion));
            }
            Some(Ok(event)) => events.push(event),
            Some(Err(fault)) => {
                assert!(stream.next().await.is_none(), "nothing comes after a fault");
                return (events, Err(fault));
            }
            None => panic!("a stream without an end"),
        }
    }
}

async fn wait_for(model: &ScriptedModel, is_there: impl FnMut(&Observed) -> bool) {
    timeout(LIMIT, model.observed().wait_for(is_there)).await.expect("it did not happen").unwrap();
}

fn answer() -> Vec<Step> {
    vec![
        Step::think("first this "),
        Step::say("then that"),
        Step::call("read", json!({ "path": "a/b c" })),
        Step::call("read", json!({ "path": "ä€😀" })),
    ]
}

#[tokio::test]
async fn an_answer_comes_whole_in_every_dialect_also_byte_by_byte() {
    let (model, server) = serve().await;
    for dialect in DIALECTS {
        for drip in [None, Some(Step::Drip(Drip { bytes: 1, pause: 0 }))] {
            let steps: Vec<Step> = drip.into_iter().chain(answer()).collect();
            let endpoint = endpoint(&server.url(), dialect, clocks(None));
            let completion = run(&endpoint, &prompt(&steps)).await.1.unwrap();
            assert_eq!(completion.text, "then that");
            assert_eq!(completion.thinking.as_deref(), Some("first this "));
            assert_eq!(completion.stop, Stop::ToolCalls);
            let arguments: Vec<_> = completion.calls.iter().map(|call| call.arguments.as_str()).collect();
            assert_eq!(arguments, ["{\"path\":\"a/b c\"}", "{\"path\":\"ä€😀\"}"]);
            assert_ne!(completion.calls[0].id, completion.calls[1].id);
            assert!(completion.usage.unwrap().input_tokens > 0);
        }
    }
    assert_eq!(model.violations(), Vec::<String>::new());
}

/// Where in an answer something goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    BeforeHeaders,
    AfterHeaders,
    InThinking,
    InText,
    AfterCall,
    AfterStop,
}

impl Place {
    /// What is waited for there.
    fn clock(self) -> Clock {
        match self {
            Self::BeforeHeaders => Clock::Headers,
            Self::AfterHeaders => Clock::FirstDelta,
            Self::InThinking | Self::InText | Self::AfterCall | Self::AfterStop => Clock::NextDelta,
        }
    }
}

const PLACES: [Place; 6] = [
    Place::BeforeHeaders,
    Place::AfterHeaders,
    Place::InThinking,
    Place::InText,
    Place::AfterCall,
    Place::AfterStop,
];

fn up_to(place: Place, dialect: Dialect) -> Vec<Step> {
    let stop = match dialect {
        Dialect::Ollama => json!({ "message": { "content": "" }, "done": true, "done_reason": "stop" }),
        _ => json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] }),
    };
    match place {
        Place::BeforeHeaders => vec![],
        Place::AfterHeaders => vec![Step::Headers([].into())],
        Place::InThinking => vec![Step::think("so ")],
        Place::InText => vec![Step::think("so "), Step::say("it is ")],
        Place::AfterCall => vec![Step::say("look "), Step::call("read", json!({ "path": "x" }))],
        Place::AfterStop => vec![Step::say("all"), Step::Frame(stop)],
    }
}

#[tokio::test]
async fn every_accident_at_every_place_is_the_fault_that_it_is() {
    let (_model, server) = serve().await;
    let error = Step::Error(ErrorStep { message: "overloaded".to_owned(), code: None });
    let client = client();
    for dialect in DIALECTS {
        for place in PLACES {
            for accident in [Step::Cut, Step::Stall, Step::End, Step::BadFrame, error.clone()] {
                let mut steps = up_to(place, dialect);
                steps.push(accident.clone());
                // A frame ends nothing by itself; the body must not go on as if all were well.
                steps.push(Step::End);
                let clocks = clocks((accident == Step::Stall).then_some(place.clock()));
                let endpoint = endpoint_by(client.clone(), &server.url(), dialect, clocks);
                let (events, end) = run(&endpoint, &prompt(&steps)).await;
                let case = format!("{dialect} {place:?} {accident:?}: {events:?} {end:?}");
                if place == Place::AfterStop {
                    assert_eq!(end.unwrap().text, "all", "{case}");
                    continue;
                }
                let fault = end.unwrap_err();
                assert!(fault.is_retryable(), "{case}");
                let is_right = match (&accident, place) {
                    (Step::Cut, _) => matches!(fault, Fault::Connect { .. }),
                    (Step::Stall, _) => {
                        matches!(fault, Fault::Stalled { clock, .. } if clock == place.clock())
                    }
                    (Step::End, _) => matches!(fault, Fault::Truncated),
                    (Step::BadFrame, _) => matches!(fault, Fault::Frame { .. }),
                    _ => matches!(fault, Fault::ErrorInStream { .. }),
                };
                assert!(is_right, "{case}");
                let told = !matches!(place, Place::BeforeHeaders | Place::AfterHeaders);
                assert_eq!(!events.is_empty(), told, "what came before is told: {case}");
            }
        }
    }
}

#[tokio::test]
async fn a_stream_of_nothing_but_comments_is_a_stall() {
    let (_model, server) = serve().await;
    let mut steps = vec![Step::Headers([].into())];
    for _ in 0..200 {
        steps.extend([Step::Comment("still there".to_owned()), Step::Pause(10)]);
    }
    let endpoint = endpoint(&server.url(), Dialect::OpenAi, clocks(Some(Clock::FirstDelta)));
    let fault = run(&endpoint, &prompt(&steps)).await.1.unwrap_err();
    assert!(matches!(fault, Fault::Stalled { clock: Clock::FirstDelta, .. }), "{fault:?}");
}

#[tokio::test]
async fn a_status_is_a_typed_fault_with_the_wait_that_was_asked_for() {
    let (_model, server) = serve().await;
    for dialect in DIALECTS {
        let endpoint = endpoint(&server.url(), dialect, clocks(None));
        for (step, code, wait) in [
            (Step::rate_limit("7"), 429, Some(7)),
            (Step::rate_limit("Wed, 01 Jan 2020 00:00:00 GMT"), 429, Some(0)),
            (Step::status(500), 500, None),
            (Step::status(529), 529, None),
            (Step::status(404), 404, None),
        ] {
            match run(&endpoint, &prompt(&[step])).await.1 {
                Err(Fault::Status { code: got, retry_after, message }) => {
                    assert_eq!((got, retry_after), (code, wait.map(Duration::from_secs)));
                    assert_eq!(message, format!("scripted status {code}"));
                }
                other => panic!("{code}: {other:?}"),
            }
        }
        for code in [401, 402, 403] {
            let fault = run(&endpoint, &prompt(&[Step::status(code)])).await.1.unwrap_err();
            assert!(matches!(fault, Fault::Auth { code: got, .. } if got == code), "{fault:?}");
        }
        let fault = run(&endpoint, &prompt(&[Step::Overflow])).await.1.unwrap_err();
        assert!(matches!(fault, Fault::Overflow { .. }), "{fault:?}");
    }
}

#[tokio::test]
async fn dropping_the_stream_closes_the_connection() {
    let (model, server) = serve().await;
    for (nth, dialect) in DIALECTS.into_iter().enumerate() {
        let endpoint = endpoint(&server.url(), dialect, clocks(None));
        let request = prompt(&[Step::say("a"), Step::Stall]);
        let mut stream = endpoint.stream(&request, CancellationToken::new()).await.unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap(), ModelEvent::Text("a".to_owned()));
        drop(stream);
        wait_for(&model, |observed| observed.abandoned == nth + 1).await;
    }
}

#[tokio::test]
async fn cancelling_ends_the_call_wherever_it_is() {
    let (model, server) = serve().await;
    let endpoint = endpoint(&server.url(), Dialect::OpenAi, clocks(None));
    let cancel = CancellationToken::new();
    let waits_for_headers = prompt(&[Step::Stall]);
    let (fault, ()) = tokio::join!(endpoint.stream(&waits_for_headers, cancel.clone()), async {
        wait_for(&model, |observed| observed.requests == 1).await;
        cancel.cancel();
    });
    assert!(matches!(fault.err(), Some(Fault::Cancelled)));
    wait_for(&model, |observed| observed.abandoned == 1).await;

    let cancel = CancellationToken::new();
    let waits_for_more = prompt(&[Step::say("a"), Step::Stall]);
    let mut stream = endpoint.stream(&waits_for_more, cancel.clone()).await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    let (end, ()) = tokio::join!(stream.next(), async { cancel.cancel() });
    assert!(matches!(end, Some(Err(Fault::Cancelled))), "{end:?}");
    wait_for(&model, |observed| observed.abandoned == 2).await;
}

#[tokio::test]
async fn a_hub_that_cannot_be_reached_is_away() {
    let (_model, server) = serve().await;
    let url = server.url();
    let endpoint = endpoint(&url, Dialect::OpenAi, clocks(None));
    let request = prompt(&[Step::say("a"), Step::Stall]);
    let mut stream = endpoint.stream(&request, CancellationToken::new()).await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    server.stop().await;
    let broken = stream.next().await.unwrap();
    assert!(matches!(broken, Err(Fault::HubAway { .. })), "in mid-answer: {broken:?}");
    let refused = run(&endpoint, &request).await.1;
    assert!(matches!(refused, Err(Fault::HubAway { .. })), "before one: {refused:?}");
}

/// A stand-in for the hub that answers each request by this.
async fn hub<R: IntoResponse + 'static>(
    answer: impl Fn(HeaderMap, http::Uri) -> R + Clone + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(move |headers: HeaderMap, uri: http::Uri| {
        let response = answer(headers, uri).into_response();
        async move { response }
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

const DONE: &str =
    "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

#[tokio::test]
async fn a_draining_hub_is_away_but_a_providers_503_is_not() {
    for (is_hub, expected) in [(true, true), (false, false)] {
        let url = hub(move |_, _| {
            let mut headers = HeaderMap::new();
            if is_hub {
                headers.insert(HUB_HEADER, "draining".parse().unwrap());
            }
            (StatusCode::SERVICE_UNAVAILABLE, headers, "later")
        })
        .await;
        let fault = run(&endpoint(&url, Dialect::OpenAi, clocks(None)), &request("hi")).await.1.unwrap_err();
        assert_eq!(matches!(fault, Fault::HubAway { .. }), expected, "{fault:?}");
    }
}

#[tokio::test]
async fn requests_go_to_the_provider_behind_the_hub_with_the_sessions_token() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&seen);
    let url = hub(move |headers, uri| {
        let token = headers["authorization"].to_str().unwrap().to_owned();
        keep.lock().unwrap().push((uri.path().to_owned(), token));
        DONE
    })
    .await;
    let completion = run(&endpoint(&url, Dialect::OpenAi, clocks(None)), &request("hi")).await.1.unwrap();
    assert_eq!(completion.text, "a");
    let expected = ("/internal/model/some%20provider/chat/completions".to_owned(), "Bearer token".to_owned());
    assert_eq!(*seen.lock().unwrap(), [expected]);
}

#[tokio::test]
async fn a_token_that_has_run_out_is_replaced_by_the_next_one() {
    let url = hub(|headers, _| {
        if headers["authorization"] == "Bearer new" {
            return DONE.into_response();
        }
        (StatusCode::UNAUTHORIZED, [(HUB_HEADER, "token_expired")], "expired").into_response()
    })
    .await;
    let keeper = TokenKeeper::new(Some(SessionToken::new("old")));
    let hub = url.parse().unwrap();
    let client = client();
    let tokens = keeper.tokens();
    let endpoint = Endpoint::new(client, &hub, "p", Dialect::OpenAi, tokens, clocks(None)).unwrap();
    let request = request("hi");
    let answer = run(&endpoint, &request);
    let renewed = async {
        keeper.refused().await;
        keeper.put(Some(SessionToken::new("new")));
    };
    let ((_, completion), ()) = tokio::join!(answer, renewed);
    assert_eq!(completion.unwrap().text, "a");
}

#[tokio::test]
async fn a_hub_that_has_given_no_token_yet_is_away() {
    let tokens = TokenKeeper::new(None).tokens();
    let hub = "http://127.0.0.1:9".parse().unwrap();
    let client = client();
    let endpoint = Endpoint::new(client, &hub, "p", Dialect::OpenAi, tokens, clocks(None)).unwrap();
    let fault = run(&endpoint, &request("hi")).await.1.unwrap_err();
    assert!(matches!(fault, Fault::HubAway { .. }), "{fault:?}");
}

#[tokio::test]
async fn a_page_instead_of_an_answer_is_told_as_that() {
    let url = hub(|_, _| axum::response::Html("<html>sign in</html>")).await;
    let fault = run(&endpoint(&url, Dialect::OpenAi, clocks(None)), &request("hi")).await.1.unwrap_err();
    assert!(fault.to_string().contains("HTML page"), "{fault}");
}

/// A server that handles whole connections by hand. `serve` gets each connection with its number.
async fn raw<F>(serve: impl Fn(TcpStream, usize) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        for nth in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, nth));
        }
    });
    url
}

/// Reads one request with a body.
async fn read_request(stream: &mut TcpStream) {
    let mut bytes = Vec::new();
    loop {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "the client has gone");
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() >= length.parse().unwrap() {
            return;
        }
    }
}

#[tokio::test]
async fn a_request_that_dies_on_a_reused_connection_is_made_again_at_once() {
    let url = raw(|mut stream, _| async move {
        read_request(&mut stream).await;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", DONE.len());
        stream.write_all(format!("{head}{DONE}").as_bytes()).await.unwrap();
        // Takes the next request on this connection and answers nothing.
        read_request(&mut stream).await;
    })
    .await;
    let endpoint = endpoint(&url, Dialect::OpenAi, clocks(None));
    for _ in 0..3 {
        assert_eq!(run(&endpoint, &request("hi")).await.1.unwrap().text, "a");
    }
}

#[tokio::test]
async fn a_request_that_dies_on_a_fresh_connection_is_a_fault() {
    let (count, counted) = watch::channel(0);
    let url = raw(move |mut stream, _| {
        let count = count.clone();
        async move {
            read_request(&mut stream).await;
            count.send_modify(|count| *count += 1);
        }
    })
    .await;
    let fault = run(&endpoint(&url, Dialect::OpenAi, clocks(None)), &request("hi")).await.1.unwrap_err();
    assert!(matches!(fault, Fault::Connect { .. }), "{fault:?}");
    assert_eq!(*counted.borrow(), 1);
}

#[tokio::test]
async fn a_consumer_that_waits_makes_the_endpoint_wait() {
    const PIECES: usize = 960;
    let (sent, mut progress) = watch::channel(0_usize);
    let url = raw(move |mut stream, _| {
        let sent = sent.clone();
        async move {
            read_request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await.unwrap();
            let text = "x".repeat(32 * 1024);
            let frame = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
            for nth in 1..=PIECES {
                stream.write_all(frame.as_bytes()).await.unwrap();
                sent.send_replace(nth);
            }
            stream.write_all(DONE.as_bytes()).await.unwrap();
        }
    })
    .await;
    let endpoint = endpoint(&url, Dialect::OpenAi, clocks(None));
    let mut stream = endpoint.stream(&request("hi"), CancellationToken::new()).await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    // Nobody polls the stream now: the writer comes to a halt, or to its end if someone queues without bound.
    while let Ok(change) = timeout(Duration::from_millis(500), progress.changed()).await {
        if change.is_err() {
            break;
        }
    }
    let halted_at = *progress.borrow();
    assert!(halted_at < PIECES / 2, "{halted_at} of {PIECES} pieces went into a queue");
    let mut length = 0;
    while let Some(event) = stream.next().await {
        if let ModelEvent::Done(completion) = event.unwrap() {
            length = completion.text.len();
        }
    }
    assert_eq!(length, PIECES * 32 * 1024 + 1);
}

#[test]
fn a_dialect_that_is_not_spoken_is_refused_before_any_call() {
    let tokens = TokenKeeper::new(None).tokens();
    let hub = "http://127.0.0.1:9".parse().unwrap();
    let client = client();
    let endpoint = Endpoint::new(client, &hub, "p", Dialect::Anthropic, tokens, Clocks::default());
    assert!(matches!(endpoint, Err(Fault::Unsupported { dialect: Dialect::Anthropic })));
}
