//! Record: metrics, access log, traces, reports.
