//! `/projects`: what people work on.

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, put_with};
use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use jiff::Timestamp;
use protocol::document::Project;
use protocol::ids::ProjectId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::SharedApp;
use crate::auth::access;
use crate::auth::account::slug;
use crate::git_credential::{GitCredential, seal};
use crate::http::extract::{JsonBody, List, Paging, Query, Signed, present};
use crate::http::problem::Problem;

/// Bytes of a project's instructions: they are in every prompt.
const MOST_INSTRUCTIONS: usize = 64 * 1024;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewProject {
    name: String,
    /// The directory of the checkout; made from the name when absent.
    #[serde(default)]
    slug: Option<String>,
    /// What to clone: an https, ssh or git URL, or a path on the drone's machine. Absent: an empty repository.
    #[serde(default)]
    git_url: Option<String>,
    #[serde(default)]
    instructions: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::option_option, reason = "absent: as it was; null: none")]
struct ProjectChange {
    #[serde(default)]
    name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    git_url: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    instructions: Option<Option<String>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewCredential {
    /// The git server, with its port where it has one: the credential is sent to no other.
    host: String,
    username: String,
    /// A password or an access token. It is sealed, and never shown again.
    password: String,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct CredentialPlace {
    host: String,
    #[schemars(with = "String")]
    created_at: Timestamp,
}

pub(super) fn routes() -> ApiRouter<SharedApp> {
    ApiRouter::new()
        .api_route(
            "/projects",
            get_with(list, |op| op.tag("projects").summary("Your projects"))
                .post_with(create, |op| op.tag("projects").summary("Make a project")),
        )
        .api_route(
            "/projects/{id}",
            get_with(show, |op| op.tag("projects").summary("One project"))
                .put_with(change, |op| op.tag("projects").summary("Change a project"))
                .patch_with(change, |op| op.tag("projects").summary("Change a project"))
                .delete_with(remove, |op| {
                    op.tag("projects").summary("Delete a project that has no sessions")
                }),
        )
        .api_route(
            "/projects/{id}/credential",
            put_with(put_credential, |op| {
                op.tag("projects").summary("Set the credential for its git server")
            })
            .get_with(show_credential, |op| {
                op.tag("projects").summary("For which server there is a credential")
            })
            .delete_with(delete_credential, |op| op.tag("projects").summary("Forget its credential")),
        )
}

async fn list(
    State(app): State<SharedApp>,
    Signed(who): Signed,
    Query(paging): Query<Paging>,
) -> Result<Json<List<Project>>, Problem> {
    let page = app.store.projects(who.id(), paging.newest_first()?).await?;
    Ok(Json(List::of(page, |project| project)))
}

async fn create(
    State(app): State<SharedApp>,
    Signed(who): Signed,
    JsonBody(new): JsonBody<NewProject>,
) -> Result<(StatusCode, Json<Project>), Problem> {
    let NewProject { name, slug, git_url, instructions } = new;
    let name = checked_name(&name)?;
    let project = Project {
        id: ProjectId::generate(),
        created_at: Timestamp::now(),
        user: who.id().clone(),
        slug: match slug {
            Some(slug) => checked_slug(slug)?,
            None => free_slug(&app, &who, &name).await?,
        },
        name,
        git_url: checked_url(git_url)?,
        instructions: checked_instructions(instructions)?,
    };
    app.store.insert_project(project.clone()).await?;
    Ok((StatusCode::CREATED, Json(project)))
}

async fn show(
    State(app): State<SharedApp>,
    Signed(who): Signed,
    Path(id): Path<String>,
) -> Result<Json<Project>, Problem> {
    Ok(Json(access::project(app.store.as_ref(), &who, &id.into()).await?))
}

async fn change(
    State(app): State<SharedApp>,
    Signed(who): Signed,
    Path(id): Path<String>,
    JsonBody(change): JsonBody<ProjectChange>,
) -> Result<Json<Project>, Problem> {
    let mut project = access::project(app.store.as_ref(), &who, &id.into()).await?;
    let ProjectChange { name, git_url, instructions } = change;
    if let Some(name) = name {
        project.name = checked_name(&name)?;
    }
    if let Some(git_url) = git_url {
        project.git_url = checked_url(git_url)?;
    }
    if let Some(instructions) = instructions {
        project.instructions = checked_instructions(instructions)?;
    }
    app.store.update_project(project.clone()).await?;
    Ok(Json(project))
}

async fn remove(
    State(app): State<SharedApp>,
    Signed(who): Signed,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let project = access::project(app.store.as_ref(), &who, &id.into()).await?;
    app.store.delete_project(&project.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn put_credential(
    State(app): State<SharedApp>,
    Signed(who): Signed,
    Path(id): Path<String>,
    JsonBody(NewCredential { host, username, password }): JsonBody<NewCredential>,
) -> Result<Json<CredentialPlace>, Problem> {
    let project = access::project(app.store.as_ref(), &who, &id.into()).await?;
    let record = seal(&app.sealer, &project.id, &host, &GitCredential { username, password })?;
    let place = CredentialPlace { host: record.host.clone(), created_at: record.created_at };
    app.store.put_credential(record).await?;
    Ok(Json(place))
}

async fn show_credential(
    State(app): State<SharedApp>,
    Signed(who): Signed,
    Path(id): Path<String>,
) -> Result<Json<List<CredentialPlace>>, Problem> {
    let project = access::project(app.store.as_ref(), &who, &id.into()).await?;
    let found = app.store.credential(&project.id).await?;
    let place = found.map(|record| CredentialPlace { host: record.host, created_at: record.created_at });
    Ok(Json(List::whole(place.into_iter().collect())))
}

async fn delete_credential(
    State(app): State<SharedApp>,
    Signed(who): Signed,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let project = access::project(app.store.as_ref(), &who, &id.into()).await?;
    app.store.delete_credential(&project.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn checked_name(name: &str) -> Result<String, Problem> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > 200 {
        return Err(Problem::invalid("name: must be 1 to 200 characters"));
    }
    Ok(name.to_owned())
}

/// The name of a directory beside `.gadget`, safe on every file system.
fn checked_slug(text: String) -> Result<String, Problem> {
    if !text.is_empty() && slug(&text) == text {
        return Ok(text);
    }
    Err(Problem::invalid(
        "slug: must be 1 to 63 lower-case letters, digits or single dashes, and not begin or end with a dash",
    ))
}

/// A slug from the name that the user has not used yet.
async fn free_slug(app: &SharedApp, who: &crate::auth::Principal, name: &str) -> Result<String, Problem> {
    let base = Some(slug(name)).filter(|slug| !slug.is_empty()).unwrap_or_else(|| "project".to_owned());
    let mut candidate = base.clone();
    for number in 2..1000 {
        if app.store.project_by_slug(who.id(), &candidate).await?.is_none() {
            return Ok(candidate);
        }
        let stem: String = base.chars().take(58).collect();
        candidate = format!("{}-{number}", stem.trim_end_matches('-'));
    }
    Err(Problem::invalid("slug: too many projects have this name; give a slug"))
}

fn checked_url(url: Option<String>) -> Result<Option<String>, Problem> {
    let Some(url) = url.map(|url| url.trim().to_owned()).filter(|url| !url.is_empty()) else {
        return Ok(None);
    };
    // A URL that begins with a dash is an option to git.
    if url.len() > 2048 || url.starts_with('-') || url.chars().any(|c| c.is_control() || c == ' ') {
        return Err(Problem::invalid("gitUrl: must be a URL that git can clone, without blanks"));
    }
    if let Ok(parsed) = url::Url::parse(&url)
        && parsed.password().is_some()
    {
        return Err(Problem::invalid(
            "gitUrl: must not hold a password; set it with PUT /projects/{id}/credential, where it is sealed",
        ));
    }
    Ok(Some(url))
}

fn checked_instructions(text: Option<String>) -> Result<Option<String>, Problem> {
    let text = text.filter(|text| !text.trim().is_empty());
    if text.as_ref().is_some_and(|text| text.len() > MOST_INSTRUCTIONS) {
        return Err(Problem::invalid(format!("instructions: must be at most {MOST_INSTRUCTIONS} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_would_harm_git_or_show_a_password_are_refused() {
        for url in ["--upload-pack=x", "https://ada:secret@example.org/a.git", "https://a b", "a\nb"] {
            assert!(checked_url(Some(url.to_owned())).is_err(), "{url}");
        }
        for url in [
            "https://example.org/a.git",
            "git@example.org:a.git",
            "/srv/git/a.git",
            "https://ada@example.org/a",
        ] {
            assert_eq!(checked_url(Some(url.to_owned())).ok().flatten().as_deref(), Some(url));
        }
        assert_eq!(checked_url(Some("  ".to_owned())).ok().flatten(), None);
    }

    #[test]
    fn a_slug_is_one_directory() {
        for slug in ["", ".", "..", ".gadget", "a/b", "A", "a-"] {
            assert!(checked_slug(slug.to_owned()).is_err(), "{slug}");
        }
        assert!(checked_slug("shop-2".to_owned()).is_ok());
    }
}
