//! What helm itself says to the charts.

use anyhow::Result;

use crate::rendered::{directory, examples, helm};

#[test]
fn both_charts_and_each_example_pass_helm_lint() -> Result<()> {
    let chart = directory("gadget");
    let chart = chart.to_str().unwrap();
    let definitions = directory("gadget-crds");
    let mut runs = vec![vec!["lint", "--strict", definitions.to_str().unwrap()]];
    let examples = examples()?;
    runs.extend(
        examples.iter().map(|path| vec!["lint", "--strict", chart, "--values", path.to_str().unwrap()]),
    );
    for mut run in runs {
        run.push("--kube-version=1.34.4");
        let output = helm(&run)?;
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && told.contains("0 chart(s) failed"), "{run:?}: {told}");
        assert!(!told.contains("[WARNING]") && !told.contains("[ERROR]"), "{run:?}: {told}");
    }
    Ok(())
}

#[test]
fn the_chart_needs_nothing_fetched_before_it_is_installed() -> Result<()> {
    let chart = directory("gadget");
    let output = helm(&["dependency", "list", chart.to_str().unwrap()])?;
    let told = String::from_utf8(output.stdout)?;
    let line = told.lines().find(|line| line.starts_with("gadget-crds")).unwrap_or_default();
    assert_eq!(line.split_whitespace().last(), Some("unpacked"), "{told}");
    Ok(())
}

#[test]
fn a_packaged_chart_carries_the_definitions() -> Result<()> {
    let directory_for = tempfile::tempdir()?;
    let to = directory_for.path().to_str().unwrap();
    let chart = directory("gadget");
    let output = helm(&["package", chart.to_str().unwrap(), "--destination", to])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let package = std::fs::read_dir(to)?.next().unwrap()?.path();
    let output = helm(&[
        "template",
        "x",
        package.to_str().unwrap(),
        "--kube-version=1.34.4",
        "--set=crds.install=true",
    ])?;
    let told = String::from_utf8(output.stdout)?;
    assert_eq!(told.matches("kind: CustomResourceDefinition").count(), 3);
    Ok(())
}
