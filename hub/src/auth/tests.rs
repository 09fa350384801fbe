//! Signing in, out, and what becomes of tokens, with a real store.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::*;
use crate::auth::account::Role;
use crate::store::sqlite::{SqliteOptions, SqliteStore};
use tempfile::TempDir;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

struct Hub {
    auth: Auth,
    store: SharedStore,
    dir: TempDir,
}

fn hub(life: Duration, failures: u32) -> Hub {
    let dir = tempfile::tempdir().unwrap();
    let store: SharedStore = Arc::new(SqliteStore::open(dir.path(), SqliteOptions::default()).unwrap());
    let keys = Keys::load_or_create(dir.path(), life, Timestamp::now()).unwrap();
    let settings = AuthSettings { token_life: life, drone_token_life: life, sign_in_failures: failures };
    Hub { auth: Auth::new(Arc::clone(&store), &keys, settings), store, dir }
}

fn day() -> Hub {
    hub(Duration::from_hours(24), 10)
}

fn ada() -> NewAccount {
    NewAccount {
        email: "ada@example.org".into(),
        handle: None,
        display_name: None,
        persona: None,
        roles: vec![Role::Member],
    }
}

const PASSWORD: &str = "difference engine";

#[tokio::test]
async fn who_signs_in_is_known_by_the_token_until_signing_out() {
    let hub = day();
    hub.auth.create_account(ada(), Some(PASSWORD)).await.unwrap();
    let SignedIn { issued, user } = hub.auth.sign_in(" Ada@example.org", PASSWORD, HERE).await.unwrap();
    let who = hub.auth.authenticate(&issued.token).await.unwrap();
    assert_eq!((who.user(), who.expires_at()), (&user, issued.expires_at));
    let other = hub.auth.issue(&user).unwrap();
    hub.auth.sign_out(&who).await.unwrap();
    assert_eq!(hub.auth.authenticate(&issued.token).await.unwrap_err().code, Code::Unauthorized);
    // Signing out in one place leaves the others signed in.
    hub.auth.authenticate(&other.token).await.unwrap();
}

#[tokio::test]
async fn wrong_password_unknown_address_and_disabled_account_are_answered_alike() {
    let hub = day();
    let mut record = hub.auth.create_account(ada(), Some(PASSWORD)).await.unwrap();
    let answer = async |email: &str, password: &str| {
        hub.auth.sign_in(email, password, HERE).await.unwrap_err().to_string()
    };
    let wrong = answer("ada@example.org", "analytical engine").await;
    assert_eq!(answer("eve@example.org", PASSWORD).await, wrong);
    assert_eq!(answer("no address", PASSWORD).await, wrong);
    record.disabled = true;
    hub.store.update_user(record).await.unwrap();
    assert_eq!(answer("ada@example.org", PASSWORD).await, wrong);
}

#[tokio::test]
async fn after_too_many_failures_even_the_right_password_has_to_wait() {
    let hub = hub(Duration::from_hours(1), 2);
    hub.auth.create_account(ada(), Some(PASSWORD)).await.unwrap();
    for _ in 0..2 {
        let outcome = hub.auth.sign_in("ada@example.org", "wrong wrong", HERE).await;
        assert!(matches!(outcome, Err(SignInError::Wrong)));
    }
    let outcome = hub.auth.sign_in("ada@example.org", PASSWORD, HERE).await;
    assert!(matches!(outcome, Err(SignInError::TooMany { .. })));
}

#[tokio::test]
async fn guesses_at_the_same_time_do_not_slip_through() {
    let hub = hub(Duration::from_hours(1), 3);
    hub.auth.create_account(ada(), Some(PASSWORD)).await.unwrap();
    let guesses = (0..8).map(|_| hub.auth.sign_in("ada@example.org", "wrong wrong", HERE));
    let outcomes = futures_util::future::join_all(guesses).await;
    let checked = outcomes.iter().filter(|outcome| matches!(outcome, Err(SignInError::Wrong))).count();
    assert_eq!(checked, 3);
}

#[tokio::test]
async fn a_new_password_ends_what_was_signed_in_before() {
    let hub = day();
    let mut record = hub.auth.create_account(ada(), Some(PASSWORD)).await.unwrap();
    let before = hub.auth.issue(&record.user).unwrap();
    // The clock that tokens carry has milliseconds.
    while Timestamp::now().as_millisecond() <= record.tokens_valid_from.as_millisecond() + 1 {
        tokio::task::yield_now().await;
    }
    hub.auth.set_password(&mut record, "another engine").await.unwrap();
    hub.store.update_user(record.clone()).await.unwrap();
    assert_eq!(hub.auth.authenticate(&before.token).await.unwrap_err().code, Code::Unauthorized);
    let after = hub.auth.sign_in("ada@example.org", "another engine", HERE).await.unwrap();
    hub.auth.authenticate(&after.issued.token).await.unwrap();
}

#[tokio::test]
async fn a_token_of_an_account_that_is_disabled_or_gone_is_refused() {
    let hub = day();
    let mut record = hub.auth.create_account(ada(), None).await.unwrap();
    let token = hub.auth.issue(&record.user).unwrap().token;
    record.disabled = true;
    hub.store.update_user(record.clone()).await.unwrap();
    assert_eq!(hub.auth.authenticate(&token).await.unwrap_err().code, Code::Unauthorized);
    let stranger = User { id: UserId::generate(), ..record.user };
    let token = hub.auth.issue(&stranger).unwrap().token;
    assert_eq!(hub.auth.authenticate(&token).await.unwrap_err().code, Code::Unauthorized);
}

#[tokio::test]
async fn roles_are_those_of_the_account_now_not_those_in_the_token() {
    let hub = day();
    let mut record =
        hub.auth.create_account(NewAccount { roles: vec![Role::Admin], ..ada() }, None).await.unwrap();
    let token = hub.auth.issue(&record.user).unwrap().token;
    hub.auth.authenticate(&token).await.unwrap().require_admin().unwrap();
    record.user.roles = vec!["member".to_owned()];
    hub.store.update_user(record).await.unwrap();
    let who = hub.auth.authenticate(&token).await.unwrap();
    assert_eq!(who.require_admin().unwrap_err().code, Code::Forbidden);
}

#[tokio::test]
async fn tokens_outlive_a_restart_of_the_hub() {
    let hub = day();
    let record = hub.auth.create_account(ada(), None).await.unwrap();
    let token = hub.auth.issue(&record.user).unwrap().token;
    let keys = Keys::load_or_create(hub.dir.path(), Duration::from_hours(24), Timestamp::now()).unwrap();
    let settings = AuthSettings {
        token_life: Duration::from_hours(24),
        drone_token_life: Duration::from_hours(1),
        sign_in_failures: 10,
    };
    Auth::new(Arc::clone(&hub.store), &keys, settings).authenticate(&token).await.unwrap();
}

#[tokio::test]
async fn the_owner_of_a_local_hub_is_made_once() {
    let hub = day();
    let first = hub.auth.ensure_owner().await.unwrap();
    assert_eq!(hub.auth.ensure_owner().await.unwrap(), first);
    let outcome = hub.auth.sign_in(&first.user.email, "", HERE).await;
    assert!(matches!(outcome, Err(SignInError::Wrong)), "an owner without a password signed in by one");
}

#[tokio::test]
async fn the_first_administrator_is_made_once_and_keeps_a_changed_password() {
    let hub = day();
    let mut first = hub.auth.ensure_admin("Root@example.org", PASSWORD).await.unwrap();
    hub.auth.set_password(&mut first, "another engine").await.unwrap();
    hub.store.update_user(first.clone()).await.unwrap();
    assert_eq!(hub.auth.ensure_admin("root@example.org", PASSWORD).await.unwrap(), first);
    assert!(first.user.roles.contains(&"admin".to_owned()));
}

#[tokio::test]
async fn documents_of_another_user_are_not_there() {
    use crate::store::suite;
    let hub = day();
    let record = hub.auth.create_account(ada(), None).await.unwrap();
    let admin = NewAccount { email: "root@example.org".into(), roles: vec![Role::Admin], ..ada() };
    let admin = hub.auth.create_account(admin, None).await.unwrap();
    let principal = async |user: &User| {
        let token = hub.auth.issue(user).unwrap().token;
        hub.auth.authenticate(&token).await.unwrap()
    };
    let (owner, other) = (principal(&record.user).await, principal(&admin.user).await);
    let project = suite::project(&record.user.id, "p");
    let session = suite::session(&project);
    let turn = suite::turn(&session, 0);
    let drone = suite::drone(&record.user.id, None);
    let store = &*hub.store;
    store.insert_project(project.clone()).await.unwrap();
    store.insert_session(session.clone()).await.unwrap();
    store.insert_turn(turn.clone()).await.unwrap();
    store.put_drone(drone.clone()).await.unwrap();
    let drone = &drone.registration.id;
    let unknown = access::project(store, &owner, &"none".into()).await.unwrap_err();
    for (who, allowed) in [(&owner, true), (&other, false)] {
        let answers = [
            access::project(store, who, &project.id).await.map(drop),
            access::session(store, who, &session.id).await.map(drop),
            access::turn(store, who, &turn.id).await.map(drop),
            access::drone(store, who, drone).await.map(drop),
        ];
        for answer in answers {
            assert_eq!(answer.is_ok(), allowed);
            assert!(answer.map_or_else(|refusal| refusal.code == unknown.code, |()| true));
        }
    }
}

#[tokio::test]
async fn a_drone_s_token_is_no_person_s() {
    let hub = day();
    let record = hub.auth.create_account(ada(), None).await.unwrap();
    let issued = hub.auth.mint_drone_session(&"d".into(), &"s".into(), &record.user.id, 4).unwrap();
    assert_eq!(hub.auth.authenticate(&issued.token).await.unwrap_err().code, Code::Unauthorized);
    let session = hub.auth.verify_drone_session(&issued.token).unwrap();
    assert_eq!((session.drone.as_str(), session.session.as_str(), session.generation), ("d", "s", 4));
}

#[tokio::test]
async fn an_older_generation_stays_shut_out() {
    let hub = day();
    let generations = generation::Generations::default();
    let drone = crate::store::suite::drone(&UserId::generate(), None);
    let id = drone.registration.id.clone();
    assert_eq!(generations.current(&id, &*hub.store).await.unwrap(), None);
    hub.store.put_drone(drone).await.unwrap();
    let first = hub.store.next_generation(&id).await.unwrap();
    assert_eq!(generations.current(&id, &*hub.store).await.unwrap(), Some(first));
    generations.set(&id, first + 1);
    generations.set(&id, first);
    assert_eq!(generations.current(&id, &*hub.store).await.unwrap(), Some(first + 1));
}
