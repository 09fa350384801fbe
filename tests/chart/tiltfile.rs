//! The Tiltfile, evaluated with stand-ins for Tilt's functions: what it names is there. The stand-in for `helm` is helm.

mod commands;
mod stand_ins;

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::rendered::{described, root};
use stand_ins::{DockerBuild, Named, evaluated};

/// What cargo and the commands of the Tiltfile put there; nothing of it is in a fresh clone.
const BUILT: &str = "target/";

fn is_workload(object: &Value) -> bool {
    object["kind"] == "Deployment"
}

/// As Tilt selects an object.
fn selector(object: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{}:{}", word(&object["metadata"]["name"]), word(&object["kind"]).to_lowercase())
}

/// Tilt's own names for what it makes of workloads, and those that the Tiltfile gives.
fn resources(named: &Named) -> BTreeSet<&str> {
    let workloads = named.objects.iter().filter(|object| is_workload(object));
    let workloads = workloads.filter_map(|object| object["metadata"]["name"].as_str());
    let own = named.resources.iter().map(|resource| resource.name.as_str());
    workloads.chain(own).chain(named.local.iter().map(|local| local.name.as_str())).collect()
}

#[test]
fn each_resource_of_the_tiltfile_is_of_workloads_and_objects_that_the_charts_make() -> Result<()> {
    let named = evaluated(&[])?;
    let workloads: BTreeSet<&str> = named
        .objects
        .iter()
        .filter(|object| is_workload(object))
        .filter_map(|object| object["metadata"]["name"].as_str())
        .collect();
    for resource in &named.resources {
        let there = resource.is_new || workloads.contains(&*resource.name);
        ensure!(there, "the charts make no workload {}", resource.name);
    }
    let selectors: BTreeSet<String> = named.objects.iter().map(selector).collect();
    let mut chosen: Vec<&String> = named.resources.iter().flat_map(|resource| &resource.objects).collect();
    chosen.sort();
    for one in &chosen {
        ensure!(selectors.contains(*one), "the charts make no {one}");
    }
    ensure!(chosen.windows(2).all(|pair| pair[0] != pair[1]), "an object is in two resources: {chosen:?}");
    // A service goes with the pods that it selects. What belongs to nothing Tilt would lay before its namespace.
    for object in &named.objects {
        let own = is_workload(object) || object["kind"] == "Service";
        ensure!(own || chosen.contains(&&selector(object)), "{} belongs to no resource", described(object));
    }
    for (resource, port) in named.resources.iter().filter_map(|one| Some((one, one.port?))) {
        let workload =
            named.objects.iter().find(|one| one["metadata"]["name"] == *resource.name && is_workload(one));
        let container = &workload.context("no workload")?["spec"]["template"]["spec"]["containers"][0];
        ensure!(container["ports"][0]["containerPort"] == port, "{} listens elsewhere", resource.name);
    }
    let known = resources(&named);
    let needed = named.resources.iter().flat_map(|resource| &resource.needs);
    for name in needed.chain(named.buttons.iter().filter_map(|button| button.resource.as_ref())) {
        ensure!(known.contains(&**name), "there is no resource {name} among {known:?}");
    }
    Ok(())
}

/// Images of containers, and what variables say that is an image's name.
fn images(named: &Named, in_variables: bool) -> BTreeSet<&str> {
    let containers =
        named.objects.iter().filter(|object| is_workload(object)).flat_map(|object| {
            object["spec"]["template"]["spec"]["containers"].as_array().into_iter().flatten()
        });
    let texts = containers.flat_map(|container| {
        let variables = container["env"].as_array().into_iter().flatten();
        let of_variables = variables.map(|variable| &variable["value"]).filter(|_| in_variables);
        of_variables.chain(Some(&container["image"]).filter(|_| !in_variables))
    });
    texts.filter_map(|text| text.as_str()?.rsplit_once(':')).map(|(name, _tag)| name).collect()
}

#[test]
fn the_images_that_tilt_builds_are_those_that_the_chart_runs() -> Result<()> {
    let named = evaluated(&[])?;
    let bases: BTreeSet<String> =
        named.images.iter().map(default_base).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    for image in &named.images {
        let used = images(&named, image.in_variables).contains(&*image.name) || bases.contains(&image.name);
        ensure!(used, "nothing runs the image {}", image.name);
    }
    let built: BTreeSet<&str> = named.images.iter().map(|image| &*image.name).collect();
    for used in images(&named, false).into_iter().chain(["gadget-drone"]) {
        ensure!(built.contains(used), "nobody builds {used}");
    }
    ensure!(images(&named, true).contains("gadget-drone"), "no variable names the drone's image");
    Ok(())
}

fn dockerfile(image: &DockerBuild) -> Result<String> {
    match (&image.dockerfile, &image.contents) {
        (Some(path), None) => std::fs::read_to_string(root().join(path)).with_context(|| path.clone()),
        (None, Some(contents)) => Ok(contents.clone()),
        _ => anyhow::bail!("{} needs one Dockerfile", image.name),
    }
}

fn default_base(image: &DockerBuild) -> Result<Option<String>> {
    let text = dockerfile(image)?;
    Ok(text.lines().find_map(|line| line.strip_prefix("ARG BASE=")).map(str::to_owned))
}

#[test]
fn each_path_of_the_tiltfile_is_there_or_is_what_its_commands_build() -> Result<()> {
    let named = evaluated(&[])?;
    let mut made = BTreeSet::new();
    for local in &named.local {
        for path in &local.watched {
            ensure!(root().join(path).exists(), "{} watches {path}, which is not there", local.name);
        }
        for pattern in &local.ignored {
            // Of a pattern, what is before its first wildcard.
            let path = pattern.split('*').next().unwrap_or_default();
            let left_out = path.ends_with("node_modules");
            ensure!(left_out || root().join(path).exists(), "{} ignores {pattern}", local.name);
        }
        made.extend(commands::makes(&local.command)?);
    }
    for image in &named.images {
        ensure!(!image.only.is_empty(), "{} would be sent all of {}", image.name, image.context);
        for file in &image.only {
            let path = format!("{}/{file}", image.context);
            let there =
                if path.starts_with(BUILT) { made.contains(&path) } else { root().join(&path).exists() };
            ensure!(there, "{} needs {path}, which is not there, nor made by {made:?}", image.name);
        }
        // What it copies, it is sent.
        for line in dockerfile(image)?.lines().filter_map(|line| line.strip_prefix("COPY ")) {
            let file = line.split_whitespace().next().unwrap_or_default();
            ensure!(image.only.iter().any(|only| only == file), "{} is not sent {file}", image.name);
        }
    }
    Ok(())
}

#[test]
fn each_command_of_the_tiltfile_can_be_run() -> Result<()> {
    let named = evaluated(&[])?;
    let of_buttons = named.buttons.iter().map(|button| commands::flat(&button.command));
    let of_resources = named.local.iter().map(|local| local.command.clone());
    for command in of_buttons.chain(of_resources) {
        commands::check(&command, &named).with_context(|| command.clone())?;
    }
    let texts: Vec<&str> = named.buttons.iter().map(|button| &*button.text).collect();
    assert_eq!(texts, ["generate", "test", "sign in", "new session"]);
    Ok(())
}

#[test]
fn the_settings_of_the_tiltfile_reach_images_and_charts() -> Result<()> {
    let named = evaluated(&[])?;
    assert_eq!(
        (named.registry.as_deref(), &*named.defined),
        (None, &["registry", "namespace"].map(str::to_owned)[..])
    );
    let named = evaluated(&[("registry", "registry.example/tools"), ("namespace", "mine")])?;
    assert_eq!(named.registry.as_deref(), Some("registry.example/tools"));
    let namespaces: BTreeSet<&str> =
        named.objects.iter().filter_map(|object| object["metadata"]["namespace"].as_str()).collect();
    assert_eq!(namespaces, ["mine"].into());
    assert!(named.objects.iter().any(|object| selector(object) == "mine:namespace"));
    let kubectl = named.buttons.iter().map(|button| commands::flat(&button.command));
    for command in kubectl.filter(|command| command.contains("kubectl")) {
        assert!(command.contains("kubectl --namespace mine "), "{command}");
    }
    Ok(())
}

#[test]
fn the_drone_of_tilt_has_what_the_drone_of_a_release_has() -> Result<()> {
    let source = std::fs::read_to_string(root().join("tests/xtask/src/image/base.rs"))?;
    let packages = source.split_once("const PACKAGES: &str = \"").and_then(|(_, rest)| rest.split_once('"'));
    let packages = packages.context("no packages")?.0.replace(',', " ");
    let named = evaluated(&[])?;
    let base = named.images.iter().find(|image| image.name == "gadget-drone-base").context("no base")?;
    assert!(dockerfile(base)?.ends_with(&packages), "{packages}");
    Ok(())
}
