//! The cluster's own certificate authority, and the keys of service accounts.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// Files in PEM, all in one directory.
#[derive(Debug)]
pub(super) struct Certificates {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate's files.
#[derive(Clone, Debug)]
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Certificates {
    pub(super) fn new(directory: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("failed to make {}", directory.display()))?;
        let mut parameters = CertificateParams::new(Vec::new())?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, "gadget-test");
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = parameters.self_signed(&key)?;
        std::fs::write(directory.join("ca.crt"), certificate.pem())?;
        Ok(Self { directory, issuer: Issuer::new(parameters, key) })
    }

    pub(super) fn authority(&self) -> PathBuf {
        self.directory.join("ca.crt")
    }

    /// For the API server on loopback.
    pub(super) fn server(&self) -> Result<Pair> {
        let names = ["127.0.0.1", "localhost", "kubernetes.default.svc"].map(str::to_owned);
        let mut parameters = CertificateParams::new(names)?;
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign("kube-apiserver", parameters)
    }

    /// For whoever signs in by certificate: user and group are its common name and organisation.
    pub(super) fn client(&self, user: &str, group: &str) -> Result<Pair> {
        let mut parameters = CertificateParams::new(Vec::new())?;
        parameters.distinguished_name.push(DnType::CommonName, user);
        parameters.distinguished_name.push(DnType::OrganizationName, group);
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&user.replace(':', "-"), parameters)
    }

    /// Signs the tokens of service accounts; `certificate` is the public key.
    pub(super) fn service_account_key(&self) -> Result<Pair> {
        let key = KeyPair::generate()?;
        self.write("service-account", &key.public_key_pem(), &key)
    }

    fn sign(&self, name: &str, mut parameters: CertificateParams) -> Result<Pair> {
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, &self.issuer).context("failed to sign a certificate")?;
        self.write(name, &certificate.pem(), &key)
    }

    fn write(&self, name: &str, public: &str, key: &KeyPair) -> Result<Pair> {
        let pair = Pair {
            certificate: self.directory.join(format!("{name}.crt")),
            key: self.directory.join(format!("{name}.key")),
        };
        let write = |path: &Path, text: &str| {
            std::fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
        };
        write(&pair.certificate, public)?;
        write(&pair.key, &key.serialize_pem())?;
        Ok(pair)
    }
}
