//! `gadget users`.

use anyhow::Context as _;
use protocol::document::User;
use reqwest::Method;
use serde_json::{Value, json};

use super::secret;
use crate::access::HubAccess;
use crate::api::Api;
use crate::args::{ListArgs, UsersCommand};
use crate::console::Console;
use crate::table::table;

pub(crate) async fn run(command: UsersCommand, console: &mut Console) -> anyhow::Result<()> {
    match command {
        UsersCommand::Add { email, name, admin, hub, json } => {
            let api = Api::new(HubAccess::find(&hub)?)?;
            let password = secret(console, "Password")?;
            let roles = if admin { vec!["admin", "member"] } else { vec!["member"] };
            let body = json!({ "email": email, "displayName": name, "roles": roles, "password": password });
            let user: User = api.ask(Method::POST, "/users", Some(&body)).await?;
            if json {
                return Ok(console.json(&user)?);
            }
            Ok(console.line(&format!("{} ({}) can sign in now", user.email, user.handle))?)
        }
        UsersCommand::Ls(ListArgs { hub, json }) => {
            let api = Api::new(HubAccess::find(&hub)?)?;
            let users: Vec<User> = api.list("/users").await?;
            if json {
                return Ok(users.iter().try_for_each(|user| console.json(user))?);
            }
            let rows: Vec<[String; 4]> = users
                .into_iter()
                .map(|user| [user.handle, user.email, user.display_name, user.roles.join(", ")])
                .collect();
            Ok(console.out(&table(console.style, ["HANDLE", "EMAIL", "NAME", "ROLES"], &rows))?)
        }
        UsersCommand::Passwd { user, hub } => {
            let api = Api::new(HubAccess::find(&hub)?)?;
            let users: Vec<User> = api.list("/users").await?;
            let found = users.into_iter().find(|known| known.email == user || known.handle == user);
            let found = found.with_context(|| format!("no account has the address or handle {user:?}"))?;
            let password = secret(console, "New password")?;
            let path = format!("/users/{}", found.id);
            let _changed: Value =
                api.ask(Method::PATCH, &path, Some(&json!({ "password": password }))).await?;
            Ok(console.line(&format!("{} has a new password and is signed out everywhere", found.email))?)
        }
    }
}
