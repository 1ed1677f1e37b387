//! Kubernetes' `Node`: where in the world its pods are
//! (<https://kubernetes.io/docs/reference/labels-annotations-taints/#topologykubernetesiozone>).

use std::sync::Arc;

use crate::source::words::Labels;

/// Labels that say where a node is: the present names first, then those that they replaced.
const REGION: [&str; 2] = ["topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region"];
const ZONE: [&str; 2] = ["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"];
const SUBZONE: [&str; 1] = ["topology.istio.io/subzone"];

/// `region/zone/subzone` of a node with these labels, as far as they say; empty when they say nothing.
#[must_use]
pub fn locality(labels: &Labels) -> Arc<str> {
    let first = |keys: &[&str]| keys.iter().find_map(|key| labels.get(*key)).map_or("", |value| value);
    let parts = [first(&REGION), first(&ZONE), first(&SUBZONE)];
    let used = parts.iter().rposition(|part| !part.is_empty()).map_or(0, |last| last + 1);
    parts[..used].join("/").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locality_is_as_long_as_what_is_known() {
        let of = |pairs: &[(&str, &str)]| {
            locality(&pairs.iter().map(|(key, value)| (Arc::from(*key), Arc::from(*value))).collect())
        };
        assert_eq!(&*of(&[]), "");
        assert_eq!(&*of(&[(REGION[0], "eu")]), "eu");
        assert_eq!(&*of(&[(ZONE[1], "eu-1a")]), "/eu-1a");
        assert_eq!(
            &*of(&[(REGION[0], "eu"), (ZONE[0], "a"), (ZONE[1], "old"), (SUBZONE[0], "r1")]),
            "eu/a/r1"
        );
    }
}
