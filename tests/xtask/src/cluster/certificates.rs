//! Who is who in the cluster: its authority, a certificate for each program, and how each reaches the API server.

use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;

use crate::cluster::place::Place;
use crate::cluster::settings::{API_ADDRESS, API_PORT, NODE};

/// Writes all of them, once in a cluster's life.
pub(super) fn write(place: &Place) -> Result<()> {
    let authority = Authority::new(place)?;
    let node = place.node_address();
    let server = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "127.0.0.1",
        API_ADDRESS,
        &node,
    ];
    authority.sign("apiserver", &["kube-apiserver"], &server)?;
    authority.sign("apiserver-to-kubelet", &["apiserver-to-kubelet", "system:masters"], &[])?;
    authority.sign("kubelet-server", &["kubelet"], &[NODE, "127.0.0.1", &node])?;
    let key = KeyPair::generate()?;
    authority.write("service-accounts", &key.public_key_pem(), &key)?;
    let node_user = format!("system:node:{NODE}");
    let clients: [(&str, &[&str]); 7] = [
        ("admin", &["admin", "system:masters"]),
        ("controllers", &["system:kube-controller-manager"]),
        ("scheduler", &["system:kube-scheduler"]),
        ("kubelet", &[&node_user, "system:nodes"]),
        ("proxy", &["system:kube-proxy"]),
        ("names", &["system:coredns"]),
        ("volumes", &["local-provisioner"]),
    ];
    for (name, who) in clients {
        authority.sign(name, who, &[])?;
        kubeconfig(place, name)?;
    }
    Ok(())
}

fn kubeconfig(place: &Place, name: &str) -> Result<()> {
    let read = |file: &str| {
        let path = place.path("pki").join(file);
        std::fs::read(&path).with_context(|| format!("failed to read {}", path.display()))
    };
    let encode = |bytes: Vec<u8>| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
    // Whole, so that the file may be carried elsewhere. JSON is YAML.
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "gadget", "cluster": {
            "server": format!("https://{}:{API_PORT}", place.node_address()),
            "certificate-authority-data": encode(read("ca.crt")?),
        }}],
        "users": [{ "name": name, "user": {
            "client-certificate-data": encode(read(&format!("{name}.crt"))?),
            "client-key-data": encode(read(&format!("{name}.key"))?),
        }}],
        "contexts": [{ "name": "gadget", "context": { "cluster": "gadget", "user": name } }],
        "current-context": "gadget",
    });
    private(&place.path(&format!("{name}.kubeconfig")), &serde_json::to_string_pretty(&config)?)
}

struct Authority<'a> {
    place: &'a Place,
    issuer: Issuer<'static, KeyPair>,
}

impl<'a> Authority<'a> {
    fn new(place: &'a Place) -> Result<Self> {
        let mut parameters = CertificateParams::new(Vec::new())?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, "gadget-cluster");
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = parameters.self_signed(&key)?;
        std::fs::create_dir_all(place.path("pki")).context("failed to make a directory for certificates")?;
        let authority = Self { place, issuer: Issuer::new(parameters, key) };
        authority.write("ca", &certificate.pem(), authority.issuer.key())?;
        Ok(authority)
    }

    /// `who`: the name, and the group where there is one.
    fn sign(&self, file: &str, who: &[&str], names: &[&str]) -> Result<()> {
        let mut parameters =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        let kinds = [DnType::CommonName, DnType::OrganizationName];
        for (kind, name) in kinds.into_iter().zip(who) {
            parameters.distinguished_name.push(kind, *name);
        }
        parameters.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, &self.issuer).context("failed to sign a certificate")?;
        self.write(file, &certificate.pem(), &key)
    }

    fn write(&self, file: &str, public: &str, key: &KeyPair) -> Result<()> {
        let directory = self.place.path("pki");
        let path = directory.join(format!("{file}.crt"));
        std::fs::write(&path, public).with_context(|| format!("failed to write {}", path.display()))?;
        private(&directory.join(format!("{file}.key")), &key.serialize_pem())
    }
}

fn private(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("failed to write {}", path.display()))
}
