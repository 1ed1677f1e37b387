//! Pure: a world and a scope become resources.
