//! Puts the control plane into a Kubernetes cluster, changes it, takes it out and looks whether it is well.
//!
//! [`values`] are what a user chooses, described once in [`schema`]; [`objects`] makes of them everything that is
//! installed, without asking a cluster, so that `-o yaml`, the Helm chart and `weft install` give the same.
//! [`preflight`] says what would fail; [`apply`] brings the objects in, takes out what an earlier version had, and
//! [`history`] keeps each rendering for a rollback. [`health`] is `weft check`.

pub mod schema;
pub mod values;
pub mod names;
pub mod objects;
pub mod crds;
pub mod chart;
pub mod rbac;
pub mod apply;
pub mod history;
pub mod preflight;
pub mod health;
pub mod remove;
pub mod wait;
