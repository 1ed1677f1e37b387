//! What is right in itself but will not work as it reads: checks across objects. They warn and never refuse, since
//! objects arrive in any order and what is missing may come a moment later.

mod headless;
mod names;
pub mod plaintext;
mod references;
mod rules;

use std::sync::Arc;

use crate::source::{Finding, Object};
use names::Names;

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;

/// Warnings about all objects together, in the order of the objects' names and then of their fields. `domain` is the mesh's
/// DNS suffix, such as `cluster.local`.
#[must_use]
pub fn review(objects: &[Arc<Object>], domain: &str) -> Vec<Finding> {
    let mut sorted: Vec<&Object> = objects.iter().map(AsRef::as_ref).collect();
    sorted.sort_by(|one, other| one.reference.cmp(&other.reference));
    let names = Names::of(&sorted, domain);
    let mut findings = Vec::new();
    for object in &sorted {
        references::check(object, &names, &mut findings);
        rules::check(object, &mut findings);
    }
    rules::check_conflicts(&sorted, &names, &mut findings);
    headless::check_conflicts(&sorted, &mut findings);
    findings.sort_by(|one, other| key(one).cmp(&key(other)));
    findings
}

fn key(finding: &Finding) -> (&Option<weft_model::provenance::ObjectRef>, u32, u32, &str, &str) {
    (&finding.object, finding.line, finding.column, &finding.field, &finding.message)
}
