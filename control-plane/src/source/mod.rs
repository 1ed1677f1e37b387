//! Read: from what users wrote to checked, typed objects that remember where each part stands.

pub mod checks;
pub mod diagnostic;
pub mod document;
pub mod fields;
pub mod kinds;
pub mod object;
pub mod parse;
pub mod registry;
pub mod words;

pub use diagnostic::{Finding, Severity};
pub use object::{Metadata, Object, Origin, Place, Spec};
pub use parse::{Parsed, parse_documents, parse_json};
pub use registry::{KINDS, Kind};
