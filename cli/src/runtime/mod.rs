//! Run processes inside the mesh: namespaces, addresses, sidecars.
