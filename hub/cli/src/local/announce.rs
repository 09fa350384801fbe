//! What is said when everything is ready: to a person, or to a machine.

use std::path::PathBuf;

use serde::Serialize;

use super::models::ChosenModel;
use crate::console::{Paint, Style};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ready {
    pub url: String,
    /// Opens the page signed in.
    #[serde(skip)]
    pub link: String,
    pub token: String,
    pub data_dir: PathBuf,
    pub workspace: PathBuf,
    pub pid: u32,
    #[serde(skip)]
    pub model: ChosenModel,
    #[serde(skip)]
    pub model_label: String,
    /// What is wrong, but keeps nothing from starting.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

impl Ready {
    pub(super) fn log(&self) -> PathBuf {
        self.data_dir.join("logs").join("hub.log")
    }

    pub(super) fn text(&self, style: Style) -> String {
        let Self { link, data_dir, workspace, model, model_label, .. } = self;
        let title = style.paint(Paint::Bold, "Gadget is running.");
        let link = style.paint(Paint::Accent, link);
        let row =
            |name: &str, value: &str| format!("{}  {value}", style.paint(Paint::Dim, &format!("{name:<9}")));
        let hint = model.hint().map(|hint| format!("\n{hint}"));
        let mut lines = vec![
            String::new(),
            title,
            String::new(),
            row("Open", &link),
            row("Model", model_label),
            row("Workspace", &workspace.display().to_string()),
            row("Data", &data_dir.display().to_string()),
        ];
        lines.extend(hint.iter().flat_map(|hint| hint.lines()).map(str::to_owned));
        lines.extend([String::new(), style.paint(Paint::Dim, "Ctrl-C stops everything."), String::new()]);
        lines
            .into_iter()
            .map(|line| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(model: ChosenModel) -> Ready {
        Ready {
            url: "http://127.0.0.1:8420".into(),
            link: "http://127.0.0.1:8420/#token=abc".into(),
            token: "abc".into(),
            data_dir: "/data".into(),
            workspace: "/data/workspaces/s1".into(),
            pid: 7,
            model_label: model.label(&[]),
            model,
            warnings: Vec::new(),
        }
    }

    #[test]
    fn a_machine_gets_one_line_with_everything() {
        let line = serde_json::to_value(ready(ChosenModel::Demo)).unwrap();
        let expected = serde_json::json!({
            "url": "http://127.0.0.1:8420",
            "token": "abc",
            "dataDir": "/data",
            "workspace": "/data/workspaces/s1",
            "pid": 7,
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn a_person_sees_one_link_and_that_the_demo_is_no_ai() {
        let text = ready(ChosenModel::Demo).text(Style::Plain);
        assert_eq!(text.matches("http://127.0.0.1:8420").count(), 1, "{text}");
        assert!(
            text.contains("scripted, no AI") && text.contains("--ollama") && text.contains("--openai"),
            "{text}"
        );
    }

    #[test]
    fn a_configured_model_is_named_without_hints() {
        let model = ChosenModel::Real { provider: "ollama".into(), model: Some("qwen3".into()) };
        let text = ready(model).text(Style::Plain);
        assert!(text.contains("qwen3 (ollama)") && !text.contains("--openai"), "{text}");
    }
}
