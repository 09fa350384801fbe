//! Users, projects, sessions, drones, settings.

use jiff::Timestamp;
use protocol::document::{NEW_SESSION_NAME, RoutingAction, RoutingRule};
use protocol::ids::UserId;
use protocol::value::ChatSessionMode;
use serde_json::json;

use super::{drone, everything, finished, now, project, session, stored_session, texts, turn, user};
use crate::store::{
    Archive, AuditRecord, CredentialRecord, PageRequest, ProviderKey, ProviderRecord, Rename, SessionFilter,
    SessionPatch, Store, StoreError,
};

pub(crate) async fn a_user_is_found_by_id_address_and_handle(store: &dyn Store) {
    let ada = user("ada");
    store.insert_user(ada.clone()).await.unwrap();
    store.insert_user(user("bob")).await.unwrap();
    assert_eq!(store.user(&ada.user.id).await.unwrap(), Some(ada.clone()));
    assert_eq!(store.user_by_email("ada@example.org").await.unwrap(), Some(ada.clone()));
    assert_eq!(store.user_by_handle("ada").await.unwrap(), Some(ada.clone()));
    assert_eq!(store.user_by_handle("eve").await.unwrap(), None);
    let mut changed = ada.clone();
    changed.disabled = true;
    changed.user.email = "lovelace@example.org".to_owned();
    store.update_user(changed.clone()).await.unwrap();
    assert_eq!(store.user_by_email("lovelace@example.org").await.unwrap(), Some(changed));
    assert_eq!(store.user_by_email("ada@example.org").await.unwrap(), None);
}

pub(crate) async fn addresses_handles_and_slugs_are_unique(store: &dyn Store) {
    store.insert_user(user("ada")).await.unwrap();
    let mut same_email = user("bob");
    same_email.user.email = "ada@example.org".to_owned();
    assert!(matches!(store.insert_user(same_email).await, Err(StoreError::Taken("email"))));
    let mut same_handle = user("bob");
    same_handle.user.handle = "ada".to_owned();
    assert!(matches!(store.insert_user(same_handle).await, Err(StoreError::Taken("handle"))));

    let (mine, theirs) = (UserId::generate(), UserId::generate());
    store.insert_project(project(&mine, "site")).await.unwrap();
    store.insert_project(project(&theirs, "site")).await.unwrap();
    let again = store.insert_project(project(&mine, "site")).await;
    assert!(matches!(again, Err(StoreError::Taken("slug"))), "{again:?}");
    let other = project(&mine, "other");
    store.insert_project(other.clone()).await.unwrap();
    let mut renamed = other;
    renamed.slug = "site".to_owned();
    assert!(matches!(store.update_project(renamed).await, Err(StoreError::Taken("slug"))));
    let found = store.project_by_slug(&theirs, "site").await.unwrap().unwrap();
    assert_eq!(found.user, theirs);
}

pub(crate) async fn a_change_of_what_is_not_there_is_refused(store: &dyn Store) {
    let project = project(&UserId::generate(), "p");
    let session = session(&project);
    let turn = turn(&session, 0);
    for result in [
        store.update_user(user("ada")).await,
        store.update_project(project.clone()).await,
        store.delete_project(&project.id).await,
        store.insert_session(session.clone()).await,
        store.patch_session(&session.id, SessionPatch::default()).await.map(drop),
        store.delete_session(&session.id).await,
        store.patch_turn(&turn.id, crate::store::TurnPatch::default()).await,
        store.delete_drone(&"d".into()).await,
        store.next_generation(&"d".into()).await.map(drop),
        store.delete_provider("p").await,
        store.delete_credential(&project.id).await,
    ] {
        assert!(matches!(result, Err(StoreError::NotFound)), "{result:?}");
    }
}

pub(crate) async fn lists_come_in_pages_in_both_directions(store: &dyn Store) {
    let owner = UserId::generate();
    let mut ids = Vec::new();
    for n in 0..7 {
        let project = project(&owner, &format!("p{n}"));
        ids.push(project.id.clone());
        store.insert_project(project).await.unwrap();
        store.insert_project(super::project(&UserId::generate(), "other")).await.unwrap();
    }
    ids.sort();
    for newest_first in [false, true] {
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let request = PageRequest { cursor, limit: 3, newest_first };
            let page = store.projects(&owner, request).await.unwrap();
            assert!(page.items.len() <= 3);
            seen.extend(page.items.into_iter().map(|project| project.id));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        let mut expected = ids.clone();
        if newest_first {
            expected.reverse();
        }
        assert_eq!(seen, expected);
    }
}

pub(crate) async fn a_signed_out_token_is_remembered(store: &dyn Store) {
    let expires = Timestamp::now() + jiff::SignedDuration::from_hours(1);
    store.revoke_token("t1", expires).await.unwrap();
    store.revoke_token("t1", expires).await.unwrap();
    store.revoke_token("t2", expires).await.unwrap();
    assert!(store.token_revoked("t1").await.unwrap());
    assert!(!store.token_revoked("t3").await.unwrap());
}

pub(crate) async fn a_project_in_use_stays(store: &dyn Store) {
    let session = stored_session(store).await;
    let refused = store.delete_project(&session.project).await;
    assert!(matches!(refused, Err(StoreError::InUse(_))), "{refused:?}");
    store.delete_session(&session.id).await.unwrap();
    store.delete_project(&session.project).await.unwrap();
    assert_eq!(store.project(&session.project).await.unwrap(), None);
}

pub(crate) async fn a_credential_goes_with_its_project(store: &dyn Store) {
    let project = project(&UserId::generate(), "p");
    let credential = CredentialRecord {
        project: project.id.clone(),
        host: "git.example.org".to_owned(),
        sealed: "v1.x".to_owned(),
        created_at: now(),
    };
    assert!(matches!(store.put_credential(credential.clone()).await, Err(StoreError::NotFound)));
    store.insert_project(project.clone()).await.unwrap();
    store.put_credential(credential.clone()).await.unwrap();
    let newer = CredentialRecord { sealed: "v1.y".to_owned(), ..credential };
    store.put_credential(newer.clone()).await.unwrap();
    assert_eq!(store.credential(&project.id).await.unwrap(), Some(newer));
    store.delete_project(&project.id).await.unwrap();
    assert_eq!(store.credential(&project.id).await.unwrap(), None);
}

pub(crate) async fn sessions_are_filtered_by_project_and_archive(store: &dyn Store) {
    let owner = UserId::generate();
    let (one, two) = (project(&owner, "one"), project(&owner, "two"));
    store.insert_project(one.clone()).await.unwrap();
    store.insert_project(two.clone()).await.unwrap();
    let (open, other) = (session(&one), session(&two));
    let archived = session(&one);
    for session in [&open, &archived, &other] {
        store.insert_session(session.clone()).await.unwrap();
    }
    let archive = SessionPatch { archive: Some(Archive::At(now())), ..SessionPatch::default() };
    store.patch_session(&archived.id, archive).await.unwrap();
    let list = async |project: Option<&protocol::document::Project>, archived| {
        let filter = SessionFilter { project: project.map(|project| project.id.clone()), archived };
        let page = store.sessions(&owner, filter, everything()).await.unwrap();
        let mut ids: Vec<_> = page.items.into_iter().map(|session| session.id).collect();
        ids.sort();
        ids
    };
    let sorted = |sessions: &[&protocol::document::ChatSession]| {
        let mut ids: Vec<_> = sessions.iter().map(|session| session.id.clone()).collect();
        ids.sort();
        ids
    };
    assert_eq!(list(None, None).await, sorted(&[&open, &archived, &other]));
    assert_eq!(list(Some(&one), None).await, sorted(&[&open, &archived]));
    assert_eq!(list(Some(&one), Some(false)).await, sorted(&[&open]));
    assert_eq!(list(None, Some(true)).await, sorted(&[&archived]));
    let strangers =
        store.sessions(&UserId::generate(), SessionFilter::default(), everything()).await.unwrap();
    assert_eq!(strangers.items, []);
}

pub(crate) async fn a_change_of_a_session_changes_what_it_names(store: &dyn Store) {
    let before = stored_session(store).await;
    let turn = turn(&before, 0);
    store.insert_turn(turn.clone()).await.unwrap();
    let mut append = texts(&turn, 1, 1);
    append.end = Some(finished(&turn));
    store.append(append).await.unwrap();
    let rename = |name| SessionPatch { name: Some(name), ..SessionPatch::default() };
    let plan = SessionPatch { mode: Some(ChatSessionMode::Plan), ..SessionPatch::default() };
    let to = Rename::To("renamed".to_owned());
    let (mode, name) =
        tokio::join!(store.patch_session(&before.id, plan), store.patch_session(&before.id, rename(to)));
    mode.and(name).unwrap();
    let late = Rename::From { from: NEW_SESSION_NAME, to: "a title".to_owned() };
    let answered = store.patch_session(&before.id, rename(late)).await.unwrap();
    let after = store.session(&before.id).await.unwrap().unwrap();
    assert_eq!(answered, after);
    assert_eq!((after.name.as_str(), after.mode), ("renamed", ChatSessionMode::Plan));
    assert_eq!(after.stats.turn_count, 1);
    assert_eq!((after.stats.input_tokens, after.stats.output_tokens), (7, 4));
    assert_eq!(after.stats.tool_call_count, 4);
}

pub(crate) async fn routing_rules_come_in_the_order_of_their_priority(store: &dyn Store) {
    let rule = |id: &str, priority| RoutingRule {
        id: id.to_owned(),
        created_at: now(),
        name: id.to_owned(),
        priority,
        enabled: true,
        conditions: Vec::new(),
        action: RoutingAction { provider: "a".to_owned(), model: None },
    };
    for one in [rule("1", 7), rule("2", -3), rule("3", 7), rule("4", 0)] {
        store.put_routing_rule(one).await.unwrap();
    }
    store.put_routing_rule(rule("4", 9)).await.unwrap();
    store.delete_routing_rule("3").await.unwrap();
    let gone = store.delete_routing_rule("3").await;
    assert!(matches!(gone, Err(StoreError::NotFound)), "{gone:?}");
    assert_eq!(store.routing_rules().await.unwrap(), [rule("2", -3), rule("1", 7), rule("4", 9)]);
}

pub(crate) async fn a_generation_only_counts_up(store: &dyn Store) {
    let stale = drone(&UserId::generate(), None);
    let id = stale.registration.id.clone();
    store.put_drone(stale.clone()).await.unwrap();
    assert_eq!(store.next_generation(&id).await.unwrap(), 1);
    assert_eq!(store.next_generation(&id).await.unwrap(), 2);
    store.put_drone(stale).await.unwrap();
    assert_eq!(store.drone(&id).await.unwrap().unwrap().generation, 2);
    assert_eq!(store.next_generation(&id).await.unwrap(), 3);
}

pub(crate) async fn a_drone_is_found_by_its_session(store: &dyn Store) {
    let session = stored_session(store).await;
    let bound = drone(&session.user, Some(&session.id));
    store.put_drone(bound.clone()).await.unwrap();
    store.put_drone(drone(&session.user, None)).await.unwrap();
    assert_eq!(store.drone_of_session(&session.id).await.unwrap(), Some(bound.clone()));
    assert_eq!(store.drones(&session.user, everything()).await.unwrap().items.len(), 2);
    assert_eq!(store.all_drones().await.unwrap().len(), 2);
    let mut freed = bound;
    freed.registration.chat_session_id = None;
    store.put_drone(freed.clone()).await.unwrap();
    assert_eq!(store.drone_of_session(&session.id).await.unwrap(), None);
    store.delete_drone(&freed.registration.id).await.unwrap();
    assert_eq!(store.drone(&freed.registration.id).await.unwrap(), None);
}

pub(crate) async fn settings_are_kept_as_they_are_put(store: &dyn Store) {
    let provider = ProviderRecord {
        name: "local".to_owned(),
        sdk: protocol::value::Sdk::Ollama,
        base_url: Some("http://127.0.0.1:11434".to_owned()),
        key: ProviderKey::Environment { name: "KEY".to_owned() },
        enabled: true,
        models: Vec::new(),
        created_at: now(),
        probed_at: None,
        probe_error: None,
    };
    store.put_provider(provider.clone()).await.unwrap();
    let changed = ProviderRecord { enabled: false, ..provider };
    store.put_provider(changed.clone()).await.unwrap();
    assert_eq!(store.provider("local").await.unwrap(), Some(changed.clone()));
    assert_eq!(store.providers().await.unwrap(), [changed]);
    store.delete_provider("local").await.unwrap();
    assert_eq!(store.provider("local").await.unwrap(), None);

    let ada = UserId::generate();
    assert_eq!(store.preferences(&ada).await.unwrap(), json!({}));
    store.put_preferences(&ada, json!({ "theme": "dark" })).await.unwrap();
    assert_eq!(store.preferences(&ada).await.unwrap(), json!({ "theme": "dark" }));

    let record = AuditRecord {
        id: "a1".to_owned(),
        at: now(),
        user: Some(ada),
        action: "user.create".to_owned(),
        subject: "u1".to_owned(),
        detail: json!({ "email": "x@example.org" }),
    };
    store.audit(record.clone()).await.unwrap();
    assert_eq!(store.audit_log(everything()).await.unwrap().items, [record]);
}

pub(crate) async fn a_store_that_works_says_so(store: &dyn Store) {
    store.check().await.unwrap();
    store.check().await.unwrap();
}
