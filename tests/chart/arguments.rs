//! What the chart tells the programs, they know.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result};
use tests::control_plane::programs;

use crate::rendered::{Rendered, example};

/// Read by the logger of each program, not from its arguments.
const OF_THE_LOGGER: &str = "RUST_LOG";

/// The variables that `--help` of a program names.
fn known(program: &str) -> Result<BTreeSet<String>> {
    let output = Command::new(programs::built(program)?).arg("--help").output()?;
    let help = String::from_utf8(output.stdout)?;
    let name = |part: &str| part.split([']', '=']).next().unwrap_or_default().trim().to_owned();
    let names: BTreeSet<String> = help.split("[env:").skip(1).map(name).collect();
    anyhow::ensure!(!names.is_empty(), "{program} --help names no variable: {help}");
    Ok(names)
}

fn told(component: &str) -> Result<BTreeSet<String>> {
    let mut rendered = BTreeSet::new();
    for arguments in [vec![], vec![example("everything"), "--set=fullnameOverride=".to_owned()]] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let environment = Rendered::gadget(&arguments)?.environment(component)?;
        // Those of `extraEnv` are the user's own.
        let own = environment.into_iter().map(|(name, _)| name).filter(|name| is_own(name));
        rendered.extend(own);
    }
    Ok(rendered)
}

fn is_own(name: &str) -> bool {
    name.starts_with("GADGET_") || name == "POD_NAME"
}

#[test]
fn the_hub_knows_each_variable_that_it_is_given() -> Result<()> {
    let known = known("gadget-hub").context("gadget-hub --help")?;
    let strange: Vec<_> = told("hub")?.into_iter().filter(|name| !known.contains(name)).collect();
    assert_eq!(strange, Vec::<String>::new(), "of {known:?}");
    Ok(())
}

#[test]
fn the_operator_knows_each_variable_that_it_is_given() -> Result<()> {
    let known = known("gadget-operator").context("gadget-operator --help")?;
    let strange: Vec<_> = told("operator")?.into_iter().filter(|name| !known.contains(name)).collect();
    assert_eq!(strange, Vec::<String>::new(), "of {known:?}");
    Ok(())
}

#[test]
fn both_log_what_is_set() -> Result<()> {
    let rendered = Rendered::gadget(&["--set=hub.log.filter=debug,operator.log.filter=trace"])?;
    assert_eq!(rendered.variable("hub", OF_THE_LOGGER)?.as_deref(), Some("debug"));
    assert_eq!(rendered.variable("operator", OF_THE_LOGGER)?.as_deref(), Some("trace"));
    Ok(())
}
