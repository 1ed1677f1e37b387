//! Label selectors as `kubectl -l` takes them
//! (<https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors>).

use std::collections::BTreeSet;
use std::str::FromStr;

use crate::source::checks;
use crate::source::words::Labels;

#[cfg(test)]
#[path = "selector_tests.rs"]
mod tests;

/// Which namespaces are meant: those that fulfil every requirement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamespaceSelector(Vec<Requirement>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Requirement {
    /// The label is there, with one of these values; any value when there are none.
    Has(String, BTreeSet<String>),
    /// The label is not there, or with another value than these; it is not there at all when there are none.
    HasNot(String, BTreeSet<String>),
}

impl NamespaceSelector {
    /// Whether something with these labels is meant.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::Has(key, values) => {
                labels.get(&**key).is_some_and(|value| values.is_empty() || values.contains(&**value))
            }
            Requirement::HasNot(key, values) => {
                labels.get(&**key).is_none_or(|value| !values.is_empty() && !values.contains(&**value))
            }
        })
    }
}

impl FromStr for NamespaceSelector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let requirements: Result<Vec<_>, _> = terms(text).map(requirement).collect();
        match requirements {
            Ok(requirements) if requirements.is_empty() => {
                Err("an empty selector selects everything: leave the option away".to_owned())
            }
            Ok(requirements) => Ok(Self(requirements)),
            Err(why) => {
                Err(format!("`{text}` is no label selector: {why}; such as env=prod,team in (a,b),!old"))
            }
        }
    }
}

/// Parts between commas that are not within brackets.
fn terms(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    text.split(move |c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth <= 0
    })
    .map(str::trim)
    .filter(|term| !term.is_empty())
}

fn requirement(term: &str) -> Result<Requirement, String> {
    let key =
        |key: &str| checks::qualified_name(key.trim()).map(str::to_owned).map_err(|problem| problem.message);
    let value =
        |value: &str| checks::label_value(value.trim()).map(str::to_owned).map_err(|problem| problem.message);
    let one = |text: &str| Ok::<_, String>(BTreeSet::from([value(text)?]));
    if let Some((name, wanted)) = term.split_once("!=") {
        return Ok(Requirement::HasNot(key(name)?, one(wanted)?));
    }
    if let Some((name, wanted)) = term.split_once("==").or_else(|| term.split_once('=')) {
        return Ok(Requirement::Has(key(name)?, one(wanted)?));
    }
    if let Some((head, list)) = term.split_once('(') {
        let list = list.strip_suffix(')').ok_or("a `)` is missing")?;
        let values: BTreeSet<String> = list.split(',').map(value).collect::<Result<_, _>>()?;
        return match head.split_whitespace().collect::<Vec<_>>()[..] {
            [name, "in"] => Ok(Requirement::Has(key(name)?, values)),
            [name, "notin"] => Ok(Requirement::HasNot(key(name)?, values)),
            _ => Err(format!("`{head}` is neither `KEY in` nor `KEY notin`")),
        };
    }
    match term.strip_prefix('!') {
        Some(name) => Ok(Requirement::HasNot(key(name)?, BTreeSet::new())),
        None => Ok(Requirement::Has(key(term)?, BTreeSet::new())),
    }
}
