//! The templates of `helm test`, which are laid only while it runs.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::control_plane::programs;

use crate::rendered::{Rendered, described, example, template};

fn of_the_test(rendered: &Rendered) -> Vec<&Value> {
    let hooked = |object: &&Value| object["metadata"]["annotations"]["helm.sh/hook"] == "test";
    rendered.objects.iter().filter(hooked).collect()
}

#[test]
fn all_of_the_test_is_laid_for_it_and_its_rights_end_with_it() -> Result<()> {
    let rendered = Rendered::gadget(&[])?;
    let of_test = of_the_test(&rendered);
    let names: Vec<String> = of_test.iter().map(|object| described(object)).collect();
    let component = rendered
        .objects
        .iter()
        .filter(|one| one["metadata"]["labels"]["app.kubernetes.io/component"] == "test");
    assert_eq!(names, component.map(described).collect::<Vec<_>>());
    assert_eq!(names.len(), 4, "{names:?}");
    for object in of_test {
        let annotations = &object["metadata"]["annotations"];
        // Helm reads the log of the pod after the test.
        let expected = match object["kind"].as_str() {
            Some("Pod") => {
                json!({ "helm.sh/hook": "test", "helm.sh/hook-delete-policy": "before-hook-creation" })
            }
            _ => json!({
                "helm.sh/hook": "test",
                "helm.sh/hook-weight": "-1",
                "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
            }),
        };
        assert_eq!(annotations, &expected, "{}", described(object));
    }
    Ok(())
}

#[test]
fn without_the_test_or_the_demo_there_is_no_way_in_for_it() -> Result<()> {
    for off in ["--set=test.enabled=false", "--set=hub.demo=false"] {
        let rendered = Rendered::gadget(&[off, "--set=userPolicy.enabled=true"])?;
        assert_eq!(of_the_test(&rendered), Vec::<&Value>::new(), "{off}");
        for object in &rendered.objects {
            assert!(!object.to_string().contains("gadget-test"), "{off}: {}", described(object));
        }
    }
    Ok(())
}

#[test]
fn the_hub_lets_in_the_account_that_the_test_runs_as() -> Result<()> {
    for arguments in [vec![], vec![example("everything"), "--set=fullnameOverride=,hub.demo=true".to_owned()]]
    {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let rendered = Rendered::gadget(&arguments)?;
        let pod = rendered.get("Pod", "gadget-test")?;
        let text = |value: &Value| value.as_str().map(str::to_owned).context("no text");
        let (namespace, account) =
            (text(&pod["metadata"]["namespace"])?, text(&pod["spec"]["serviceAccountName"])?);
        let let_in = rendered.variable("hub", "GADGET_TEST_SERVICE_ACCOUNT")?;
        assert_eq!(let_in, Some(format!("{namespace}/{account}")));
        let token = &pod["spec"]["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"];
        assert_eq!(token["audience"], crds::names::HUB_AUDIENCE);
        assert_eq!(pod["spec"]["containers"][0]["image"], rendered.container("hub")?["image"]);
    }
    Ok(())
}

#[test]
fn the_program_takes_the_arguments_of_the_pod() -> Result<()> {
    let rendered = Rendered::gadget(&["--set=drones.namespace=agents"])?;
    let container = &rendered.get("Pod", "gadget-test")?["spec"]["containers"][0];
    let arguments = container["args"].as_array().context("no arguments")?.iter().filter_map(Value::as_str);
    let arguments: Vec<&str> = arguments.collect();
    let expected = [
        "smoke-test",
        "--hub=http://gadget-hub.tools.svc:8420",
        "--namespace=agents",
        "--session=gadget-trial",
    ];
    assert_eq!(arguments, expected);
    let mount =
        json!([{ "name": "token", "mountPath": "/var/run/secrets/gadgetcode.dev", "readOnly": true }]);
    assert_eq!(container["volumeMounts"], mount);
    // Outside of a cluster it gets no further than to look for one.
    let mut program = Command::new(programs::built("gadget-hub")?);
    program.env_clear().env("HOME", "/nonexistent").args(&arguments);
    let said = String::from_utf8(program.output()?.stderr)?;
    assert!(said.contains("failed to find the API server"), "{said}");
    Ok(())
}

#[test]
fn with_the_user_policy_the_test_is_held_to_its_own_account() -> Result<()> {
    let rendered = Rendered::gadget(&["--set=userPolicy.enabled=true"])?;
    let policy = rendered.get("ValidatingAdmissionPolicy", "tools-gadget-user")?;
    let handle = policy["spec"]["variables"][0]["expression"].as_str().context("no handle")?;
    let expected = "request.userInfo.username == 'system:serviceaccount:tools:gadget-test' ? 'helm-test' : \
                    (request.userInfo.username.split('@')[0])";
    assert_eq!(handle, expected);
    assert_eq!(::hub::auth::account::TESTER, "helm-test");
    Ok(())
}

#[test]
fn names_stay_within_what_a_session_may_have() -> Result<()> {
    let longest = format!("--set=fullnameOverride={}", "x".repeat(50));
    assert!(template("gadget", &[&longest])?.status.success());
    let rendered = Rendered::gadget(&[&longest])?;
    let role =
        rendered.of_kind("Role").find(|role| role.to_string().contains("-trial")).context("no role")?;
    let session = role["rules"][1]["resourceNames"][0].as_str().context("no name")?;
    assert!(session.len() <= crds::names::LONGEST, "{session}");
    Ok(())
}
