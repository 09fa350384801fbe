//! Tilt's functions as far as the Tiltfile calls them: each notes what it is told. An argument that Tilt does not know is
//! refused here as there.

use std::cell::RefCell;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value as Json;
use starlark::collections::SmallMap;
use starlark::environment::{FrozenModule, GlobalsBuilder, LibraryExtension, Module};
use starlark::eval::{Evaluator, ReturnFileLoader};
use starlark::starlark_module;
use starlark::syntax::{AstModule, Dialect};
use starlark::values::list::UnpackList;
use starlark::values::none::NoneType;
use starlark::values::{FrozenHeapName, Value};

use crate::rendered::{KUBERNETES, root};
use tests::control_plane::programs::Programs;

/// What the Tiltfile names.
#[derive(Debug, Default)]
pub(super) struct Named {
    pub(super) defined: Vec<String>,
    pub(super) registry: Option<String>,
    pub(super) objects: Vec<Json>,
    pub(super) resources: Vec<Resource>,
    pub(super) local: Vec<LocalResource>,
    pub(super) images: Vec<DockerBuild>,
    pub(super) buttons: Vec<Button>,
}

#[derive(Debug)]
pub(super) struct Resource {
    pub(super) name: String,
    /// It is none of a workload.
    pub(super) is_new: bool,
    pub(super) objects: Vec<String>,
    pub(super) needs: Vec<String>,
    pub(super) port: Option<i32>,
}

#[derive(Debug)]
pub(super) struct LocalResource {
    pub(super) name: String,
    pub(super) command: String,
    pub(super) watched: Vec<String>,
    pub(super) ignored: Vec<String>,
}

#[derive(Debug)]
pub(super) struct DockerBuild {
    pub(super) name: String,
    pub(super) context: String,
    pub(super) dockerfile: Option<String>,
    pub(super) contents: Option<String>,
    pub(super) only: Vec<String>,
    pub(super) in_variables: bool,
}

#[derive(Debug)]
pub(super) struct Button {
    pub(super) text: String,
    pub(super) command: Vec<String>,
    pub(super) resource: Option<String>,
    pub(super) inputs: Vec<String>,
}

use notes::Notes;

#[expect(unsafe_code, reason = "the derive promises by it that the type borrows nothing")]
mod notes {
    use std::cell::RefCell;
    use std::collections::HashMap;

    use starlark::any::ProvidesStaticType;

    #[derive(Debug, Default, ProvidesStaticType)]
    pub(super) struct Notes {
        pub(super) settings: HashMap<String, String>,
        pub(super) named: RefCell<super::Named>,
    }
}

/// Evaluates the Tiltfile as `tilt up -- --NAME=VALUE…` does.
pub(super) fn evaluated(settings: &[(&str, &str)]) -> Result<Named> {
    let text = std::fs::read_to_string(root().join("Tiltfile")).context("there is no Tiltfile")?;
    evaluate(text, settings).map_err(starlark::Error::into_anyhow)
}

fn evaluate(text: String, settings: &[(&str, &str)]) -> starlark::Result<Named> {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let notes = Notes { settings, named: RefCell::default() };
    let globals = GlobalsBuilder::standard().with(tilt).with_namespace("config", config).build();
    let buttons = extension()?;
    let known = [("ext://uibutton", &buttons)].into_iter().collect();
    let loader = ReturnFileLoader { modules: &known };
    let dialect = Dialect { enable_top_level_stmt: true, ..Dialect::Standard };
    let tiltfile = AstModule::parse("Tiltfile", text, &dialect)?;
    Module::with_temp_heap(|module| {
        let mut evaluator = Evaluator::new(&module);
        evaluator.extra = Some(&notes);
        evaluator.set_loader(&loader);
        evaluator.eval_module(tiltfile, &globals).map(drop)
    })?;
    Ok(notes.named.into_inner())
}

/// What `ext://uibutton` has.
fn extension() -> starlark::Result<FrozenModule> {
    let globals = GlobalsBuilder::extended_by(&[LibraryExtension::StructType]).with(uibutton).build();
    let text = "cmd_button = button\ntext_input = input\nlocation = struct(NAV = 'nav')\n";
    let ast = AstModule::parse("uibutton", text.to_owned(), &Dialect::Standard)?;
    Module::with_temp_heap(|module| {
        Evaluator::new(&module).eval_module(ast, &globals)?;
        Ok(module.freeze_named(FrozenHeapName::User(Box::new("uibutton".to_owned())))?)
    })
}

fn notes<'a>(evaluator: &Evaluator<'_, 'a, '_>) -> Result<&'a Notes> {
    evaluator.extra.and_then(|extra| extra.downcast_ref::<Notes>()).context("nobody takes notes")
}

fn owned(list: UnpackList<&str>) -> Vec<String> {
    list.items.into_iter().map(str::to_owned).collect()
}

fn filled(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

fn documents(text: &str) -> Result<Vec<Json>> {
    let all: Vec<Json> = serde_saphyr::from_multiple(text).context("no YAML")?;
    Ok(all.into_iter().filter(|one| !one.is_null()).collect())
}

/// The parts of a rendered chart but for its tests, which Tilt leaves out by the names of their files.
fn without_tests(rendered: &str) -> String {
    let is_test =
        |part: &&str| part.lines().any(|line| line.starts_with("# Source: ") && line.contains("/tests/"));
    rendered.split("---\n").filter(|part| !is_test(part)).collect::<Vec<_>>().join("---\n")
}

#[starlark_module]
fn tilt(builder: &mut GlobalsBuilder) {
    fn default_registry(host: &str, eval: &mut Evaluator<'_, '_, '_>) -> anyhow::Result<NoneType> {
        notes(eval)?.named.borrow_mut().registry = Some(host.to_owned());
        Ok(NoneType)
    }

    fn local(
        command: &str,
        #[starlark(require = named, default = false)] quiet: bool,
    ) -> anyhow::Result<String> {
        ensure!(quiet, "{command} is told about each time");
        let output = Command::new("sh").args(["-c", command]).output()?;
        ensure!(output.status.success(), "{command} fails");
        Ok(String::from_utf8(output.stdout)?)
    }

    fn helm(
        chart: &str,
        #[starlark(require = named)] name: &str,
        #[starlark(require = named)] namespace: &str,
        #[starlark(require = named, default = UnpackList::default())] set: UnpackList<&str>,
    ) -> anyhow::Result<String> {
        let mut helm = Programs::find()?.helm();
        helm.args(["template", name]).arg(root().join(chart)).args(["--namespace", namespace]);
        // Tilt's helm asks the cluster.
        helm.args([KUBERNETES]).args(set.items.iter().flat_map(|set| ["--set", set]));
        let output = helm.output().context("failed to run helm")?;
        ensure!(output.status.success(), "{chart}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(without_tests(std::str::from_utf8(&output.stdout)?))
    }

    fn encode_yaml(value: Value<'_>) -> anyhow::Result<String> {
        // Which JSON is.
        value.to_json()
    }

    fn decode_yaml_stream<'v>(text: &str, eval: &mut Evaluator<'v, '_, '_>) -> anyhow::Result<Value<'v>> {
        Ok(eval.heap().alloc(Json::Array(documents(text)?)))
    }

    fn k8s_yaml(yaml: &str, eval: &mut Evaluator<'_, '_, '_>) -> anyhow::Result<NoneType> {
        notes(eval)?.named.borrow_mut().objects.extend(documents(yaml)?);
        Ok(NoneType)
    }

    fn k8s_resource(
        #[starlark(default = "")] workload: &str,
        #[starlark(require = named, default = "")] new_name: &str,
        #[starlark(require = named, default = UnpackList::default())] objects: UnpackList<&str>,
        #[starlark(require = named, default = UnpackList::default())] resource_deps: UnpackList<&str>,
        #[starlark(require = named)] port_forwards: Option<i32>,
        eval: &mut Evaluator<'_, '_, '_>,
    ) -> anyhow::Result<NoneType> {
        ensure!(workload.is_empty() != new_name.is_empty(), "{workload} is also {new_name}");
        notes(eval)?.named.borrow_mut().resources.push(Resource {
            name: format!("{workload}{new_name}"),
            is_new: workload.is_empty(),
            objects: owned(objects),
            needs: owned(resource_deps),
            port: port_forwards,
        });
        Ok(NoneType)
    }

    fn local_resource(
        name: &str,
        #[starlark(require = named)] cmd: &str,
        #[starlark(require = named)] deps: UnpackList<&str>,
        #[starlark(require = named, default = UnpackList::default())] ignore: UnpackList<&str>,
        eval: &mut Evaluator<'_, '_, '_>,
    ) -> anyhow::Result<NoneType> {
        notes(eval)?.named.borrow_mut().local.push(LocalResource {
            name: name.to_owned(),
            command: cmd.to_owned(),
            watched: owned(deps),
            ignored: owned(ignore),
        });
        Ok(NoneType)
    }

    fn docker_build(
        r#ref: &str,
        context: &str,
        #[starlark(require = named, default = "")] dockerfile: &str,
        #[starlark(require = named, default = "")] dockerfile_contents: &str,
        #[starlark(require = named, default = UnpackList::default())] only: UnpackList<&str>,
        #[starlark(require = named, default = false)] match_in_env_vars: bool,
        eval: &mut Evaluator<'_, '_, '_>,
    ) -> anyhow::Result<NoneType> {
        notes(eval)?.named.borrow_mut().images.push(DockerBuild {
            name: r#ref.to_owned(),
            context: context.to_owned(),
            dockerfile: filled(dockerfile),
            contents: filled(dockerfile_contents),
            only: owned(only),
            in_variables: match_in_env_vars,
        });
        Ok(NoneType)
    }
}

#[starlark_module]
fn config(builder: &mut GlobalsBuilder) {
    fn define_string(
        name: &str,
        #[starlark(require = named)] usage: &str,
        eval: &mut Evaluator<'_, '_, '_>,
    ) -> anyhow::Result<NoneType> {
        ensure!(!usage.is_empty(), "nobody knows what {name} is for");
        notes(eval)?.named.borrow_mut().defined.push(name.to_owned());
        Ok(NoneType)
    }

    fn parse(eval: &mut Evaluator<'_, '_, '_>) -> anyhow::Result<SmallMap<String, String>> {
        let Notes { settings, named } = notes(eval)?;
        let defined = &named.borrow().defined;
        let unknown = settings.keys().find(|name| !defined.contains(name));
        ensure!(unknown.is_none(), "there is no setting {unknown:?}");
        Ok(settings.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
    }
}

#[starlark_module]
fn uibutton(builder: &mut GlobalsBuilder) {
    fn button(
        name: &str,
        #[starlark(require = named)] argv: UnpackList<&str>,
        #[starlark(require = named)] text: &str,
        #[starlark(require = named, default = "")] resource: &str,
        #[starlark(require = named, default = "")] location: &str,
        #[starlark(require = named, default = UnpackList::default())] inputs: UnpackList<&str>,
        eval: &mut Evaluator<'_, '_, '_>,
    ) -> anyhow::Result<NoneType> {
        ensure!(resource.is_empty() != location.is_empty(), "{name} has no place, or two");
        notes(eval)?.named.borrow_mut().buttons.push(Button {
            text: text.to_owned(),
            command: owned(argv),
            resource: filled(resource),
            inputs: owned(inputs),
        });
        Ok(NoneType)
    }

    fn input(name: &str, #[starlark(require = named)] default: &str) -> anyhow::Result<String> {
        ensure!(!default.is_empty(), "{name} would be empty");
        Ok(name.to_owned())
    }
}
