//! What the mesh sees: takes in the sidecars' reports, keeps them for an hour in bounded memory, answers `weft stat`.
//! Long-term metrics are Prometheus's business.
//!
//! Each request is reported twice, by the client's sidecar (*source*) and the server's (*destination*). It must be
//! counted once:
//!
//! - **By service and by workload** the destination's reports count where there are any, for they see every caller,
//!   also those outside the mesh; else the source's. What only the source can know is added: retries; requests that
//!   never reached the server (flags UH, UF, NC, NR, UO, FI) as failed requests; and requests whose answer never reached
//!   the client (UT, UC, UR, UPE, SI) as failures among those the destination counted.
//! - **By route and by edge** the source's reports count, for the route is chosen there and failures are seen there. Edges
//!   that no source reports (a caller outside the mesh, or one whose sidecar is gone) come from the destination.

pub mod counts;
pub mod series;
pub mod statistics;
pub mod plaintext;
pub mod query;
pub mod history;
pub mod service;

pub use plaintext::{PlainCaller, PlainCalls};
pub use service::ReportService;
pub use statistics::{Statistics, StatisticsSettings};
