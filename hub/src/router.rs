//! Which part answers which path.

use axum::Router;
use axum::middleware::from_fn_with_state;

use crate::app::SharedApp;
use crate::http::{host, nothing_here, page, wrong_method};
use crate::{git_credential, http, model_proxy};

/// Everything but Socket.IO, which wraps this router.
pub fn router(app: SharedApp) -> Router {
    let people = http::router().merge(page::router()).layer(from_fn_with_state(app.clone(), host::check));
    // Drones are no browsers, and reach the hub by whatever address they were given.
    let drones = model_proxy::router().merge(git_credential::router());
    people.merge(drones).fallback(nothing_here).method_not_allowed_fallback(wrong_method).with_state(app)
}
