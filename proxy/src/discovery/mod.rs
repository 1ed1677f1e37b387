//! The xDS client: stream, acknowledgements, store, last good on disk.
