//! Figures as a table for people and as JSON for machines.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

/// What a figure is held against.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
    Exactly(f64),
}

impl Goal {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
            #[expect(clippy::float_cmp, reason = "counts are whole numbers")]
            Self::Exactly(wanted) => value == wanted,
        }
    }

    fn text(self) -> String {
        match self {
            // As it was set, not rounded as a measured value is.
            Self::AtMost(bound) => format!("≤ {bound}"),
            Self::AtLeast(bound) => format!("≥ {bound}"),
            Self::Exactly(wanted) => format!("= {wanted}"),
        }
    }
}

/// One measured figure.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
    /// The same work by a floor or a peer, measured in the same run: its name and its value.
    pub(crate) reference: Option<(String, f64)>,
    /// For `value`, or for `value / reference` where `goal_is_ratio`.
    pub(crate) goal: Option<Goal>,
    pub(crate) goal_is_ratio: bool,
    /// Only counts and ratios are checked: absolute times depend on the machine and on who else uses it.
    pub(crate) checked: bool,
    /// How many observations.
    pub(crate) n: u64,
}

impl Figure {
    pub(crate) fn new(what: impl Into<String>, unit: &'static str, value: f64, n: u64) -> Self {
        Self {
            what: what.into(),
            unit,
            value,
            reference: None,
            goal: None,
            goal_is_ratio: false,
            checked: false,
            n,
        }
    }

    /// A count that must hold on any machine.
    pub(crate) fn count(self, goal: Goal) -> Self {
        Self { goal: Some(goal), checked: true, ..self }
    }

    /// A goal in the figure's own unit, shown but not checked.
    pub(crate) fn goal(self, goal: Goal) -> Self {
        Self { goal: Some(goal), ..self }
    }

    pub(crate) fn against(self, name: impl Into<String>, value: f64) -> Self {
        Self { reference: Some((name.into(), value)), ..self }
    }

    /// A goal for the ratio to the reference, checked.
    pub(crate) fn ratio(self, goal: Goal) -> Self {
        Self { goal: Some(goal), goal_is_ratio: true, checked: true, ..self }
    }

    fn ratio_value(&self) -> Option<f64> {
        let (_, reference) = self.reference.as_ref()?;
        (*reference != 0.0).then(|| self.value / reference)
    }

    fn is_met(&self) -> Option<bool> {
        let measured = if self.goal_is_ratio { self.ratio_value()? } else { self.value };
        Some(self.goal?.is_met(measured))
    }
}

/// All figures of one bench.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) name: &'static str,
    pub(crate) load_average: String,
    pub(crate) figures: Vec<Figure>,
}

impl Report {
    /// Those that are checked and missed.
    pub(crate) fn missed(&self) -> impl Iterator<Item = &Figure> {
        self.figures.iter().filter(|figure| figure.checked && figure.is_met() == Some(false))
    }

    pub(crate) fn table(&self) -> String {
        let mut rows = vec![["figure", "value", "beside", "ratio", "goal", "met", "n"].map(str::to_owned)];
        for figure in &self.figures {
            rows.push([
                figure.what.clone(),
                format!("{} {}", number(figure.value), figure.unit),
                figure
                    .reference
                    .as_ref()
                    .map(|(name, value)| format!("{name}: {}", number(*value)))
                    .unwrap_or_default(),
                figure.ratio_value().map(|ratio| format!("{ratio:.2}×")).unwrap_or_default(),
                figure
                    .goal
                    .map(|goal| format!("{}{}", goal.text(), if figure.goal_is_ratio { "×" } else { "" }))
                    .unwrap_or_default(),
                match figure.is_met() {
                    Some(true) => "yes",
                    Some(false) => "no",
                    None => "",
                }
                .to_owned(),
                figure.n.to_string(),
            ]);
        }
        let widths: Vec<usize> = (0..rows[0].len())
            .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
            .collect();
        let mut text = format!("{} (load average {})\n", self.name, self.load_average);
        for (index, row) in rows.iter().enumerate() {
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(text, "| {cell:width$} ");
            }
            text.push_str("|\n");
            if index == 0 {
                for width in &widths {
                    let _ = write!(text, "| {:-<width$} ", "");
                }
                text.push_str("|\n");
            }
        }
        text
    }

    pub(crate) fn write(&self, directory: &Path) -> Result<()> {
        std::fs::create_dir_all(directory).context("failed to make the directory for results")?;
        let path = directory.join(format!("{}.json", self.name));
        std::fs::write(&path, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("failed to write {}", path.display()))
    }
}

/// Three significant digits, thousands apart.
fn number(value: f64) -> String {
    if value.abs() >= 1000.0 {
        let digits = format!("{value:.0}");
        let mut grouped = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) && digit != '-' {
                grouped.push(' ');
            }
            grouped.push(digit);
        }
        grouped
    } else if value.fract() == 0.0 || value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 1.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.3}")
    }
}
