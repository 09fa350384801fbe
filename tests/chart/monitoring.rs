//! Monitors, alerts and the dashboard: off by default, and about metrics that there are.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::rendered::{Rendered, root};

const ON: &str =
    "--set=metrics.serviceMonitor.enabled=true,metrics.rules.enabled=true,metrics.dashboard.enabled=true";

#[test]
fn nothing_of_it_is_there_unless_asked_for() -> Result<()> {
    let rendered = Rendered::gadget(&[])?;
    for kind in ["ServiceMonitor", "PrometheusRule"] {
        assert_eq!(rendered.of_kind(kind).count(), 0, "{kind}");
    }
    assert!(rendered.find("ConfigMap", "gadget-dashboard").is_none());
    assert!(rendered.find("Service", "gadget-operator").is_none());
    Ok(())
}

#[test]
fn both_programs_are_scraped_by_services_that_exist() -> Result<()> {
    let rendered = Rendered::gadget(&[ON, "--set=metrics.serviceMonitor.labels.release=prometheus"])?;
    for name in ["gadget-hub", "gadget-operator"] {
        let monitor = rendered.get("ServiceMonitor", name)?;
        assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
        let endpoints = json!([{ "port": "http", "path": "/metrics", "interval": "30s" }]);
        assert_eq!(monitor["spec"]["endpoints"], endpoints);
        let service = rendered.get("Service", name)?;
        let labels = &service["metadata"]["labels"];
        for (label, value) in monitor["spec"]["selector"]["matchLabels"].as_object().unwrap() {
            assert_eq!(&labels[label], value, "{name}");
        }
        assert_eq!(service["spec"]["ports"][0]["name"], "http");
        let deployment = rendered.get("Deployment", name)?;
        assert_eq!(service["spec"]["selector"], deployment["spec"]["selector"]["matchLabels"]);
    }
    Ok(())
}

#[test]
fn each_alert_says_what_to_do() -> Result<()> {
    let rendered = Rendered::gadget(&[ON])?;
    let rules = rendered.get("PrometheusRule", "gadget")?["spec"]["groups"][0]["rules"].clone();
    let rules = rules.as_array().context("no rules")?;
    assert!(!rules.is_empty());
    for rule in rules {
        let name = rule["alert"].as_str().context("no name")?;
        let expression = rule["expr"].as_str().context("no expression")?;
        assert!(balanced(expression), "{name}: {expression}");
        assert!(expression.contains(r#"namespace="tools""#), "{name}: {expression}");
        for annotation in ["summary", "description"] {
            assert!(rule["annotations"][annotation].as_str().is_some_and(|text| text.len() > 15), "{name}");
        }
        assert!(["critical", "warning"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{name}");
    }
    Ok(())
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_the_programs_have() -> Result<()> {
    let rendered = Rendered::gadget(&[ON])?;
    let rules = rendered.get("PrometheusRule", "gadget")?.to_string();
    let dashboard = dashboard(&rendered)?.to_string();
    let (mut hub, mut operator) = (String::new(), String::new());
    read_all(&root().join("hub/src"), &mut hub)?;
    read_all(&root().join("operator/src"), &mut operator)?;
    for text in [rules, dashboard] {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let metrics: Vec<&str> = words.filter_map(|word| word.strip_prefix("gadget_")).collect();
        assert!(metrics.len() > 3);
        for metric in metrics {
            let family = metric.trim_end_matches("_total").trim_end_matches("_bucket");
            let (family, source) = match family.strip_prefix("operator_") {
                Some(family) => (family, &operator),
                None => (family, &hub),
            };
            assert!(source.contains(&format!("\"{family}\"")), "no program counts {metric}");
        }
    }
    Ok(())
}

#[test]
fn the_dashboard_is_one_that_grafana_can_load() -> Result<()> {
    let rendered = Rendered::gadget(&[ON])?;
    let labels = &rendered.get("ConfigMap", "gadget-dashboard")?["metadata"]["labels"];
    assert_eq!(labels["grafana_dashboard"], "1");
    let dashboard = dashboard(&rendered)?;
    let mut places = Vec::new();
    for panel in dashboard["panels"].as_array().context("no panels")? {
        assert_eq!(panel["datasource"]["uid"], "${source}");
        for target in panel["targets"].as_array().context("no targets")? {
            assert!(balanced(target["expr"].as_str().unwrap()), "{target}");
        }
        assert!(!places.contains(&panel["gridPos"]), "two panels in one place");
        places.push(panel["gridPos"].clone());
    }
    Ok(())
}

fn dashboard(rendered: &Rendered) -> Result<Value> {
    let map = rendered.get("ConfigMap", "gadget-dashboard")?;
    let text = map["data"]["gadget.json"].as_str().context("no dashboard")?;
    Ok(serde_json::from_str(text)?)
}

fn balanced(expression: &str) -> bool {
    let mut open = Vec::new();
    for character in expression.chars() {
        match character {
            '(' => open.push(')'),
            '[' => open.push(']'),
            '{' => open.push('}'),
            ')' | ']' | '}' if open.pop() != Some(character) => return false,
            _ => {}
        }
    }
    open.is_empty()
}

fn read_all(directory: &Path, into: &mut String) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            read_all(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&std::fs::read_to_string(&path)?);
        }
    }
    Ok(())
}
