//! Who the control plane and the CNI agent are, and what they may do.

use k8s_openapi::api::core::v1::{LocalObjectReference, ServiceAccount};
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};

use super::Objects;
use crate::install::names::{CONTROL_PLANE, NAMESPACE};
use crate::install::rbac::{self, Permission, Scope};
use crate::install::values::InstallValues;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn add(values: &InstallValues, objects: &mut Objects) {
    let name = values.revised(CONTROL_PLANE);
    add_identity(values, &name, "control-plane", &rbac::permissions(values), objects);
}

/// A service account with its permissions.
pub(super) fn add_identity(
    values: &InstallValues,
    name: &str,
    component: &str,
    permissions: &[Permission],
    objects: &mut Objects,
) {
    let rules = |scope: Scope| -> Vec<PolicyRule> {
        permissions.iter().filter(|it| it.scope == scope).map(Permission::rule).collect()
    };
    let subjects = vec![Subject {
        kind: "ServiceAccount".to_owned(),
        name: name.to_owned(),
        namespace: Some(NAMESPACE.to_owned()),
        ..Subject::default()
    }];
    let role =
        |kind: &str| RoleRef { api_group: GROUP.to_owned(), kind: kind.to_owned(), name: name.to_owned() };
    objects.add(&ServiceAccount {
        metadata: values.metadata(name, component, true),
        image_pull_secrets: pull_secrets(values),
        ..ServiceAccount::default()
    });
    objects.add(&ClusterRole {
        metadata: values.metadata(name, component, false),
        rules: Some(rules(Scope::Cluster)),
        ..ClusterRole::default()
    });
    objects.add(&ClusterRoleBinding {
        metadata: values.metadata(name, component, false),
        role_ref: role("ClusterRole"),
        subjects: Some(subjects.clone()),
    });
    objects.add(&Role {
        metadata: values.metadata(name, component, true),
        rules: Some(rules(Scope::Namespace)),
    });
    objects.add(&RoleBinding {
        metadata: values.metadata(name, component, true),
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
