//! What the load comparison serves: configurations of the sidecar, mode by mode, each as close as can be to what
//! `load/peers/envoy_conf.py` writes for the peer `envoy-istio`.

pub mod mesh;
pub mod mode;
