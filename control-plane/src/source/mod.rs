//! Read: from what users wrote to checked, typed objects that remember where each part stands.
//!
//! Text becomes a [`document`](weft_model::document) with places, [`fields`] reads it into the types of [`kinds`], and [`mod@parse`] puts
//! both together. A [`set::Source`] yields the objects in force: the [`store`] those applied through the API, the
//! [`directory`] those of files.

pub mod checks;
pub mod diagnostic;
pub mod directory;
pub mod fields;
mod instead;
pub mod kinds;
pub mod kubernetes;
pub mod object;
pub mod parse;
pub mod registry;
pub mod set;
pub mod store;
pub mod words;

pub use weft_model::document;

pub use diagnostic::{Finding, Severity};
pub use directory::{Directory, DirectorySettings};
pub use object::{Metadata, Object, Origin, Place, Spec};
pub use parse::{Parsed, parse_documents, parse_files, parse_json, parse_watched};
pub use registry::{CLUSTER_KINDS, KINDS, Kind};
pub use set::{Objects, Source, SourceEvent};
pub use store::{Change, Outcome, Store, StoreError};
