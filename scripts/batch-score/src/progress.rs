//! How far a run is: a bar where standard error is a terminal, else a line now and then.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

const TEMPLATE: &str = "{wide_bar} {percent:>3} %  {elapsed}, {eta} to go  {msg}";

/// A look at a run.
#[derive(Debug, Clone)]
pub struct Look {
    pub scored: u64,
    pub rejected: u64,
    /// How much of the input has been scored, in its own measure.
    pub done: u64,
    pub whole: u64,
    pub retries: u64,
    pub last_failure: String,
}

#[derive(Debug)]
pub struct Progress {
    shown: Shown,
    begun: Instant,
    /// Rows of earlier runs.
    before: u64,
}

#[derive(Debug)]
enum Shown {
    Nothing,
    Bar(ProgressBar),
    Lines { every: Duration, last: Instant },
}

impl Progress {
    /// `before` rows were scored by an earlier run.
    pub fn new(quiet: bool, every: Duration, before: u64) -> Self {
        let begun = Instant::now();
        let shown = if quiet {
            Shown::Nothing
        } else if io::stderr().is_terminal() {
            let bar = ProgressBar::new(0);
            // The template is constant; one that does not parse leaves the crate's own.
            if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
                bar.set_style(style);
            }
            Shown::Bar(bar)
        } else {
            Shown::Lines { every, last: begun }
        };
        Self { shown, begun, before }
    }

    /// Shows how far it is, when it is time.
    pub fn show(&mut self, look: &Look) {
        let text = self.text(look);
        match &mut self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => {
                bar.set_length(look.whole);
                bar.set_position(look.done);
                bar.set_message(text);
            }
            Shown::Lines { every, last } => {
                if last.elapsed() >= *every {
                    *last = Instant::now();
                    let percent = look.done.saturating_mul(100).checked_div(look.whole).unwrap_or(100);
                    note(&format!("{percent} %: {text}"));
                }
            }
        }
    }

    /// Removes the bar, so that what follows stands alone.
    pub fn end(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }

    fn text(&self, look: &Look) -> String {
        let seconds = self.begun.elapsed().as_secs_f64().max(0.001);
        let rate = (look.scored - self.before) as f64 / seconds;
        let mut text = format!(
            "{} rows scored, {rate:.0} a second, {} rejected",
            look.scored, look.rejected
        );
        if !look.last_failure.is_empty() {
            text.push_str(&format!(
                ", {} requests sent again (last failure: {})",
                look.retries, look.last_failure
            ));
        }
        text
    }
}

/// Prints a line to standard error.
pub fn note(text: &str) {
    // With standard error gone there is nobody to tell.
    let _unread = writeln!(io::stderr(), "{text}");
}
