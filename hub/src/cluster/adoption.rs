//! Sessions that were made with kubectl: which chat session they become, or what keeps them from it. Pure but for
//! [`take_in`], which asks the store and writes there.

use crds::chat_session::{Adoption, AdoptionState};
use jiff::Timestamp;
use protocol::document::{ChatSession, NEW_SESSION_NAME, Project, SessionStats};
use protocol::ids::{ChatSessionId, ProjectId, UserId};
use protocol::value::{ChatSessionMode, ReasoningEffort};

use crate::fleet::kube::seen::Session;
use crate::store::{Store, StoreError, UserRecord};

/// A resource that the hub has a chat session for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Taken {
    pub(super) session: ChatSessionId,
    pub(super) user: UserId,
    /// What its status is to say; absent for a session of the hub's own.
    pub(super) adoption: Option<Adoption>,
}

/// Why not, for now.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct NotTaken(pub(super) Adoption);

/// What is to be made of a resource whose chat session is not there.
#[derive(Clone, Debug, PartialEq)]
enum Plan {
    Refuse(NotTaken),
    /// For this user, on the project that is there or on a new one.
    Make {
        user: UserId,
        project: Option<ProjectId>,
    },
}

/// Finds the chat session of a resource, or makes it. Doing so twice is doing it once: the resource's uid is its id.
pub(super) async fn take_in(
    store: &dyn Store,
    seen: &Session,
    now: Timestamp,
) -> Result<Result<Taken, NotTaken>, StoreError> {
    let by_name = ChatSessionId::from(seen.name.as_str());
    if let Some(own) = store.session(&by_name).await? {
        let owner = store.user(&own.user).await?;
        if owner.is_some_and(|owner| owner.user.handle == seen.user) {
            return Ok(Ok(Taken { session: by_name, user: own.user, adoption: None }));
        }
    }
    let id = ChatSessionId::from(seen.uid.as_str());
    if let Some(known) = store.session(&id).await? {
        return Ok(Ok(taken(seen, id, known.user)));
    }
    let user = store.user_by_handle(&seen.user).await?;
    let project = match &user {
        Some(user) => store.project_by_slug(&user.user.id, &seen.slug).await?,
        None => None,
    };
    let (user, project) = match plan(seen, user.as_ref(), project.as_ref()) {
        Plan::Refuse(why) => return Ok(Err(why)),
        Plan::Make { user, project } => (user, project),
    };
    let project = if let Some(project) = project {
        project
    } else {
        let made = new_project(seen, &user, now);
        store.insert_project(made.clone()).await?;
        made.id
    };
    store.insert_session(new_session(seen, id.clone(), user.clone(), project, now)).await?;
    tracing::info!(session = %id, name = %seen.name, "took in a session that was made in the cluster");
    Ok(Ok(taken(seen, id, user)))
}

fn plan(seen: &Session, user: Option<&UserRecord>, project: Option<&Project>) -> Plan {
    let refuse =
        |state, message: String| Plan::Refuse(NotTaken(Adoption { state, message: shut_out(&message) }));
    let Session { name, user: handle, slug, .. } = seen;
    if seen.of_hub {
        let words = format!(
            "a hub made this session and this hub does not know it: delete it (kubectl delete chat {name}; its volume \
             claim stays if it is retained), or take it over (kubectl label chat {name} app.kubernetes.io/managed-by-)"
        );
        return refuse(AdoptionState::Failed, words);
    }
    let Some(user) = user else {
        let words = format!(
            "the hub has no user '{handle}': make an account with that handle, and the session is taken in by itself; \
             or make the session for another user"
        );
        return refuse(AdoptionState::UserUnknown, words);
    };
    if user.disabled {
        let words =
            format!("the account of '{handle}' is disabled: enable it, or make the session for another user");
        return refuse(AdoptionState::UserUnknown, words);
    }
    if let (Some(project), Some(here)) = (project, &seen.git_url) {
        let there = project.git_url.as_deref();
        if there.map(bare_url) != Some(bare_url(here)) {
            let at_hub =
                there.map_or_else(|| "without a git address".to_owned(), |url| format!("at '{url}'"));
            let words = format!(
                "the project '{slug}' of '{handle}' is {at_hub} in the hub, and at '{here}' here: correct \
                 spec.project.gitUrl, change the project in the hub, or use another slug"
            );
            return refuse(AdoptionState::ProjectDiffers, words);
        }
    }
    Plan::Make { user: user.user.id.clone(), project: project.map(|project| project.id.clone()) }
}

fn shut_out(words: &str) -> String {
    crds::conditions::bounded(&format!("{words}. Its drone is not let in until then"))
}

fn taken(seen: &Session, session: ChatSessionId, user: UserId) -> Taken {
    let message = format!("chat session {session} of '{}', project '{}'", seen.user, seen.slug);
    let adoption = Some(Adoption { state: AdoptionState::Adopted, message });
    Taken { session, user, adoption }
}

/// The same repository by either spelling.
fn bare_url(url: &str) -> &str {
    let url = url.trim_end_matches('/');
    url.strip_suffix(".git").unwrap_or(url)
}

fn new_project(seen: &Session, user: &UserId, now: Timestamp) -> Project {
    Project {
        id: ProjectId::generate(),
        created_at: now,
        user: user.clone(),
        name: seen.slug.clone(),
        slug: seen.slug.clone(),
        git_url: seen.git_url.clone(),
        instructions: None,
    }
}

fn new_session(
    seen: &Session,
    id: ChatSessionId,
    user: UserId,
    project: ProjectId,
    now: Timestamp,
) -> ChatSession {
    let model = seen.model.clone();
    ChatSession {
        id,
        created_at: seen.created_at.unwrap_or(now),
        user,
        project,
        name: seen.title.clone().unwrap_or_else(|| NEW_SESSION_NAME.to_owned()),
        mode: seen.mode.unwrap_or(ChatSessionMode::Build),
        provider: model.as_ref().map(|model| model.provider.clone()),
        reasoning_effort: model.as_ref().and_then(|model| model.effort).unwrap_or(ReasoningEffort::Off),
        selected_model: model.map(|model| model.name),
        workspace_id: None,
        stats: SessionStats::default(),
        archived_at: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::account::{NewAccount, Role};
    use crate::fleet::kube::tests::session;

    fn ada() -> UserRecord {
        let account = NewAccount {
            email: "ada@example.org".into(),
            handle: Some("ada".into()),
            display_name: None,
            persona: None,
            roles: vec![Role::Member],
        };
        let now = Timestamp::UNIX_EPOCH;
        let user = account.into_user(now).unwrap();
        UserRecord { user, password_hash: None, tokens_valid_from: now, disabled: false }
    }

    fn project(git_url: Option<&str>) -> Project {
        let seen = Session { git_url: git_url.map(str::to_owned), ..session("a", "u") };
        new_project(&seen, &ada().user.id, Timestamp::UNIX_EPOCH)
    }

    fn state(plan: Plan) -> (AdoptionState, String) {
        let Plan::Refuse(NotTaken(Adoption { state, message })) = plan else { panic!("{plan:?}") };
        (state, message)
    }

    fn at(url: &str) -> Session {
        Session { git_url: Some(url.to_owned()), ..session("a", "u") }
    }

    #[test]
    fn an_unknown_or_disabled_user_is_said_with_what_to_do() {
        let (unknown, message) = state(plan(&session("a", "u"), None, None));
        assert_eq!(unknown, AdoptionState::UserUnknown);
        assert!(message.contains("no user 'ada'") && message.contains("make an account"), "{message}");
        let disabled = UserRecord { disabled: true, ..ada() };
        assert_eq!(state(plan(&session("a", "u"), Some(&disabled), None)).0, AdoptionState::UserUnknown);
    }

    #[test]
    fn a_project_elsewhere_is_not_taken_for_this_one() {
        let there = project(Some("https://git.example/shop.git"));
        let same = plan(&at("https://git.example/shop/"), Some(&ada()), Some(&there));
        assert!(matches!(same, Plan::Make { project: Some(_), .. }), "{same:?}");
        let (state_, message) = state(plan(&at("https://git.example/other"), Some(&ada()), Some(&there)));
        assert_eq!(state_, AdoptionState::ProjectDiffers);
        assert!(message.contains("spec.project.gitUrl"), "{message}");
        let none = state(plan(&at("https://git.example/shop"), Some(&ada()), Some(&project(None))));
        assert_eq!(none.0, AdoptionState::ProjectDiffers);
        // Who names no address takes the project as it is.
        let any = plan(&session("a", "u"), Some(&ada()), Some(&there));
        assert!(matches!(any, Plan::Make { project: Some(_), .. }), "{any:?}");
    }

    #[test]
    fn what_another_hub_made_is_neither_taken_nor_deleted() {
        let foreign = Session { of_hub: true, ..session("a", "u") };
        let (state, message) = state(plan(&foreign, Some(&ada()), None));
        assert_eq!(state, AdoptionState::Failed);
        assert!(message.contains("kubectl delete chat a"), "{message}");
    }

    #[test]
    fn first_values_come_from_the_resource() {
        let seen = Session {
            title: Some("Fix the login".into()),
            mode: Some(ChatSessionMode::Plan),
            ..session("a", "u-1")
        };
        let made = new_session(&seen, "u-1".into(), "user".into(), "project".into(), Timestamp::UNIX_EPOCH);
        assert_eq!((&*made.name, made.mode, made.provider), ("Fix the login", ChatSessionMode::Plan, None));
    }
}
