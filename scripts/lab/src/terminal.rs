//! Messages on the terminal: what happens on standard output, what is wrong on standard error. Colours only on a terminal, and not
//! with NO_COLOR.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::LazyLock;

struct Style {
    bold: &'static str,
    dim: &'static str,
    red: &'static str,
    plain: &'static str,
}

static STYLE: LazyLock<Style> = LazyLock::new(|| {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if unwanted || !io::stdout().is_terminal() {
        return Style {
            bold: "",
            dim: "",
            red: "",
            plain: "",
        };
    }
    Style {
        bold: "\x1b[1m",
        dim: "\x1b[2m",
        red: "\x1b[31m",
        plain: "\x1b[0m",
    }
});

/// A headline: what begins now.
pub fn say(text: impl Display) {
    print(format_args!("{}==>{} {text}\n", STYLE.bold, STYLE.plain));
}

/// A detail below a headline.
pub fn note(text: impl Display) {
    print(format_args!("    {text}\n"));
}

pub fn warn(text: impl Display) {
    print_error(format_args!("{}warning:{} {text}\n", STYLE.red, STYLE.plain));
}

/// An error that ends the program, and below it what to do about it.
pub fn error(text: impl Display, advice: &[String]) {
    print_error(format_args!("{}error:{} {text}\n", STYLE.red, STYLE.plain));
    for line in advice {
        print_error(format_args!("       {line}\n"));
    }
}

/// Text as it is, on standard output.
pub fn print(text: impl Display) {
    // With standard output gone nobody reads it, and what runs is still to be ended in order.
    let _unread = write!(io::stdout(), "{text}");
}

/// Text as it is, on standard error.
pub fn print_error(text: impl Display) {
    let _unread = write!(io::stderr(), "{text}");
}

/// The beginning of each line that the process `name` prints.
pub fn prefix(name: &str) -> String {
    format!("{}{name:<14} |{} ", STYLE.dim, STYLE.plain)
}
