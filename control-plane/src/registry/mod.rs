//! Workloads that were started with `weft run`: their names, addresses and whether they take requests now.
//!
//! A registered workload is an ordinary `WorkloadEntry` (and, where there is none yet, a `Service`) in the store, as
//! Istio's auto-registration makes them; this module only chooses what they say and remembers states.

mod network;
mod objects;
mod states;

pub use network::{Network, WorkloadNetworks};
pub use objects::{Registration, name_for};
pub use states::StateBook;
