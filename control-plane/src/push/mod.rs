//! The xDS server: subscriptions, queues, nonces, acknowledgements.
