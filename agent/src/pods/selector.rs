//! Label selectors as people write them for `kubectl get -l`. In: a text. Out: a selector, or what is wrong. Pure.

use std::collections::BTreeSet;

use kube::core::{Expression, Selector};

/// Reads `app=shop,tier in (a, b),!canary`. Keys and values are as Kubernetes allows them.
pub fn parse(text: &str) -> Result<Selector, String> {
    let parts = requirements(text).into_iter();
    let selector: Selector = parts.map(requirement).collect::<Result<_, _>>()?;
    match selector.selects_all() {
        true => Err("is empty: it would select every pod".to_owned()),
        false => Ok(selector),
    }
}

/// The label that an expression asks for.
pub fn key(expression: &Expression) -> &str {
    match expression {
        Expression::In(key, _)
        | Expression::NotIn(key, _)
        | Expression::Equal(key, _)
        | Expression::NotEqual(key, _)
        | Expression::Exists(key)
        | Expression::DoesNotExist(key) => key,
    }
}

/// What is wrong with a label's or an annotation's key, if anything: `[DOMAIN/]NAME` (Kubernetes, "Labels and Selectors").
pub fn key_fault(key: &str) -> Option<String> {
    let (domain, name) = match key.split_once('/') {
        Some((domain, name)) => (Some(domain), name),
        None => (None, key),
    };
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_domain = domain.is_none_or(|domain| {
        domain.len() <= 253 && domain.split('.').all(|part| is_name(part, lower, b"-"))
    });
    let is_right = is_domain && is_word(name) && !name.is_empty();
    (!is_right).then(|| format!("`{key}` is not the key of a label"))
}

/// Splits at the commas that are not in parentheses.
fn requirements(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    let at_comma = |character: char| {
        depth += match character {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        character == ',' && depth == 0
    };
    let parts = text.split(at_comma).map(str::trim).collect::<Vec<_>>();
    match parts.as_slice() {
        [""] => Vec::new(),
        _ => parts,
    }
}

fn requirement(text: &str) -> Result<Expression, String> {
    if let Some(name) = text.strip_prefix('!') {
        return Ok(Expression::DoesNotExist(checked_key(name)?));
    }
    if let Some((name, value)) = text.split_once("!=") {
        return Ok(Expression::NotEqual(checked_key(name)?, value_of(value)?));
    }
    if let Some((name, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(Expression::Equal(checked_key(name)?, value_of(value)?));
    }
    let Some((before, values)) = text.split_once('(') else {
        return Ok(Expression::Exists(checked_key(text)?));
    };
    let values = values.trim_end().strip_suffix(')');
    let values = values.ok_or_else(|| format!("`{text}` does not end with a parenthesis"))?;
    let values = values.split(',').map(value_of);
    let values = values.collect::<Result<BTreeSet<_>, _>>()?;
    match before.trim_end().rsplit_once(char::is_whitespace) {
        Some((name, "in")) => Ok(Expression::In(checked_key(name)?, values)),
        Some((name, "notin")) => Ok(Expression::NotIn(checked_key(name)?, values)),
        _ => Err(format!(
            "`{text}` is neither `KEY in (…)` nor `KEY notin (…)`"
        )),
    }
}

fn checked_key(name: &str) -> Result<String, String> {
    let name = name.trim();
    match key_fault(name) {
        Some(fault) => Err(fault),
        None => Ok(name.to_owned()),
    }
}

fn value_of(text: &str) -> Result<String, String> {
    let value = text.trim();
    match is_word(value) {
        true => Ok(value.to_owned()),
        false => Err(format!("`{value}` is not the value of a label")),
    }
}

/// 63 letters, digits, dashes, dots and underscores at most, the first and the last a letter or a digit; or nothing.
fn is_word(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric();
    text.len() <= 63 && (text.is_empty() || is_name(text, letter, b"-._"))
}

/// Made of `letter`s, and of `others` that stand between them.
fn is_name(text: &str, letter: impl Fn(u8) -> bool, others: &[u8]) -> bool {
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    let ends_well = ends
        .iter()
        .all(|byte| byte.is_some_and(|byte| letter(*byte)));
    ends_well
        && bytes
            .iter()
            .all(|byte| letter(*byte) || others.contains(byte))
}

#[cfg(test)]
mod tests {
    use kube::core::SelectorExt;

    use super::*;

    #[test]
    fn selects_as_kubectl_does() {
        let labels = [("app", "shop"), ("spanlet.dev/x", "1"), ("empty", "")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        for (text, selects) in [
            ("app=shop", true),
            ("app==shop", true),
            ("app = shop , spanlet.dev/x", true),
            ("app!=shop", false),
            ("tier!=web", true),
            ("app in (shop, cart)", true),
            ("app in (shop),spanlet.dev/x notin (1,2)", false),
            ("tier notin (web)", true),
            ("!tier", true),
            ("!app", false),
            ("empty=", true),
            ("tier", false),
        ] {
            assert_eq!(parse(text).unwrap().matches(&labels), selects, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, part) in [
            ("", "is empty"),
            ("app=a b", "`a b` is not the value"),
            ("-app=a", "`-app` is not the key"),
            ("a/b/c=1", "`a/b/c` is not the key"),
            ("Upper.Case/x=1", "`Upper.Case/x` is not the key"),
            ("app in (a", "does not end with"),
            ("app on (a)", "neither `KEY in"),
            ("app=a,,b=c", "`` is not the key"),
            (&format!("{}=1", "k".repeat(64)), "is not the key"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
