//! One thread, one runtime, its own listeners and pools.
