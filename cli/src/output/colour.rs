//! Colour, only on a terminal.

use std::io::{self, IsTerminal};

/// A colour of the terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Colour {
    /// Good.
    Green,
    /// Bad.
    Red,
    /// Worth a look.
    Yellow,
    /// Less important.
    Grey,
    /// Headings.
    Bold,
}

/// `text` in colour when standard output is a terminal and `NO_COLOR` is not set (<https://no-color.org>).
#[must_use]
pub fn coloured(colour: Colour, text: &str) -> String {
    if text.is_empty()
        || !io::stdout().is_terminal()
        || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
    {
        return text.to_owned();
    }
    let code = match colour {
        Colour::Green => "32",
        Colour::Red => "31",
        Colour::Yellow => "33",
        Colour::Grey => "90",
        Colour::Bold => "1",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}
