//! Which model a prompt gets whose session names none: the first rule that fits. Pure.

use protocol::document::{RoutingAction, RoutingCondition, RoutingField, RoutingOperator, RoutingRule};
use protocol::ids::ProjectId;
use protocol::value::ChatSessionMode;

use crate::provider::select::Choice;

/// What rules look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) roles: &'a [String],
    pub(super) project: &'a ProjectId,
    pub(super) mode: ChatSessionMode,
    pub(super) prompt: &'a str,
}

/// The choices of all rules that fit, the first one first: one that cannot be had is passed over. `rules` are in the
/// order in which they are looked at.
pub(super) fn choices<'a>(rules: &'a [RoutingRule], asked: Asked<'_>) -> Vec<Choice<'a>> {
    let fits = |rule: &&RoutingRule| rule.enabled && rule.conditions.iter().all(|one| holds(one, asked));
    rules
        .iter()
        .filter(fits)
        .map(|RoutingRule { action: RoutingAction { provider, model }, .. }| {
            (provider.as_str(), model.as_deref())
        })
        .collect()
}

fn holds(condition: &RoutingCondition, asked: Asked<'_>) -> bool {
    let RoutingCondition { field, operator, value } = condition;
    let Asked { roles, project, mode, prompt } = asked;
    let any = |fits: &dyn Fn(&str) -> bool| match field {
        RoutingField::Role => roles.iter().any(|role| fits(role)),
        RoutingField::Project => fits(project.as_str()),
        RoutingField::Mode => fits(mode.as_str()),
        RoutingField::Prompt => fits(prompt),
    };
    match operator {
        RoutingOperator::Eq => any(&|text| text == value),
        RoutingOperator::Ne => !any(&|text| text == value),
        RoutingOperator::Includes => any(&|text| text.to_lowercase().contains(&value.to_lowercase())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(provider: &str, conditions: &[(RoutingField, RoutingOperator, &str)]) -> RoutingRule {
        RoutingRule {
            id: provider.into(),
            created_at: jiff::Timestamp::UNIX_EPOCH,
            name: provider.into(),
            priority: 0,
            enabled: true,
            conditions: conditions
                .iter()
                .map(|(field, operator, value)| RoutingCondition {
                    field: *field,
                    operator: *operator,
                    value: (*value).to_owned(),
                })
                .collect(),
            action: RoutingAction { provider: provider.into(), model: None },
        }
    }

    fn chosen(rules: &[RoutingRule], prompt: &str) -> Vec<String> {
        let (has, project) = (["member".to_owned()], ProjectId::from("p1"));
        let asked = Asked { roles: &has, project: &project, mode: ChatSessionMode::Plan, prompt };
        choices(rules, asked).into_iter().map(|(provider, _)| provider.to_owned()).collect()
    }

    #[test]
    fn all_conditions_of_a_rule_must_hold() {
        use RoutingField::{Mode, Project, Prompt, Role};
        use RoutingOperator::{Eq, Includes, Ne};
        let mut off = rule("off", &[]);
        off.enabled = false;
        let rules = [
            off,
            rule("admins", &[(Role, Eq, "admin")]),
            rule("translations", &[(Prompt, Includes, "translate"), (Mode, Ne, "build")]),
            rule("project", &[(Project, Eq, "p1"), (Role, Ne, "admin")]),
            rule("elsewhere", &[(Project, Eq, "p2")]),
            rule("any", &[]),
        ];
        assert_eq!(chosen(&rules, "Please TRANSLATE this"), ["translations", "project", "any"]);
        assert_eq!(chosen(&rules, "Hello"), ["project", "any"]);
    }
}
