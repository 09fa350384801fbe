//! CEL rules that several fields share. Each message says what is wrong with the value that was given, and a right one.
//!
//! Patterns are rules too, not `pattern` of the schema: a regular expression is no answer to a person.

use kube::core::{Message, Rule};

/// A rule with a message that can quote the value.
pub(crate) fn rule(cel: &str, message: &str) -> Rule {
    Rule::new(cel).message(Message::Expression(message.to_owned()))
}

/// The text of a rule on one string field: `self` is the value.
fn text(cel: &str, wanted: &str) -> Rule {
    rule(cel, &format!("\"'\" + self + \"' is not {wanted}\""))
}

pub(crate) fn label(what: &str, example: &str) -> Rule {
    text(
        "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
        &format!("{what}: lower-case letters, digits and '-', such as '{example}'"),
    )
}

/// The name of another object.
pub(crate) fn object_name(what: &str, example: &str) -> Rule {
    text(
        "self.matches('^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$')",
        &format!("{what}: lower-case letters, digits, '-' and '.', such as '{example}'"),
    )
}

pub(crate) fn variable() -> Rule {
    text("self.matches('^[A-Za-z_][A-Za-z0-9_]*$')", "the name of a variable, such as 'HTTPS_PROXY'")
}

/// How a child is named after an object bounds the object's own name.
pub(crate) fn own_name() -> Rule {
    rule(
        "size(self.metadata.name) <= 60 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
        "\"metadata.name '\" + self.metadata.name + \"' is not a name of at most 60 lower-case letters, digits and \
         '-' (its pod and claim are named after it), such as 'fix-login'\"",
    )
}

/// A name before the host is who signs in by key with ssh, and a secret with http.
pub(crate) fn git_url() -> Rule {
    text(
        "self.matches('^(https?|git)://[^/@ ]+/[^ ]+$') || self.matches('^ssh://([^/@: ]+@)?[^/@ ]+/[^ ]+$') \
         || self.matches('^[a-zA-Z0-9._-]+@[a-zA-Z0-9.-]+:[^ ]+$')",
        "the address of a git repository without credentials in it, such as 'https://git.example/shop.git'",
    )
}

pub(crate) fn git_ref() -> Rule {
    text(
        "self.matches('^[A-Za-z0-9_][A-Za-z0-9_./-]*$') && !self.contains('..')",
        "a branch, tag or commit, such as 'main'",
    )
}

pub(crate) fn not_blank(what: &str, example: &str) -> Rule {
    text("self.matches('[^ ]')", &format!("{what}, such as '{example}'"))
}

/// `30m`, `1h30m`: what Go's and Kubernetes' durations look like, without fractions and signs.
pub(crate) fn duration(example: &str) -> Rule {
    text(
        "self.matches('^([0-9]{1,6}h)?([0-9]{1,8}m)?([0-9]{1,10}s)?$') && size(self) > 0",
        &format!("a time of hours, minutes and seconds, such as '{example}'"),
    )
}

pub(crate) fn size() -> Rule {
    text(
        "isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))",
        "a size greater than zero, such as '10Gi'",
    )
}

pub(crate) fn image() -> Rule {
    text("self.matches('^[^ ]+$')", "the name of an image, such as 'registry.example/gadget-drone:1.0'")
}

/// On the object that holds the field: it keeps the value that it was made with.
pub(crate) fn immutable(path: &str, field: &str, advice: &str) -> Rule {
    rule(
        &format!(
            "has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"
        ),
        &format!(
            "\"{path} stays what it was made with\" + (has(oldSelf.{field}) ? \" ('\" + oldSelf.{field} + \"')\" \
             : \" (nothing)\") + \"; {advice}\""
        ),
    )
}

/// On the object that holds the field: a size may grow, and once set it is there.
pub(crate) fn only_grows(path: &str, field: &str) -> Rule {
    rule(
        &format!(
            "!has(oldSelf.{field}) || has(self.{field}) && isQuantity(self.{field}) \
             && quantity(self.{field}).compareTo(quantity(oldSelf.{field})) >= 0"
        ),
        &format!("\"{path} may grow, never shrink: give '\" + oldSelf.{field} + \"' or more\""),
    )
}
