//! Faults that keep a session from starting: how each is made, and what must be said of it.

use serde_json::{Value, json};

/// All of these must be in what is said.
pub(super) type Says = &'static [&'static str];

/// What objects are made of.
pub(super) struct Make {
    pub(super) image: String,
    pub(super) user: &'static str,
}

pub(super) struct Fault {
    /// Of its session and of its class.
    pub(super) name: &'static str,
    class: fn() -> Value,
    session: fn() -> Value,
    pub(super) says: Says,
}

/// A class has something that cannot be.
const fn class(name: &'static str, class: fn() -> Value, says: Says) -> Fault {
    Fault { name, class, session: || json!({}), says }
}

/// A session has something that cannot be.
const fn session(name: &'static str, session: fn() -> Value, says: Says) -> Fault {
    Fault { name, class: || json!({}), session, says }
}

const BY_ITSELF: &str = "it is tried again by itself";

pub(super) const FAULTS: &[Fault] = &[
    class(
        "image-never",
        || json!({ "image": "gadget-drone:none-such", "imagePullPolicy": "Never" }),
        &[
            "ErrImageNeverPull",
            "gadget-drone:none-such",
            "check image and imagePullSecrets in the DroneClass",
        ],
    ),
    class(
        "image-registry",
        || json!({ "image": "registry.invalid/gadget-drone:1", "imagePullSecrets": ["none-such"] }),
        &[
            "ImagePullFailed",
            "registry.invalid",
            "check image and imagePullSecrets in the DroneClass",
            BY_ITSELF,
        ],
    ),
    class(
        "image-name",
        || json!({ "image": "gadget-drone:UP:PER" }),
        &["InvalidImageName", "gadget-drone:UP:PER", "check image"],
    ),
    class(
        "image-other",
        || json!({ "env": [{ "name": "PATH", "value": "/nowhere" }], "failurePolicy": { "maxRestarts": 3 } }),
        &["has failed: StartError", "gadget-drone", "not found in $PATH", "name an image in the DroneClass"],
    ),
    class(
        "arguments",
        || json!({ "env": [{ "name": "GADGET_CLONE_DEPTH", "value": "deep" }], "failurePolicy": { "maxRestarts": 3 } }),
        &[
            "has failed: ContainerEnded",
            "exit code 2",
            "'deep'",
            "given up after 3 failures",
            "delete the drone",
        ],
    ),
    class(
        "no-cpu",
        || json!({ "resources": { "requests": { "cpu": "900", "memory": "32Mi" } } }),
        &["Unschedulable", "Insufficient cpu\n", "ask for less in the DroneClass", BY_ITSELF],
    ),
    class(
        "no-memory",
        || json!({ "resources": { "requests": { "memory": "60Gi" }, "limits": { "memory": "60Gi" } } }),
        &["Unschedulable", "Insufficient memory\n", "ask for less in the DroneClass"],
    ),
    class(
        "no-label",
        || json!({ "nodeSelector": { "disk": "gadget-test" } }),
        &["Unschedulable", "node affinity/selector\n", "labels that nodeSelector in the DroneClass wants"],
    ),
    class(
        "no-zone",
        || {
            json!({ "topologySpread": [{
                "maxSkew": 1, "topologyKey": "gadget-test/zone", "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": { "matchLabels": { "gadgetcode.dev/class": "no-zone" } },
            }] })
        },
        &["Unschedulable", "topology spread", "labels that topologySpread in the DroneClass wants"],
    ),
    class(
        "tiny",
        || json!({ "resources": { "requests": { "memory": "1Mi" }, "limits": { "memory": "1Mi" } } }),
        &["FailedCreatePodSandBox", "OOM-killed", "raise resources.limits.memory in the DroneClass"],
    ),
    class(
        "limits",
        || json!({ "resources": { "requests": { "memory": "2Gi" }, "limits": { "memory": "1Gi" } } }),
        &[
            "Invalid",
            "must be less than or equal to memory limit",
            "a new pod is made",
            "mend the DroneClass",
        ],
    ),
    class(
        "too-large",
        || json!({ "resources": { "requests": { "memory": "32Mi" }, "limits": { "memory": "128Gi" } } }),
        &["LimitRange", "maximum memory usage per Container is 64Gi", "the LimitRange of the namespace"],
    ),
    class(
        "quota",
        || json!({ "priorityClassName": "gadget-test-bounded" }),
        &["QuotaExceeded", "exceeded quota: bounded", "raise the ResourceQuota"],
    ),
    class(
        "no-priority",
        || json!({ "priorityClassName": "gadget-test-none" }),
        &["PriorityClassMissing", "gadget-test-none", "priorityClassName in the DroneClass"],
    ),
    class(
        "no-runtime",
        || json!({ "runtimeClassName": "gadget-test-none" }),
        &["RuntimeClassMissing", "gadget-test-none", "runtimeClassName in the DroneClass"],
    ),
    class(
        "refused",
        || json!({ "env": [{ "name": "HTTPS_PROXY", "value": "http://proxy" }] }),
        &["AdmissionRefused", "no proxies here", "ask whoever set up that admission rule"],
    ),
    class(
        "no-storage",
        || json!({ "workspace": { "storageClassName": "gadget-test-none" } }),
        &[
            "ProvisioningFailed",
            "'ws-no-storage' gets no volume",
            "gadget-test-none",
            "check the storage class",
        ],
    ),
    class(
        "no-volumes",
        || json!({ "workspace": { "storageClassName": "gadget-test-static" } }),
        &["Unschedulable", "persistent volumes to bind\n", "kubectl describe pvc"],
    ),
    class(
        "no-provisioner",
        || json!({ "workspace": { "storageClassName": "gadget-test-nobody" } }),
        &["Unschedulable", "unbound immediate PersistentVolumeClaims\n", "kubectl describe pvc"],
    ),
    class(
        "large-volume",
        || json!({ "workspace": { "size": "2Ti" } }),
        &["LimitRange", "the API server refuses the claim", "is 1Ti", "the LimitRange of the namespace"],
    ),
    session(
        "no-class",
        || json!({ "className": "none-such" }),
        &["ClassMissing", "there is no DroneClass 'none-such'", "kubectl get droneclasses"],
    ),
    session(
        "no-user",
        || json!({ "user": "none-such" }),
        &["kept out by the hub: UserUnknown", "the hub has no user 'none-such'", "make an account"],
    ),
    session(
        "no-drone",
        || json!({ "drone": "none-such" }),
        &["DroneMissing", "there is no drone 'none-such'", "start the drone 'none-such'"],
    ),
    session(
        "no-claim",
        || json!({ "workspace": { "claimName": "none-such" } }),
        &["ClaimNotUsable", "in a claim 'none-such'", "name a claim"],
    ),
    session(
        "name-taken",
        || json!({}),
        &["NameTaken", "'ws-name-taken' is there", "make the session under another name"],
    ),
    session(
        "pod-taken",
        || json!({}),
        &["NameTaken", "a pod 'pod-taken' is there", "delete the pod 'pod-taken'"],
    ),
];

impl Fault {
    /// The class and the session.
    pub(super) fn objects(&self, make: &Make) -> Vec<Value> {
        let Self { name, class, session, says: _ } = self;
        make.both(name, class(), session())
    }
}

impl Make {
    /// A session that works, and asks for little.
    pub(super) fn small(&self, name: &str) -> Vec<Value> {
        self.both(name, json!({}), json!({}))
    }

    fn both(&self, name: &str, class: Value, session: Value) -> Vec<Value> {
        let mut of_class = json!({
            "image": self.image, "imagePullPolicy": "IfNotPresent", "terminationGracePeriod": "6s",
            "resources": { "requests": { "cpu": "5m", "memory": "32Mi" } },
        });
        let mut of_session = json!({ "user": self.user, "project": { "slug": name }, "className": name });
        laid_over(&mut of_class, class);
        laid_over(&mut of_session, session);
        let object = |kind: &str, spec: Value| {
            json!({
                "apiVersion": "gadgetcode.dev/v1alpha1", "kind": kind, "metadata": { "name": name }, "spec": spec,
            })
        };
        vec![object("DroneClass", of_class), object("ChatSession", of_session)]
    }
}

fn laid_over(below: &mut Value, above: Value) {
    if let (Value::Object(below), Value::Object(above)) = (below, above) {
        below.extend(above);
    }
}

/// What the faults need of the cluster. Nothing else takes notice of it.
pub(super) fn of_the_cluster() -> Vec<Value> {
    let storage = |name: &str, provisioner: &str, mode: &str| {
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": name },
            "provisioner": provisioner, "volumeBindingMode": mode,
        })
    };
    vec![
        storage("gadget-test-static", "kubernetes.io/no-provisioner", "WaitForFirstConsumer"),
        storage("gadget-test-nobody", "nobody.invalid/disks", "Immediate"),
        json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": { "name": "gadget-test-bounded" }, "value": 0,
        }),
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": { "name": "gadget-test-no-proxies" },
            "spec": {
                "matchConstraints": { "resourceRules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"],
                }] },
                "validations": [{
                    "expression": "!object.spec.containers.exists(one, has(one.env) && one.env.exists(variable, \
                                   variable.name == 'HTTPS_PROXY'))",
                    "message": "no proxies here",
                }],
            },
        }),
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": { "name": "gadget-test-no-proxies" },
            "spec": {
                "policyName": "gadget-test-no-proxies", "validationActions": ["Deny"],
                "matchResources": {
                    "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": tests::release::NAMESPACE } },
                },
            },
        }),
    ]
}

pub(super) fn of_the_namespace() -> Vec<Value> {
    let object = |api: &str, kind: &str, name: &str, spec: Value| json!({ "apiVersion": api, "kind": kind, "metadata": { "name": name }, "spec": spec });
    let bounded =
        json!({ "scopeName": "PriorityClass", "operator": "In", "values": ["gadget-test-bounded"] });
    vec![
        object(
            "v1",
            "LimitRange",
            "bounded",
            json!({ "limits": [
            { "type": "Container", "max": { "memory": "64Gi" } },
            { "type": "PersistentVolumeClaim", "max": { "storage": "1Ti" } },
        ] }),
        ),
        object(
            "v1",
            "ResourceQuota",
            "bounded",
            json!({
                "hard": { "pods": "0" }, "scopeSelector": { "matchExpressions": [bounded] },
            }),
        ),
        object(
            "v1",
            "PersistentVolumeClaim",
            "ws-name-taken",
            json!({
                "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } },
            }),
        ),
        object(
            "v1",
            "Pod",
            "pod-taken",
            json!({
                "nodeSelector": { "disk": "gadget-test" },
                "securityContext": { "runAsNonRoot": true, "runAsUser": 10001, "seccompProfile": { "type": "RuntimeDefault" } },
                "containers": [{
                    "name": "other", "image": "other", "resources": { "requests": { "memory": "1Mi" } },
                    "securityContext": {
                        "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] },
                    },
                }],
            }),
        ),
    ]
}
