//! Answer the mesh's names; forward the rest.
