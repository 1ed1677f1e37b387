//! Read objects: from files and the API, typed, each with its provenance.
