//! The objects of a drone, as they are to be sent. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crds::names;
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, HTTPGetAction,
    LocalObjectReference, PersistentVolumeClaim, PersistentVolumeClaimSpec,
    PersistentVolumeClaimVolumeSource, Pod, PodSecurityContext, PodSpec, Probe, ProjectedVolumeSource,
    SeccompProfile, SecurityContext, ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
    VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::failure::{Diagnosis, State};
use super::observe::Observed;
use super::validate::{self, ClaimPlan, ClaimWish, Validated, ValidatedDrone, Workspace};
use crate::config::Config;
use crate::index::{Class, Drone, Owner, Uid};

/// The stages of a drone's resources: what is to be done, and what came of it.
pub trait Stage {
    type Claim;
    type Pod;
}

/// What a drone is made of, at one stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Resources<S: Stage> {
    pub claim: S::Claim,
    pub pod: S::Pod,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Built;

impl Stage for Built {
    type Claim = ClaimAction;
    type Pod = PodAction;
}

#[derive(Clone, Debug, PartialEq)]
pub enum ClaimAction {
    Keep,
    Create(Box<PersistentVolumeClaim>),
    /// A merge patch: of the owner, of the size, or of both.
    Patch {
        name: String,
        body: Value,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub enum PodAction {
    Keep,
    Create(Box<Pod>),
    Delete { name: String, uid: Uid },
}

pub const UID: i64 = 10001;
const HEALTH_PORT: i32 = 8421;
const TOKEN_DIR: &str = "/var/run/secrets/gadgetcode.dev";
const TOKEN_SECONDS: i64 = 600;
const ORPHAN_TIMEOUT: &str = "24h";

pub fn build(
    observed: &Observed,
    validated: &Validated,
    diagnosis: &Diagnosis,
    config: &Config,
) -> Resources<Built> {
    let (workspace, wanted) = match validated {
        Validated::Leave => return Resources { claim: ClaimAction::Keep, pod: PodAction::Keep },
        Validated::Rest(workspace) | Validated::Blocked(workspace, _) => (workspace, None),
        Validated::Run(wanted) => (&wanted.workspace, Some(wanted)),
    };
    let wants_claim = matches!(diagnosis.state, State::Create | State::Starting | State::Waiting);
    let pod = match (&diagnosis.state, wanted) {
        (State::Create, Some(wanted)) => PodAction::Create(Box::new(pod(&observed.drone, wanted, config))),
        (State::End(uid), _) => {
            PodAction::Delete { name: names::pod(&observed.drone.name), uid: uid.clone() }
        }
        _ => PodAction::Keep,
    };
    let claim = match claim_action(observed, workspace) {
        // Nothing is made for a drone that has no pod and gets none now.
        ClaimAction::Create(_) if !wants_claim => ClaimAction::Keep,
        action => action,
    };
    Resources { claim, pod }
}

fn claim_action(observed: &Observed, workspace: &Workspace) -> ClaimAction {
    match &workspace.plan {
        ClaimPlan::Keep => ClaimAction::Keep,
        ClaimPlan::Make(wish) => {
            let of = ClaimOf {
                user: &observed.drone.spec.user,
                session: observed.drone.spec.chat_session.as_deref(),
                drone: &observed.drone.name,
            };
            ClaimAction::Create(Box::new(claim(&workspace.claim, of, wish)))
        }
        ClaimPlan::Tend { owner, grow_to } => {
            let Some(claim) = observed.claim.there() else { return ClaimAction::Keep };
            let is_owner = claim.owner.as_ref().map(|owner| &owner.uid);
            // One thing at a time: a size that is refused must not keep the owner from being set.
            let body = if is_owner != owner.as_ref().map(|owner| &owner.uid) {
                let owners: Vec<OwnerReference> = owner.iter().map(reference).collect();
                json!({ "metadata": { "uid": &*claim.uid, "ownerReferences": owners } })
            } else if let Some(size) = grow_to
                && !observed.growth_was_refused(size)
            {
                json!({
                    "metadata": { "uid": &*claim.uid },
                    "spec": { "resources": { "requests": { "storage": size } } }
                })
            } else {
                return ClaimAction::Keep;
            };
            ClaimAction::Patch { name: workspace.claim.clone(), body }
        }
    }
}

/// Whose claim it is, for its labels.
#[derive(Clone, Copy, Debug)]
pub struct ClaimOf<'a> {
    pub user: &'a str,
    pub session: Option<&'a str>,
    pub drone: &'a str,
}

pub fn claim(name: &str, of: ClaimOf<'_>, wish: &ClaimWish) -> PersistentVolumeClaim {
    let mut labels = labels(of.user, of.session, of.drone);
    labels.insert(names::COMPONENT.to_owned(), names::WORKSPACE_COMPONENT.to_owned());
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels),
            owner_references: wish.owner.as_ref().map(|owner| vec![reference(owner)]),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec![wish.access_mode.as_str().to_owned()]),
            storage_class_name: wish.storage_class.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), Quantity(wish.size.clone()))])),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}

/// An owner that nobody has to wait for: the workspace goes after it.
pub fn reference(owner: &Owner) -> OwnerReference {
    OwnerReference {
        api_version: format!("{}/{}", crds::GROUP, crds::VERSION),
        kind: owner.kind.to_string(),
        name: owner.name.to_string(),
        uid: owner.uid.to_string(),
        ..OwnerReference::default()
    }
}

/// The one that looks after it. Without `blockOwnerDeletion`, which some clusters grant only together with finalizers.
pub fn controller(owner: &Owner) -> OwnerReference {
    OwnerReference { controller: Some(true), ..reference(owner) }
}

/// What all children of a drone carry.
pub fn labels(user: &str, session: Option<&str>, drone: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        (names::NAME.to_owned(), names::PRODUCT.to_owned()),
        (names::COMPONENT.to_owned(), names::DRONE_COMPONENT.to_owned()),
        (names::MANAGED_BY.to_owned(), names::OPERATOR.to_owned()),
        (names::DRONE.to_owned(), drone.to_owned()),
        (names::USER_HASH.to_owned(), names::user_hash(user)),
    ]);
    if let Some(session) = session {
        labels.insert(names::SESSION.to_owned(), session.to_owned());
    }
    labels
}

fn pod(drone: &Drone, wanted: &ValidatedDrone, config: &Config) -> Pod {
    let class = &*wanted.class;
    let mut labels = labels(&drone.spec.user, drone.spec.chat_session.as_deref(), &drone.name);
    labels.insert(names::CLASS.to_owned(), class.name.to_string());
    let owner = Owner { kind: "DroneRegistration".into(), name: drone.name.clone(), uid: drone.uid.clone() };
    Pod {
        metadata: ObjectMeta {
            name: Some(names::pod(&drone.name)),
            labels: Some(labels),
            annotations: Some(BTreeMap::from([(names::CLASS_REVISION.to_owned(), class.revision.clone())])),
            owner_references: Some(vec![controller(&owner)]),
            ..ObjectMeta::default()
        },
        spec: Some(pod_spec(drone, wanted, config)),
        ..Pod::default()
    }
}

fn pod_spec(drone: &Drone, wanted: &ValidatedDrone, config: &Config) -> PodSpec {
    let class = &wanted.class.spec;
    let grace = validate::grace(&wanted.class);
    let secrets = class.image_pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() });
    PodSpec {
        containers: vec![container(drone, &wanted.class, grace, config)],
        restart_policy: Some("OnFailure".to_owned()),
        service_account_name: Some(config.drone_service_account.clone()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: i64::try_from(grace.as_secs()).ok(),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(UID),
            run_as_group: Some(UID),
            fs_group: Some(UID),
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(runtime_default()),
            ..PodSecurityContext::default()
        }),
        volumes: Some(volumes(&wanted.workspace.claim)),
        image_pull_secrets: some(secrets.collect()),
        runtime_class_name: class.runtime_class_name.clone(),
        host_users: class.host_users,
        node_selector: (!class.node_selector.is_empty()).then(|| class.node_selector.clone()),
        tolerations: some(class.tolerations.clone()),
        topology_spread_constraints: some(class.topology_spread.clone()),
        priority_class_name: class.priority_class_name.clone(),
        ..PodSpec::default()
    }
}

fn container(drone: &Drone, class: &Class, grace: Duration, config: &Config) -> Container {
    let spec = &class.spec;
    let env = spec.env.iter().map(|variable| EnvVar {
        name: variable.name.clone(),
        value: Some(variable.value.clone()),
        ..EnvVar::default()
    });
    Container {
        name: "drone".to_owned(),
        image: Some(spec.image.clone()),
        image_pull_policy: spec.image_pull_policy.map(|policy| policy.as_str().to_owned()),
        command: Some(vec!["gadget-drone".to_owned()]),
        args: Some(arguments(&drone.name, grace, config)),
        env: some(env.collect()),
        resources: spec.resources.clone(),
        ports: Some(vec![ContainerPort {
            name: Some("health".to_owned()),
            container_port: HEALTH_PORT,
            ..ContainerPort::default()
        }]),
        startup_probe: Some(probe("/healthz", 1, 120)),
        liveness_probe: Some(probe("/healthz", 10, 3)),
        readiness_probe: Some(probe("/readyz", 2, 3)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                ..Capabilities::default()
            }),
            seccomp_profile: Some(runtime_default()),
            ..SecurityContext::default()
        }),
        // The last lines of the log are all that is left of a drone that ended.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(vec![
            mount("workspace", "/workspace", false),
            mount("tmp", "/tmp", false),
            mount("token", TOKEN_DIR, true),
        ]),
        ..Container::default()
    }
}

fn arguments(registration: &str, grace: Duration, config: &Config) -> Vec<String> {
    // Time for the supervisor itself, after the drone's.
    const MARGIN: u64 = 5;
    let grace = grace.as_secs().saturating_sub(MARGIN).max(1);
    [
        "init",
        "--workspace",
        "/workspace",
        "--hub",
        config.hub_url.as_str().trim_end_matches('/'),
        "--registration",
        registration,
        "--token-file",
        &format!("{TOKEN_DIR}/token"),
        "--health-listen",
        &format!("0.0.0.0:{HEALTH_PORT}"),
        "--grace",
        &format!("{grace}s"),
        "--orphan-timeout",
        ORPHAN_TIMEOUT,
    ]
    .map(ToOwned::to_owned)
    .to_vec()
}

fn volumes(claim: &str) -> Vec<Volume> {
    let token = ServiceAccountTokenProjection {
        audience: Some(names::HUB_AUDIENCE.to_owned()),
        expiration_seconds: Some(TOKEN_SECONDS),
        path: "token".to_owned(),
    };
    vec![
        Volume {
            name: "workspace".to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim.to_owned(),
                ..PersistentVolumeClaimVolumeSource::default()
            }),
            ..Volume::default()
        },
        Volume {
            name: "tmp".to_owned(),
            empty_dir: Some(EmptyDirVolumeSource {
                size_limit: Some(Quantity("1Gi".to_owned())),
                ..EmptyDirVolumeSource::default()
            }),
            ..Volume::default()
        },
        Volume {
            name: "token".to_owned(),
            projected: Some(ProjectedVolumeSource {
                sources: Some(vec![VolumeProjection {
                    service_account_token: Some(token),
                    ..VolumeProjection::default()
                }]),
                ..ProjectedVolumeSource::default()
            }),
            ..Volume::default()
        },
    ]
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

fn probe(path: &str, every: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(HEALTH_PORT),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(every),
        failure_threshold: Some(failures),
        timeout_seconds: Some(5),
        ..Probe::default()
    }
}

fn runtime_default() -> SeccompProfile {
    SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}
