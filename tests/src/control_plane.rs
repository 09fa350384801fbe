//! A real control plane of Kubernetes for tests: etcd, API server, controllers and scheduler, on loopback and in a
//! temporary directory, up in a few seconds and gone with the test.
//!
//! There is no kubelet: [`node`] plays it. There is no provisioner of volumes: [`storage`] plays it. [`proxy`] stands
//! before the API server for tests of faults.

pub mod audit;
mod certificates;
pub mod chart;
mod components;
pub mod kubeconfig;
pub mod node;
pub mod operator;
pub mod process;
pub mod programs;
pub mod proxy;
pub mod rbac;
pub mod storage;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams};
use kube::{Client, ResourceExt as _};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::control_plane::audit::Audit;
use crate::control_plane::certificates::{Certificates, Pair};
use crate::control_plane::components::ApiServerFiles;
use crate::control_plane::kubeconfig::Identity;
use crate::control_plane::process::{Guard, Process};
use crate::control_plane::programs::Programs;
use crate::deadline::{eventually, within};

/// How the harness calls itself at the API server.
pub const USER_AGENT: &str = "gadget-test";

#[derive(Clone, Debug)]
pub struct Options {
    pub disk: Disk,
    pub controllers: Controllers,
    /// Installed before the controllers start, so that the garbage collector knows them at once: it looks for new ones
    /// every half minute only.
    pub definitions: Vec<CustomResourceDefinition>,
    /// A node that is silent for so long is taken for lost. Short ones are wrong about nodes on a busy machine.
    pub node_grace: Duration,
    /// How long a pod stays on a node that is lost or not ready.
    pub eviction_after: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            disk: Disk::Fast,
            controllers: Controllers::All,
            definitions: crds::all().to_vec(),
            node_grace: Duration::from_secs(16),
            eviction_after: Duration::from_secs(2),
        }
    }
}

/// Whether etcd waits for the disk. Tests need not; figures must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    Fast,
    Durable,
}

/// Which of Kubernetes' own there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controllers {
    /// With the scheduler.
    All,
    /// Those that clean up, and no scheduler: whoever plays the nodes binds pods and claims. The real scheduler looks at
    /// each full second whether a volume is bound, which hides whatever else a start costs.
    Janitors,
}

/// All of it is killed when this is dropped, or when the process ends in any other way.
#[derive(Debug)]
pub struct ControlPlane {
    // In the order in which they end: clients before servers, the directory last.
    scheduler: Option<Process>,
    controller_manager: Process,
    api_server: Option<Process>,
    etcd: Process,
    guard: Guard,
    programs: Programs,
    options: Options,
    port: u16,
    certificates: Certificates,
    server: Pair,
    service_accounts: Pair,
    admin: Pair,
    directory: TempDir,
}

/// One for all tests of a program, for those that break nothing of it: each has namespaces and nodes of its own.
/// It ends with the process.
pub async fn shared() -> Result<&'static ControlPlane> {
    static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
    SHARED.get_or_try_init(|| ControlPlane::start(Options::default())).await
}

impl ControlPlane {
    pub async fn start(options: Options) -> Result<Self> {
        let programs = Programs::find()?;
        let directory = tempfile::Builder::new().prefix("gadget-kube-").tempdir()?;
        let here = directory.path();
        let guard = Guard::start(here)?;
        let certificates = Certificates::new(here.join("pki"))?;
        let server = certificates.server()?;
        let service_accounts = certificates.service_account_key()?;
        let admin = certificates.client("admin", "system:masters")?;

        let etcd = components::etcd(&programs, here, options.disk);
        let mut etcd = Process::start(&guard, "etcd", etcd, here.join("etcd.log"))?;
        let files = ApiServerFiles {
            certificates: &certificates,
            server: &server,
            service_accounts: &service_accounts,
        };
        let (api_server, port) =
            first_api_server(&guard, &programs, here, &files, &options, &mut etcd).await?;
        let url = format!("https://127.0.0.1:{port}");
        let component = |user: &str, group: &str, file: &str| -> Result<PathBuf> {
            let path = here.join(file);
            let identity = Identity::Certificate(certificates.client(user, group)?);
            kubeconfig::write(&path, &url, &certificates.authority(), &identity, "default")?;
            Ok(path)
        };
        let authority = certificates.authority();
        kubeconfig::write(
            &here.join("admin.kubeconfig"),
            &url,
            &authority,
            &Identity::Certificate(admin.clone()),
            "default",
        )?;
        let client = kubeconfig::client(here.join("admin.kubeconfig"), USER_AGENT).await?;
        install(&client, &options.definitions).await?;

        let config = component("system:kube-controller-manager", "system:none", "controllers.kubeconfig")?;
        let command =
            components::controller_manager(&programs, &config, &certificates, &service_accounts, &options);
        let controller_manager =
            Process::start(&guard, "kube-controller-manager", command, here.join("controllers.log"))?;
        let scheduler = match options.controllers {
            Controllers::Janitors => None,
            Controllers::All => {
                let config = component("system:kube-scheduler", "system:none", "scheduler.kubeconfig")?;
                let command = components::scheduler(&programs, here, &config)?;
                Some(Process::start(&guard, "kube-scheduler", command, here.join("scheduler.log"))?)
            }
        };

        let control_plane = Self {
            scheduler,
            controller_manager,
            api_server: Some(api_server),
            etcd,
            guard,
            programs,
            options,
            port,
            certificates,
            server,
            service_accounts,
            admin,
            directory,
        };
        control_plane.wait_for_service_account(&client, "default").await?;
        Ok(control_plane)
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What programs that a test starts are tied to.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The certificate that vouches for the API server.
    pub fn authority(&self) -> PathBuf {
        self.certificates.authority()
    }

    /// Of somebody who may do everything. A client belongs to the runtime in which it was made.
    pub async fn client(&self) -> Result<Client> {
        self.client_named(USER_AGENT).await
    }

    /// The same under another user agent, by which the audit log can tell it.
    pub async fn client_named(&self, user_agent: &str) -> Result<Client> {
        kubeconfig::client(self.admin_kubeconfig(), user_agent).await
    }

    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.directory.path().join("admin.kubeconfig")
    }

    /// Writes one for somebody who may do everything.
    pub fn kubeconfig(&self, path: &Path, namespace: &str) -> Result<()> {
        let identity = Identity::Certificate(self.admin.clone());
        kubeconfig::write(path, &self.url(), &self.authority(), &identity, namespace)
    }

    /// Writes one for a service account of `namespace`, with a token for a day. `server`: a proxy before the API server.
    pub async fn service_account_kubeconfig(
        &self,
        path: &Path,
        namespace: &str,
        account: &str,
        server: Option<&str>,
    ) -> Result<()> {
        let client = self.client().await?;
        let spec = TokenRequestSpec { expiration_seconds: Some(24 * 3600), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let accounts: Api<ServiceAccount> = Api::namespaced(client, namespace);
        let answer = accounts.create_token_request(account, &PostParams::default(), &request).await?;
        let token = answer.status.context("the API server gave no token")?.token;
        let url = self.url();
        let server = server.unwrap_or(&url);
        kubeconfig::write(path, server, &self.authority(), &Identity::Token(token), namespace)
    }

    /// One in which pods must keep the standard `restricted`.
    pub async fn create_namespace(&self, name: &str) -> Result<()> {
        let client = self.client().await?;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let labels = [("pod-security.kubernetes.io/enforce".to_owned(), "restricted".to_owned())];
        let metadata =
            ObjectMeta { name: Some(name.to_owned()), labels: Some(labels.into()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        namespaces.create(&PostParams::default(), &namespace).await?;
        self.wait_for_service_account(&client, name).await
    }

    /// Installs definitions and waits until they are served.
    pub async fn install(&self, definitions: &[CustomResourceDefinition]) -> Result<()> {
        install(&self.client().await?, definitions).await
    }

    /// Runs the real kubectl as somebody who may do everything. An answer other than 0 is an error with its words.
    pub async fn kubectl<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<String> {
        let output = self.try_kubectl(arguments, "").await?;
        ensure!(output.success, "kubectl: {}", output.stderr);
        Ok(output.stdout)
    }

    /// The same with something on stdin and without an opinion about the answer.
    pub async fn try_kubectl<'a>(
        &self,
        arguments: impl IntoIterator<Item = &'a str>,
        stdin: &str,
    ) -> Result<Output> {
        let mut command = Command::from(self.programs.command("kubectl"));
        command.args(arguments);
        self.run("kubectl", command, stdin).await
    }

    /// Runs the real helm as somebody who may do everything. An answer other than 0 is an error with its words.
    pub async fn helm<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<String> {
        let output = self.try_helm(arguments).await?;
        ensure!(output.success, "helm: {}", output.stderr);
        Ok(output.stdout)
    }

    pub async fn try_helm<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<Output> {
        let mut command = Command::from(self.programs.helm());
        command.args(arguments);
        self.run("helm", command, "").await
    }

    pub fn audit(&self) -> Audit {
        Audit::new(self.directory.path().join("audit.log"))
    }

    /// The audit log once everything is in it that was answered before this call.
    pub async fn settled_audit(&self) -> Result<Audit> {
        let audit = self.audit();
        let start = audit.position()?;
        let client = self.client().await?;
        let maps: Api<ConfigMap> = Api::namespaced(client, "default");
        let marker = format!("marker-{}", ulid());
        maps.get_opt(&marker).await?;
        eventually("the end of the audit log", || async {
            let seen = audit.since(start)?.iter().any(|entry| entry.name == marker);
            Ok(seen.then_some(()))
        })
        .await?;
        Ok(audit)
    }

    /// SIGKILL.
    pub fn kill_api_server(&mut self) -> Result<()> {
        match self.api_server.take() {
            Some(mut process) => process.kill(),
            None => bail!("the API server does not run"),
        }
    }

    /// Again, on the same port and with what etcd has kept. Ready when this returns.
    pub async fn start_api_server(&mut self) -> Result<()> {
        ensure!(self.api_server.is_none(), "the API server runs already");
        let files = ApiServerFiles {
            certificates: &self.certificates,
            server: &self.server,
            service_accounts: &self.service_accounts,
        };
        let here = self.directory.path();
        let command = components::api_server(&self.programs, here, &files, self.port, &self.options)?;
        let mut process = Process::start(&self.guard, "kube-apiserver", command, here.join("api.log"))?;
        wait_until_ready(&mut process, &mut self.etcd, self.port, &self.certificates.authority()).await?;
        self.api_server = Some(process);
        Ok(())
    }

    /// The API server and its etcd: what every request costs, whoever sends it.
    pub fn servers(&self) -> impl Iterator<Item = &Process> {
        self.api_server.iter().chain([&self.etcd])
    }

    /// The last words of each program, for the message of a test that fails.
    pub fn complaints(&self) -> String {
        let Self { scheduler, controller_manager, api_server, etcd, .. } = self;
        let all = [Some(etcd), api_server.as_ref(), Some(controller_manager), scheduler.as_ref()];
        let told = all.into_iter().flatten();
        let told = told.map(|process| format!("== {}\n{}\n", process.name(), process.complaints()));
        told.collect::<Vec<_>>().concat()
    }

    async fn wait_for_service_account(&self, client: &Client, namespace: &str) -> Result<()> {
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
        let found = eventually("the first service account of a namespace", || async {
            Ok(accounts.get_opt("default").await?.map(drop))
        })
        .await;
        found.with_context(|| self.complaints())
    }

    async fn run(&self, name: &str, mut command: Command, stdin: &str) -> Result<Output> {
        let home = self.directory.path().join("home");
        command.env("KUBECONFIG", self.admin_kubeconfig()).env("HOME", home).kill_on_drop(true);
        // Nothing of the user's own settings.
        for variable in ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "HELM_NAMESPACE"] {
            command.env_remove(variable);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("failed to start {name}"))?;
        let mut pipe = child.stdin.take().context("stdin is not piped")?;
        let feed = async {
            // A program that does not read its stdin closes it.
            let _closed = tokio::io::AsyncWriteExt::write_all(&mut pipe, stdin.as_bytes()).await;
            drop(pipe);
        };
        let (output, ()) = within(name, async { tokio::join!(child.wait_with_output(), feed) }).await?;
        let output = output.with_context(|| format!("failed to run {name}"))?;
        Ok(Output {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

/// What a program answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

/// On a free port, which somebody else may take in the meantime.
async fn first_api_server(
    guard: &Guard,
    programs: &Programs,
    here: &Path,
    files: &ApiServerFiles<'_>,
    options: &Options,
    etcd: &mut Process,
) -> Result<(Process, u16)> {
    for _ in 0..5 {
        let port = components::free_port()?;
        let command = components::api_server(programs, here, files, port, options)?;
        let mut process = Process::start(guard, "kube-apiserver", command, here.join("api.log"))?;
        match wait_until_ready(&mut process, etcd, port, &files.certificates.authority()).await {
            Ok(()) => return Ok((process, port)),
            Err(_) if process.complaints().contains("address already in use") => {}
            Err(error) => return Err(error),
        }
    }
    bail!("found no port for the API server")
}

/// Until all of its own checks are good.
async fn wait_until_ready(
    api_server: &mut Process,
    etcd: &mut Process,
    port: u16,
    authority: &Path,
) -> Result<()> {
    let _chosen_already = rustls::crypto::ring::default_provider().install_default();
    let authority = reqwest::Certificate::from_pem(&std::fs::read(authority)?)?;
    let client = reqwest::Client::builder()
        .tls_certs_only([authority])
        .no_proxy()
        .timeout(Duration::from_secs(5))
        .build()?;
    let url = format!("https://127.0.0.1:{port}/readyz");
    let ready = async {
        loop {
            for process in [&mut *etcd, &mut *api_server] {
                if let Some(status) = process.ended()? {
                    bail!(
                        "{} ended before it was ready ({status}): {}",
                        process.name(),
                        process.complaints()
                    );
                }
            }
            let answer = client.get(&url).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ready = within("the start of the API server", ready).await;
    ready.with_context(|| api_server.complaints())?
}

async fn install(client: &Client, definitions: &[CustomResourceDefinition]) -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in definitions {
        api.create(&PostParams::default(), definition).await?;
    }
    for definition in definitions {
        let name = definition.name_any();
        eventually("a definition to be served", || async {
            let conditions = api.get(&name).await?.status.and_then(|status| status.conditions);
            let established = conditions
                .unwrap_or_default()
                .into_iter()
                .any(|condition| condition.type_ == "Established" && condition.status == "True");
            Ok(established.then_some(()))
        })
        .await?;
    }
    Ok(())
}

/// Deletes definitions and waits until they and their objects are gone.
pub async fn uninstall(client: &Client, definitions: &[CustomResourceDefinition]) -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in definitions {
        let name = definition.name_any();
        api.delete(&name, &DeleteParams::default()).await?;
        eventually("a definition to be gone", || async {
            Ok(api.get_opt(&name).await?.is_none().then_some(()))
        })
        .await?;
    }
    Ok(())
}

/// A name that nobody else has.
fn ulid() -> String {
    let mut random = crate::random::Random::from_environment();
    format!("{:016x}", random.number())
}
