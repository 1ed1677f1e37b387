//! What the control plane may do in the cluster: every permission with its reason. The roles, and the page
//! `docs/rbac.md`, are made of this table.

use std::fmt::Write as _;

use k8s_openapi::api::rbac::v1::PolicyRule;
use weft_control_plane::crds;

use super::names::{AUTHORITY, CNI, CONTROL_PLANE, INJECTION, INJECTOR, ROOT, VALIDATOR};
use super::values::InstallValues;

#[cfg(test)]
#[path = "rbac_tests.rs"]
mod tests;

/// Where a permission holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// In every namespace, and for objects of none.
    Cluster,
    /// In `weft-system`.
    Namespace,
}

/// One permission.
#[derive(Clone, Debug)]
pub struct Permission {
    /// Where.
    pub scope: Scope,
    /// API groups; `""` is Kubernetes' core.
    pub groups: Vec<&'static str>,
    /// Such as `pods`, `pods/status`.
    pub resources: Vec<String>,
    /// Only objects of these names; all when empty.
    pub names: Vec<String>,
    /// Such as `get`.
    pub verbs: Vec<&'static str>,
    /// What would not work without.
    pub reason: &'static str,
}

const READ: [&str; 3] = ["get", "list", "watch"];

fn permission(
    scope: Scope,
    group: &'static str,
    resources: &[&str],
    verbs: &[&'static str],
    reason: &'static str,
) -> Permission {
    Permission {
        scope,
        groups: vec![group],
        resources: resources.iter().map(|it| (*it).to_owned()).collect(),
        names: Vec::new(),
        verbs: verbs.to_vec(),
        reason,
    }
}

impl Permission {
    fn named(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.names = names.into_iter().collect();
        self
    }

    /// As Kubernetes writes it.
    #[must_use]
    pub fn rule(&self) -> PolicyRule {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        PolicyRule {
            api_groups: Some(owned(&self.groups)),
            resources: Some(self.resources.clone()),
            resource_names: (!self.names.is_empty()).then(|| self.names.clone()),
            verbs: owned(&self.verbs),
            ..PolicyRule::default()
        }
    }
}

/// All permissions of the control plane.
#[must_use]
pub fn permissions(values: &InstallValues) -> Vec<Permission> {
    let mut all = reading();
    all.extend(writing(values));
    all.extend(own_namespace(values));
    all
}

fn reading() -> Vec<Permission> {
    use Scope::Cluster;
    let mut all = vec![
        permission(
            Cluster,
            "",
            &["namespaces", "nodes", "pods", "services"],
            &READ,
            "Services and the pods behind them are what routes lead to; namespaces say where sidecars are injected; nodes, in which zone a pod is.",
        ),
        permission(
            Cluster,
            "discovery.k8s.io",
            &["endpointslices"],
            &READ,
            "Endpoints of Services without a selector.",
        ),
        permission(
            Cluster,
            "apiextensions.k8s.io",
            &["customresourcedefinitions"],
            &READ,
            "Which kinds of policies the cluster has: those that come and go later are followed.",
        ),
    ];
    for group in policy_groups() {
        all.push(permission(Cluster, group, &plurals(group), &READ, "The policies."));
    }
    all
}

fn writing(values: &InstallValues) -> Vec<Permission> {
    use Scope::Cluster;
    let mut all = Vec::new();
    for group in policy_groups() {
        let status: Vec<String> = plurals(group).iter().map(|plural| format!("{plural}/status")).collect();
        let status: Vec<&str> = status.iter().map(String::as_str).collect();
        all.push(permission(Cluster, group, &status, &["patch"], "Whether a policy is in force, and what is wrong with it, is written to its status; never the policy itself."));
    }
    all.extend([
        permission(Cluster, "authentication.k8s.io", &["tokenreviews"], &["create"],
            "Workloads prove by their service account's token who they are when they ask for a certificate."),
        permission(Cluster, "", &["configmaps"], &["create"],
            "The mesh's root certificate is published to every namespace. Kubernetes cannot bind `create` to a name."),
        permission(Cluster, "", &["configmaps"], &["get", "list", "watch", "update", "patch"],
            "The same, kept current. Holds for this name only.").named([ROOT.to_owned()]),
        permission(
            Cluster,
            "",
            &["events"],
            &["create"],
            "Why a pod got no sidecar, or was refused, is told as an event where the user looks for it.",
        ),
    ]);
    let webhooks = [
        ("mutatingwebhookconfigurations", values.revised(INJECTOR), values.injection.enabled),
        ("validatingwebhookconfigurations", values.revised(VALIDATOR), values.validation.enabled),
    ];
    for (resource, name, enabled) in webhooks {
        if enabled {
            let reason = "The certificate authority that the API server trusts the webhook by is kept current in its configuration. Holds for this name only.";
            all.push(
                permission(
                    Cluster,
                    "admissionregistration.k8s.io",
                    &[resource],
                    &["get", "list", "watch", "patch"],
                    reason,
                )
                .named([name]),
            );
        }
    }
    all
}

fn own_namespace(values: &InstallValues) -> Vec<Permission> {
    use Scope::Namespace;
    vec![
        permission(Namespace, "", &["secrets"], &["get", "list", "watch", "update", "patch"],
            "The certificate authority's key, and one that you brought in Istio's form. Holds for these names only.")
            .named([AUTHORITY.to_owned(), "cacerts".to_owned()]),
        permission(Namespace, "", &["secrets"], &["create"],
            "The first replica makes the certificate authority. Kubernetes cannot bind `create` to a name."),
        permission(Namespace, "", &["configmaps"], &READ, "How sidecars are injected. Holds for this name only.")
            .named([values.revised(INJECTION)]),
        permission(Namespace, "coordination.k8s.io", &["leases"], &["create"],
            "One replica at a time writes statuses and publishes the root certificate. Kubernetes cannot bind `create` to a name."),
        permission(Namespace, "coordination.k8s.io", &["leases"], &["get", "list", "watch", "update", "patch"],
            "The same, held and handed over, by the replicas of all revisions. Holds for this name only.").named([CONTROL_PLANE.to_owned()]),
    ]
}

/// All permissions of the CNI agent, where it is installed: only what its way of repairing pods takes.
#[must_use]
pub fn agent_permissions(values: &InstallValues) -> Vec<Permission> {
    use Scope::{Cluster, Namespace};
    let mut all = vec![permission(
        Cluster,
        "",
        &["pods"],
        &["get"],
        "Whether a pod that starts is injected, and which rules it asks for.",
    )];
    let repairs: &[&'static str] = match values.cni.repair.as_str() {
        "delete" => &["list", "delete"],
        "label" => &["list", "patch"],
        _ => &[],
    };
    if !repairs.is_empty() {
        let reason = "Pods of its node that started without their rules are found, and deleted or labelled (`cni.repair`).";
        all.push(permission(Cluster, "", &["pods"], repairs, reason));
        all.push(permission(
            Cluster,
            "",
            &["events"],
            &["create"],
            "What was done with such a pod is told as an event.",
        ));
    }
    all.push(
        permission(
            Namespace,
            "apps",
            &["daemonsets"],
            &["get"],
            "Whether the agent ends for good: then it takes the plugin from the node. Holds for this name only.",
        )
        .named([CNI.to_owned()]),
    );
    all
}

/// API groups of the policies, each once.
fn policy_groups() -> Vec<&'static str> {
    let mut groups: Vec<&'static str> = crds::policies().map(|kind| kind.group).collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

fn plurals(group: &str) -> Vec<&'static str> {
    crds::policies().filter(|kind| kind.group == group).map(|kind| kind.plural).collect()
}

/// `docs/rbac.md`.
#[must_use]
pub fn page(values: &InstallValues) -> String {
    let mut text = String::from(PAGE_HEAD);
    write_tables(&mut text, CONTROL_PLANE, &permissions(values));
    text.push_str("\n# What the CNI agent may do\n\nWhere `cni.enabled` is true.\n");
    write_tables(&mut text, CNI, &agent_permissions(values));
    text
}

fn write_tables(text: &mut String, role: &str, permissions: &[Permission]) {
    for scope in [Scope::Cluster, Scope::Namespace] {
        let (place, kind) = match scope {
            Scope::Cluster => ("the whole cluster", "ClusterRole"),
            Scope::Namespace => ("`weft-system`", "Role"),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n## In {place}: {kind} `{role}`\n");
        text.push_str("| API group | resources | names | verbs | why |\n| --- | --- | --- | --- | --- |\n");
        for it in permissions.iter().filter(|it| it.scope == scope) {
            let groups: Vec<&str> =
                it.groups.iter().map(|group| if group.is_empty() { "core" } else { group }).collect();
            let names = if it.names.is_empty() { "all".to_owned() } else { it.names.join(", ") };
            let _ = writeln!(
                text,
                "| {} | {} | {names} | {} | {} |",
                groups.join(", "),
                it.resources.join(", "),
                it.verbs.join(", "),
                it.reason
            );
        }
    }
}

const PAGE_HEAD: &str = "# What the control plane may do\n
Made from `cli/src/install/rbac.rs`, as the roles themselves are. With `--revision NAME` the roles and the names of its own objects end in `-NAME`.

It cannot read a Secret of any other namespace, change a workload or a policy, or run anything. `weft` itself acts with the rights of who runs it: it reaches the
control plane through the API server's port-forward, so `create` on `pods/portforward` in `weft-system` decides who may ask the mesh.
";
