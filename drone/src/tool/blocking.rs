//! Disk work of tools, off the async threads.

use super::ToolError;

/// Runs work that blocks. It is not interrupted when the caller goes away, so it has to be short or look at a
/// cancellation token itself.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ToolError> + Send + 'static,
) -> Result<T, ToolError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(ToolError::new("INTERNAL", format!("the tool broke off: {error}"))
            .hint("Try another way; the error is the harness's own."))
    })
}
