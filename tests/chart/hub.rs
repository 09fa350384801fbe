//! The templates of the hub.

use anyhow::Result;
use serde_json::{Value, json};

use crate::rendered::{Rendered, example, refused};

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn by_default_the_hub_listens_keeps_its_data_on_the_volume_and_runs_drones_as_pods() -> Result<()> {
    let expected = [
        ("GADGET_LISTEN", "0.0.0.0:8420"),
        ("GADGET_DATA", "/data"),
        ("GADGET_WAIT_FOR_DATA", "60s"),
        ("GADGET_FLEET", "kube"),
        ("GADGET_NAMESPACE", "tools"),
        ("GADGET_CLASS", "default"),
        ("GADGET_DRONE_SERVICE_ACCOUNT", "gadget-drone"),
        ("GADGET_TEST_SERVICE_ACCOUNT", "tools/gadget-test"),
        ("GADGET_IDLE_TIMEOUT", "30m"),
        ("GADGET_TRUST_FORWARDED_FOR", "false"),
        ("GADGET_TOKEN_HOURS", "24"),
        ("GADGET_DEMO", "true"),
        ("GADGET_LOG_FORMAT", "json"),
        ("RUST_LOG", "info"),
    ];
    assert_eq!(Rendered::gadget(&[])?.environment("hub")?, pairs(&expected));
    Ok(())
}

#[test]
fn each_setting_of_the_hub_reaches_it() -> Result<()> {
    let expected = [
        ("GADGET_LISTEN", "0.0.0.0:8420"),
        ("GADGET_DATA", "/data"),
        ("GADGET_WAIT_FOR_DATA", "90s"),
        ("GADGET_FLEET", "kube"),
        ("GADGET_NAMESPACE", "agents-drones"),
        ("GADGET_CLASS", "large"),
        ("GADGET_DRONE_SERVICE_ACCOUNT", "gadget-drone"),
        ("GADGET_IDLE_TIMEOUT", "1h"),
        ("GADGET_PUBLIC_URL", "https://gadget.example"),
        ("GADGET_ALLOWED_HOSTS", "gadget.example,gadget-hub,gadget-hub.tools.svc"),
        ("GADGET_ALLOWED_ORIGINS", "https://ide.example"),
        ("GADGET_TRUST_FORWARDED_FOR", "true"),
        ("GADGET_TOKEN_HOURS", "12"),
        ("GADGET_MODEL", "openai/gpt-5"),
        ("GADGET_DEMO", "false"),
        ("GADGET_MAX_MODEL_BODY", "33554432"),
        ("GADGET_MAX_PROMPT", "1048576"),
        ("GADGET_PROMPTS_PER_MINUTE", "20"),
        ("GADGET_ADMIN_EMAIL", "ada@example.org"),
        ("GADGET_ADMIN_PASSWORD_FILE", "/etc/gadget/admin/password"),
        ("GADGET_LOG_FORMAT", "text"),
        ("RUST_LOG", "info,hub=debug"),
        ("GADGET_OPENAI_URL", "https://api.openai.com/v1"),
        ("GADGET_OPENAI_KEY_FILE", "/etc/gadget/openai/api-key"),
        ("GADGET_OLLAMA_URL", "http://ollama.models.svc:11434"),
        ("HTTPS_PROXY", "http://proxy.example:3128"),
        ("NODE_NAME", r#"{"fieldRef":{"fieldPath":"spec.nodeName"}}"#),
    ];
    let rendered = Rendered::gadget(&[&example("everything"), "--set=fullnameOverride="])?;
    assert_eq!(rendered.environment("hub")?, pairs(&expected));
    Ok(())
}

#[test]
fn without_an_address_of_its_own_the_hub_is_at_the_ingress_s_host() -> Result<()> {
    let url = |arguments: &[&str]| Rendered::gadget(arguments)?.variable("hub", "GADGET_PUBLIC_URL");
    assert_eq!(url(&[])?, None);
    assert_eq!(url(&["--set=ingress.host=g.example"])?, None);
    assert_eq!(url(&["--set=ingress.enabled=true"])?, None);
    let on = "--set=ingress.enabled=true,ingress.host=g.example";
    assert_eq!(url(&[on])?.as_deref(), Some("http://g.example"));
    assert_eq!(url(&[on, "--set=ingress.tlsSecret=tls"])?.as_deref(), Some("https://g.example"));
    assert_eq!(url(&[on, "--set=hub.publicUrl=https://o.example"])?.as_deref(), Some("https://o.example"));
    Ok(())
}

#[test]
fn a_hub_that_answers_to_some_names_answers_to_the_drones_and_the_ingress_too() -> Result<()> {
    let arguments =
        ["--set=hub.allowedHosts={a.example}", "--set=ingress.enabled=true,ingress.host=g.example"];
    let hosts = Rendered::gadget(&arguments)?.variable("hub", "GADGET_ALLOWED_HOSTS")?;
    assert_eq!(hosts.as_deref(), Some("a.example,gadget-hub,gadget-hub.tools.svc,g.example"));
    Ok(())
}

#[test]
fn one_hub_at_a_time_holds_the_volume() -> Result<()> {
    let rendered = Rendered::gadget(&[])?;
    let spec = &rendered.get("Deployment", "gadget-hub")?["spec"];
    assert_eq!(spec["replicas"], 1);
    assert_eq!(spec["strategy"], json!({ "type": "Recreate" }));
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "gadget-hub");
    assert_eq!(pod["automountServiceAccountToken"], true);
    assert_eq!(pod["terminationGracePeriodSeconds"], 30);
    assert_eq!(
        pod["volumes"],
        json!([
            { "name": "data", "persistentVolumeClaim": { "claimName": "gadget-hub" } },
            { "name": "tmp", "emptyDir": { "sizeLimit": "256Mi" } },
        ])
    );
    let mounts = json!([{ "name": "data", "mountPath": "/data" }, { "name": "tmp", "mountPath": "/tmp" }]);
    assert_eq!(rendered.container("hub")?["volumeMounts"], mounts);
    Ok(())
}

#[test]
fn the_hub_is_probed_where_it_answers() -> Result<()> {
    let rendered = Rendered::gadget(&[])?;
    let container = rendered.container("hub")?;
    assert_eq!(container["ports"], json!([{ "name": "http", "containerPort": 8420 }]));
    for (probe, path) in
        [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
    {
        assert_eq!(container[probe]["httpGet"], json!({ "path": path, "port": "http" }), "{probe}");
    }
    Ok(())
}

#[test]
fn keys_are_mounted_as_files_that_the_hub_alone_can_read() -> Result<()> {
    let rendered = Rendered::gadget(&[&example("everything"), "--set=fullnameOverride="])?;
    let pod = &rendered.get("Deployment", "gadget-hub")?["spec"]["template"]["spec"];
    let secret = |name: &str, secret: &str, key: &str, path: &str| {
        json!({ "name": name, "secret": {
            "secretName": secret, "defaultMode": 0o440, "items": [{ "key": key, "path": path }],
        } })
    };
    let volumes = pod["volumes"].as_array().unwrap();
    assert_eq!(volumes[2], secret("openai", "openai", "token", "api-key"));
    assert_eq!(volumes[3], secret("admin", "admin", "pass", "password"));
    let mounts = rendered.container("hub")?["volumeMounts"].as_array().unwrap().clone();
    let mount = |name: &str, path: &str| json!({ "name": name, "mountPath": path, "readOnly": true });
    assert_eq!(mounts[2], mount("openai", "/etc/gadget/openai"));
    assert_eq!(mounts[3], mount("admin", "/etc/gadget/admin"));
    Ok(())
}

#[test]
fn a_key_or_an_account_that_is_only_half_said_is_refused() -> Result<()> {
    let words = refused(&["--set=providers.openai.existingSecret=openai"])?;
    assert!(words.contains("providers.openai.existingSecret needs providers.openai.url"), "{words}");
    for half in ["--set=hub.admin.email=a@b.example", "--set=hub.admin.existingSecret=admin"] {
        let words = refused(&[half])?;
        assert!(words.contains("hub.admin.email and hub.admin.existingSecret need each other"), "{words}");
    }
    Ok(())
}

#[test]
fn where_and_how_the_hub_s_pod_runs_can_be_set() -> Result<()> {
    let rendered = Rendered::gadget(&[&example("everything"), "--set=fullnameOverride="])?;
    let template = &rendered.get("Deployment", "gadget-hub")?["spec"]["template"];
    let pod = &template["spec"];
    assert_eq!(pod["nodeSelector"], json!({ "kubernetes.io/os": "linux" }));
    assert_eq!(pod["tolerations"][0]["key"], "dedicated");
    assert!(pod["affinity"]["nodeAffinity"].is_object());
    assert_eq!(pod["priorityClassName"], "system-cluster-critical");
    assert_eq!(pod["terminationGracePeriodSeconds"], 60);
    assert_eq!(template["metadata"]["labels"]["tier"], "hub");
    assert_eq!(template["metadata"]["annotations"]["example.org/pod"], "hub");
    Ok(())
}

#[test]
fn the_service_is_one_port_that_leads_to_the_hub() -> Result<()> {
    let rendered = Rendered::gadget(&[])?;
    let service = rendered.get("Service", "gadget-hub")?;
    assert_eq!(service["spec"]["type"], "ClusterIP");
    assert_eq!(service["spec"]["ports"], json!([{ "name": "http", "port": 8420, "targetPort": "http" }]));
    let deployment = rendered.get("Deployment", "gadget-hub")?;
    assert_eq!(service["spec"]["selector"], deployment["spec"]["selector"]["matchLabels"]);
    let other = Rendered::gadget(&[&example("everything"), "--set=fullnameOverride="])?;
    let service = other.get("Service", "gadget-hub")?;
    assert_eq!(service["spec"]["type"], "LoadBalancer");
    assert_eq!(service["spec"]["ports"][0]["port"], 80);
    assert_eq!(service["metadata"]["annotations"]["example.org/load-balancer"], "internal");
    let url = other.variable("operator", "GADGET_HUB_URL")?;
    assert_eq!(url.as_deref(), Some("http://gadget-hub.tools.svc:80"));
    Ok(())
}

#[test]
fn the_store_s_volume_outlives_the_release_unless_told_otherwise() -> Result<()> {
    let claim = |arguments: &[&str]| -> Result<Option<Value>> {
        Ok(Rendered::gadget(arguments)?.find("PersistentVolumeClaim", "gadget-hub").cloned())
    };
    let kept = claim(&[])?.unwrap();
    assert_eq!(kept["metadata"]["annotations"], json!({ "helm.sh/resource-policy": "keep" }));
    let spec =
        json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "10Gi" } } });
    assert_eq!(kept["spec"], spec);
    assert_eq!(claim(&["--set=store.keep=false"])?.unwrap()["metadata"]["annotations"], Value::Null);
    let set = claim(&["--set=store.size=5Gi,store.storageClassName=fast,store.accessMode=ReadWriteOncePod"])?;
    let spec = json!({
        "accessModes": ["ReadWriteOncePod"],
        "storageClassName": "fast",
        "resources": { "requests": { "storage": "5Gi" } },
    });
    assert_eq!(set.unwrap()["spec"], spec);
    let existing = ["--set=store.existingClaim=mine"];
    assert_eq!(claim(&existing)?, None);
    let rendered = Rendered::gadget(&existing)?;
    let volume = &rendered.get("Deployment", "gadget-hub")?["spec"]["template"]["spec"]["volumes"][0];
    assert_eq!(volume["persistentVolumeClaim"]["claimName"], "mine");
    Ok(())
}

#[test]
fn an_ingress_is_made_on_request() -> Result<()> {
    assert_eq!(Rendered::gadget(&[])?.of_kind("Ingress").count(), 0);
    let bare = Rendered::gadget(&["--set=ingress.enabled=true"])?;
    let paths = json!({ "paths": [{
        "path": "/",
        "pathType": "Prefix",
        "backend": { "service": { "name": "gadget-hub", "port": { "name": "http" } } },
    }] });
    assert_eq!(bare.get("Ingress", "gadget-hub")?["spec"], json!({ "rules": [{ "http": paths }] }));
    let full = Rendered::gadget(&[&example("ingress")])?;
    let ingress = full.get("Ingress", "gadget-hub")?;
    let spec = json!({
        "ingressClassName": "nginx",
        "tls": [{ "hosts": ["gadget.example"], "secretName": "gadget-tls" }],
        "rules": [{ "host": "gadget.example", "http": paths }],
    });
    assert_eq!(ingress["spec"], spec);
    let timeout = &ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-read-timeout"];
    assert_eq!(timeout, "3600");
    Ok(())
}
