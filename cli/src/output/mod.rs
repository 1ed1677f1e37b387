//! How data is printed: a table for people, JSON and YAML for scripts.

use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;

use crate::command::{CommandError, FAILED};

pub mod colour;
pub mod table;
pub mod yaml;

pub use colour::{Colour, coloured};
pub use table::Table;

/// The value of `-o`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
}

/// `-o`, for a command's `Args` to flatten.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct FormatArgs {
    /// How to print.
    #[arg(short = 'o', long = "output", value_enum, default_value = "table")]
    pub format: Format,
}

impl Format {
    /// The text of `data`; `people` makes the table.
    ///
    /// # Errors
    /// When `data` cannot be JSON, which is a mistake of the program.
    pub fn render<T: Serialize>(
        self,
        data: &T,
        people: impl FnOnce(&T) -> String,
    ) -> Result<String, CommandError> {
        let broken = |error| CommandError::new(FAILED, format!("cannot print the result: {error}"));
        match self {
            Self::Table => Ok(people(data)),
            Self::Json => Ok(serde_json::to_string_pretty(data).map_err(broken)? + "\n"),
            Self::Yaml => Ok(yaml::to_yaml(&serde_json::to_value(data).map_err(broken)?)),
        }
    }
}

/// Writes a command's result to standard output. A reader that has seen enough (`weft get | head`) is no error.
///
/// # Errors
/// When standard output cannot be written.
pub fn print(text: &str) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CommandError::new(FAILED, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes a line of what is going on, which is no result: nobody need be there to read it.
pub fn say(line: &str) {
    let _ = print(&format!("{line}\n"));
}
