//! Who the control plane is, and what it may do.

use k8s_openapi::api::core::v1::{LocalObjectReference, ServiceAccount};
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};

use super::Objects;
use crate::install::names::{CONTROL_PLANE, NAMESPACE};
use crate::install::rbac::{Scope, permissions};
use crate::install::values::InstallValues;

const COMPONENT: &str = "control-plane";
const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn add(values: &InstallValues, objects: &mut Objects) {
    let name = values.revised(CONTROL_PLANE);
    let rules = |scope: Scope| -> Vec<PolicyRule> {
        permissions(values)
            .iter()
            .filter(|it| it.scope == scope)
            .map(super::super::rbac::Permission::rule)
            .collect()
    };
    let subjects = vec![Subject {
        kind: "ServiceAccount".to_owned(),
        name: name.clone(),
        namespace: Some(NAMESPACE.to_owned()),
        ..Subject::default()
    }];
    let role =
        |kind: &str| RoleRef { api_group: GROUP.to_owned(), kind: kind.to_owned(), name: name.clone() };
    objects.add(&ServiceAccount {
        metadata: values.metadata(&name, COMPONENT, true),
        image_pull_secrets: pull_secrets(values),
        ..ServiceAccount::default()
    });
    objects.add(&ClusterRole {
        metadata: values.metadata(&name, COMPONENT, false),
        rules: Some(rules(Scope::Cluster)),
        ..ClusterRole::default()
    });
    objects.add(&ClusterRoleBinding {
        metadata: values.metadata(&name, COMPONENT, false),
        role_ref: role("ClusterRole"),
        subjects: Some(subjects.clone()),
    });
    objects.add(&Role {
        metadata: values.metadata(&name, COMPONENT, true),
        rules: Some(rules(Scope::Namespace)),
    });
    objects.add(&RoleBinding {
        metadata: values.metadata(&name, COMPONENT, true),
        role_ref: role("Role"),
        subjects: Some(subjects),
    });
}

/// The Secrets that images are pulled with, if there are any.
fn pull_secrets(values: &InstallValues) -> Option<Vec<LocalObjectReference>> {
    let secrets: Vec<_> =
        values.image.pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() }).collect();
    (!secrets.is_empty()).then_some(secrets)
}
