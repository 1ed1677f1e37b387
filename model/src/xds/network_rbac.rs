//! Which connections are let in: the network filter `envoy.filters.network.rbac`.

use weft_proto::xds::network_rbac as pb;
use weft_proto::xds::protobuf::Any;

use super::filter::rbac;
use super::reader::{Reader, fields};
use super::wire::pack;
use crate::filter::rbac::Rbac;

pub(super) fn encode(found: &Rbac) -> Any {
    pack(&pb::Rbac {
        rules: found.rules.as_ref().map(rbac::encode_rules),
        shadow_rules: found.shadow_rules.as_ref().map(rbac::encode_rules),
        stat_prefix: "tcp.".to_owned(),
        ..Default::default()
    })
}

pub(super) fn decode(reader: &mut Reader, message: pb::Rbac) -> Option<Rbac> {
    // When it is enforced is the proxy's own rule: before anything is served, and so before the first byte.
    fields!(reader, message => pb::Rbac {
        rules, shadow_rules;
        ignored: stat_prefix, shadow_rules_stat_prefix, enforcement_type, delay_deny;
        refused: matcher, shadow_matcher
    });
    rbac::decode_both(reader, rules, shadow_rules)
}
