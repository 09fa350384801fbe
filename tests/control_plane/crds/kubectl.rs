//! What people see of the resources with kubectl.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tests::control_plane::{ControlPlane, shared};

/// The real kubectl in a namespace of its own.
struct Place {
    control_plane: &'static ControlPlane,
    namespace: &'static str,
}

impl Place {
    async fn new(namespace: &'static str) -> Result<Self> {
        let control_plane = shared().await?;
        control_plane.create_namespace(namespace).await?;
        Ok(Self { control_plane, namespace })
    }

    async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.with_stdin(arguments, "").await
    }

    async fn with_stdin(&self, arguments: &[&str], stdin: &str) -> Result<String> {
        let all = ["--namespace", self.namespace].into_iter().chain(arguments.iter().copied());
        let output = self.control_plane.try_kubectl(all, stdin).await?;
        ensure!(output.success, "kubectl {arguments:?}: {}", output.stderr);
        Ok(output.stdout)
    }

    async fn apply(&self, manifest: &str) -> Result<String> {
        self.with_stdin(&["apply", "-f", "-"], manifest).await
    }

    async fn get(&self, what: &[&str]) -> Result<Value> {
        let all: Vec<&str> = ["get", "-o", "json"].into_iter().chain(what.iter().copied()).collect();
        Ok(serde_json::from_str(&self.kubectl(&all).await?)?)
    }

    /// As operator and hub write it.
    async fn set_status(&self, what: &str, status: Value) -> Result<()> {
        let patch = json!({ "status": status }).to_string();
        self.kubectl(&["patch", what, "--subresource=status", "--type=merge", "-p", &patch]).await?;
        Ok(())
    }
}

/// A table as its cells; two blanks and more stand between two columns.
fn table(text: &str) -> Vec<Vec<&str>> {
    let cells = |line| str::split(line, "  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    text.lines().map(cells).collect()
}

#[tokio::test]
async fn five_lines_are_a_session_and_the_defaults_are_filled_in() -> Result<()> {
    let place = Place::new("crd-minimal").await?;
    let manifest = include_str!("../../../crds/examples/minimal.yaml");
    let said = place.apply(manifest).await?;
    assert_eq!(said, "chatsession.gadgetcode.dev/fix-login created\n");
    let session = place.get(&["chat", "fix-login"]).await?;
    let expected = json!({
        "user": "ada",
        "project": { "slug": "shop", "gitUrl": "https://git.example/shop.git" },
        "operatingMode": "Running",
    });
    assert_eq!(session["spec"], expected);
    assert_eq!(place.apply(manifest).await?, "chatsession.gadgetcode.dev/fix-login unchanged\n");
    place.apply(include_str!("../../../crds/examples/full.yaml")).await?;
    place.apply(include_str!("../../../crds/examples/drone-class.yaml")).await?;
    Ok(())
}

#[tokio::test]
async fn kubectl_shows_the_columns_that_people_look_for() -> Result<()> {
    let place = Place::new("crd-columns").await?;
    place.apply(include_str!("../../../crds/examples/minimal.yaml")).await?;
    let ready = json!([{
        "type": "Ready", "status": "True", "reason": "DroneReady", "message": "", "lastTransitionTime": "2026-11-28T03:52:26Z",
    }]);
    let status = json!({
        "phase": "Ready", "droneName": "fix-login", "nodeName": "node-7", "restarts": 2, "startMilliseconds": 812,
        "conditions": ready,
    });
    place.set_status("chat/fix-login", status).await?;
    let wide = place.kubectl(&["get", "chat", "-o", "wide"]).await?;
    let rows = table(&wide);
    let [header, row] = &rows[..] else { bail!("not one drone or session: {wide}") };
    assert_eq!(
        *header,
        ["NAME", "PHASE", "READY", "USER", "PROJECT", "DRONE", "RESTARTS", "AGE", "NODE", "REASON", "START"]
    );
    assert_eq!(row[..7], ["fix-login", "Ready", "True", "ada", "shop", "fix-login", "2"]);
    assert_eq!(row[8..], ["node-7", "DroneReady", "812"]);
    let narrow = place.kubectl(&["get", "chatsessions"]).await?;
    let columns = ["NAME", "PHASE", "READY", "USER", "PROJECT", "DRONE", "RESTARTS", "AGE"];
    assert_eq!(table(&narrow)[0], columns);

    let drone = json!({
        "apiVersion": "gadgetcode.dev/v1alpha1", "kind": "DroneRegistration", "metadata": { "name": "fix-login" },
        "spec": { "user": "ada", "chatSession": "fix-login", "className": "default" },
    });
    place.apply(&drone.to_string()).await?;
    let status = json!({
        "phase": "Busy", "nodeName": "node-7", "restarts": 0, "conditions": ready,
        "activity": { "state": "Working", "since": "2026-11-28T03:52:26Z" },
    });
    place.set_status("drone/fix-login", status).await?;
    let wide = place.kubectl(&["get", "drones", "-o", "wide"]).await?;
    let rows = table(&wide);
    let [header, row] = &rows[..] else { bail!("not one drone or session: {wide}") };
    assert_eq!(
        *header,
        [
            "NAME", "PHASE", "READY", "USER", "SESSION", "RESTARTS", "AGE", "NODE", "REASON", "CLASS",
            "ACTIVITY"
        ]
    );
    assert_eq!(row[..6], ["fix-login", "Busy", "True", "ada", "fix-login", "0"]);
    assert_eq!(row[7..], ["node-7", "DroneReady", "default", "Working"]);

    place.apply(include_str!("../../../crds/examples/drone-class.yaml")).await?;
    let classes = place.kubectl(&["get", "droneclass"]).await?;
    let classes = table(&classes);
    assert_eq!(classes[0], ["NAME", "IMAGE", "SIZE", "IDLE", "AGE"]);
    assert_eq!(classes[1][..4], ["large", "registry.example/gadget-drone:1.0", "20Gi", "30m"]);
    let all = place.kubectl(&["get", "gadget", "-o", "name"]).await?;
    let kinds = ["chatsession", "droneclass", "droneregistration"];
    let names: Vec<String> = kinds
        .into_iter()
        .zip(["fix-login", "large", "fix-login"])
        .map(|(kind, name)| format!("{kind}.gadgetcode.dev/{name}"))
        .collect();
    assert_eq!(all.lines().collect::<Vec<_>>(), names);
    Ok(())
}

#[tokio::test]
async fn sessions_and_drones_are_found_by_their_fields() -> Result<()> {
    let place = Place::new("crd-fields").await?;
    for (name, user, slug) in [("one", "ada", "shop"), ("two", "ada", "blog"), ("three", "bob", "shop")] {
        let session = json!({
            "apiVersion": "gadgetcode.dev/v1alpha1", "kind": "ChatSession", "metadata": { "name": name },
            "spec": { "user": user, "project": { "slug": slug } },
        });
        place.apply(&session.to_string()).await?;
        let drone = json!({
            "apiVersion": "gadgetcode.dev/v1alpha1", "kind": "DroneRegistration", "metadata": { "name": name },
            "spec": { "user": user, "chatSession": name, "className": "default" },
        });
        place.apply(&drone.to_string()).await?;
    }
    place.set_status("chat/two", json!({ "phase": "Ready", "droneName": "two" })).await?;
    place.set_status("drone/two", json!({ "phase": "Busy", "nodeName": "node-7" })).await?;
    for (kind, selector, expected) in [
        ("chat", "spec.user=ada", "one two"),
        ("chat", "spec.project.slug=shop", "one three"),
        ("chat", "spec.user=ada,spec.project.slug=shop", "one"),
        ("chat", "status.phase=Ready", "two"),
        ("chat", "status.droneName=two", "two"),
        ("drone", "spec.user=bob", "three"),
        ("drone", "spec.chatSession=one", "one"),
        ("drone", "status.phase=Busy", "two"),
        ("drone", "status.nodeName=node-7", "two"),
    ] {
        let list = place.kubectl(&["get", kind, "--field-selector", selector, "-o", "name"]).await?;
        let names = list.lines().filter_map(|line| line.split('/').nth(1)).collect::<Vec<_>>();
        // By name, which is how the API server sorts.
        let mut expected: Vec<&str> = expected.split(' ').collect();
        expected.sort_unstable();
        assert_eq!(names, expected, "{kind} {selector}");
    }
    Ok(())
}

#[tokio::test]
async fn kubectl_explains_every_field() -> Result<()> {
    let place = Place::new("crd-explain").await?;
    for definition in ::crds::all() {
        let kind = definition.spec.names.singular.clone().context("a kind has a name")?;
        let schema = serde_json::to_value(&definition.spec.versions[0].schema)?;
        let mut paths = Vec::new();
        described(&schema["openAPIV3Schema"], "", &mut paths);
        let outline = place.kubectl(&["explain", &kind, "--recursive"]).await?;
        for (path, _) in &paths {
            let name = path.rsplit('.').next().unwrap_or_default();
            assert!(outline.contains(&format!("{name}\t<")), "{kind}: {path} is not explained");
        }
        // One look at each level shows the words of all fields in it.
        for level in levels(&paths) {
            let words = place.kubectl(&["explain", &format!("{kind}{level}")]).await?;
            let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
            for (path, description) in paths.iter().filter(|(path, _)| parent(path) == level) {
                // Each line of a paragraph is broken anew.
                let first = description.lines().next().unwrap_or_default();
                let first = first.split_whitespace().collect::<Vec<_>>().join(" ");
                assert!(words.contains(&first), "{kind}{path}: {first:?} is not in {words}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn kubectl_waits_for_a_condition_and_suspends_by_a_patch() -> Result<()> {
    let place = Place::new("crd-wait").await?;
    place.apply(include_str!("../../../crds/examples/minimal.yaml")).await?;
    let ready = json!([{
        "type": "Ready", "status": "True", "reason": "DroneReady", "message": "", "lastTransitionTime": "2026-11-28T03:52:26Z",
    }]);
    let waiting = ["wait", "--for=condition=Ready", "--timeout=60s", "chat/fix-login"];
    let status = json!({ "phase": "Ready", "conditions": ready });
    let (waited, written) = tokio::join!(place.kubectl(&waiting), place.set_status("chat/fix-login", status));
    written?;
    assert_eq!(waited?, "chatsession.gadgetcode.dev/fix-login condition met\n");
    let suspend = r#"{"spec":{"operatingMode":"Suspended"}}"#;
    place.kubectl(&["patch", "chat", "fix-login", "--type=merge", "-p", suspend]).await?;
    let session = place.get(&["chat", "fix-login"]).await?;
    assert_eq!(session["spec"]["operatingMode"], "Suspended");
    assert_eq!(session["metadata"]["generation"], 2);
    Ok(())
}

#[tokio::test]
async fn a_drone_that_works_is_small_also_as_the_api_server_keeps_it() -> Result<()> {
    let place = Place::new("crd-small").await?;
    let drone = json!({
        "apiVersion": "gadgetcode.dev/v1alpha1", "kind": "DroneRegistration", "metadata": { "name": "x" },
        "spec": { "user": "ada", "chatSession": "fix-login", "className": "default" },
    });
    place.with_stdin(&["create", "-f", "-"], &drone.to_string()).await?;
    place.set_status("drone/x", json!({ "phase": "Busy", "podName": "x", "restarts": 0 })).await?;
    let mut stored = place.get(&["drone", "x", "--show-managed-fields"]).await?;
    let whole = stored.to_string().len();
    stored["metadata"].as_object_mut().context("an object has metadata")?.remove("managedFields");
    println!("{whole} bytes, {} without managedFields", stored.to_string().len());
    assert!(whole <= 2048, "{whole} bytes");
    Ok(())
}

/// All fields with their descriptions, as `.spec.user`.
fn described(schema: &Value, path: &str, found: &mut Vec<(String, String)>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let description = field["description"].as_str().unwrap_or_default();
        found.push((path.clone(), description.to_owned()));
        described(field, &path, found);
        described(&field["items"], &path, found);
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(parent, _)| parent)
}

fn levels(paths: &[(String, String)]) -> Vec<&str> {
    let mut levels: Vec<&str> = paths.iter().map(|(path, _)| parent(path)).collect();
    levels.sort_unstable();
    levels.dedup();
    levels
}
