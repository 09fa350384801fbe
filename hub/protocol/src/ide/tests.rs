use super::*;

#[test]
fn documents_are_read_for_their_id_alone() {
    let document = json!({ "_id": "s1", "name": "whatever a client says", "user": "someone else" });
    let parsed =
        IdeRequest::parse(name::REQUEST_SESSION_LOCK, &[Value::Null, json!("p1"), document]).unwrap();
    assert_eq!(
        parsed,
        IdeRequest::RequestSessionLock {
            registration: None,
            project: Some("p1".into()),
            chat_session: "s1".into(),
            take_over: false
        }
    );
}

#[test]
fn a_file_tree_request_needs_no_argument() {
    assert_eq!(
        IdeRequest::parse(name::FILE_TREE_REQUEST, &[]).unwrap(),
        IdeRequest::FileTree(FileTreeRequest::default())
    );
}

#[test]
fn bad_arguments_are_refused_with_the_event_and_what_is_wrong() {
    for (event, args, message) in [
        (name::SUBMIT_PROMPT, vec![json!("  ")], "submitPrompt: the prompt must be a text that is not empty"),
        (name::REQUEST_SESSION_LOCK, vec![], "requestSessionLock: chatSession is missing"),
        (
            name::REQUEST_SESSION_LOCK,
            vec![json!(7)],
            "requestSessionLock: registration must be a document with an _id, or an id",
        ),
        (
            name::REQUEST_WORKSPACE_MODE,
            vec![json!("d"), json!("p"), json!("s"), json!("root")],
            "requestWorkspaceMode: the mode must be one of idle, user, agent",
        ),
    ] {
        let refusal = IdeRequest::parse(event, &args).unwrap_err();
        assert_eq!((refusal.code, refusal.message.as_str()), (Code::Invalid, message));
    }
    assert_eq!(IdeRequest::parse("nonsense", &[]).unwrap_err().code, Code::UnknownEvent);
}

#[test]
fn a_refusal_has_the_shape_of_the_event_s_own_ack() {
    let refusal = Refusal::new(Code::Busy, "a turn is running");
    let ack = |event| Value::Array(refusal_ack(event, &refusal, "s1", WorkspaceMode::Agent));
    let detail = json!({ "code": "busy", "message": "a turn is running" });
    assert_eq!(ack(name::REQUEST_SESSION_LOCK), json!([false, "s1", detail]));
    assert_eq!(ack(name::REQUEST_WORKSPACE_MODE), json!([false, "agent", "a turn is running"]));
    assert_eq!(ack(name::SUBMIT_PROMPT), json!([false, detail]));
    assert_eq!(ack(name::ABORT_WORK_ORDER), json!([false, "a turn is running"]));
    assert_eq!(
        ack(name::FILE_READ_REQUEST),
        json!([false, { "error": "a turn is running", "code": "busy" }])
    );
}
