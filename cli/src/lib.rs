//! The command line as a library, so that tests and generated pages can see it.

pub mod command;
pub mod files;
pub mod traffic;
pub mod output;
pub mod runtime;
pub mod cluster;
pub mod install;
#[cfg(test)]
mod testing;
