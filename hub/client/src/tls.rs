//! TLS by rustls with ring and the certificate roots of the system.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls_platform_verifier::Verifier;

/// The provider is named here: a process that has installed no default one must not panic.
pub(crate) fn system_roots() -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier::new(Arc::clone(&provider))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous() // the name rustls gives to every verifier that is not its own; this one asks the system
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(Arc::new(config))
}
