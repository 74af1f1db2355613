//! Pipes whose reader may end before its input does. The writer then dies of SIGPIPE, and under `pipefail` the pipe has failed
//! although the reader has found what it looked for. Whether that happens depends on how much the writer has left to write.

use std::iter::Peekable;
use std::str::Chars;

use crate::shell::shell_scripts;

#[test]
fn no_pipe_ends_in_a_reader_that_may_leave_early() {
    let scripts = shell_scripts();
    assert!(scripts.len() > 25, "{}", scripts.len());
    let mut faults = String::new();
    for (path, text) in &scripts {
        for (line, reader) in early_readers(text) {
            faults += &format!("\n{}:{line}: | {reader}", path.display());
        }
    }
    assert!(
        faults.is_empty(),
        "capture the output and read it from a here-string, or let the reader read to the end:{faults}"
    );
}

#[test]
fn a_reader_that_may_leave_early_is_found_with_its_line() {
    for (script, line) in [
        ("a | grep -q x", 1),
        ("it=\"isn't\"\nif ! a 2>&1 | LC_ALL=C grep -F -qx 'b | c'; then", 2),
        ("a | grep --quiet x", 1),
        ("a | egrep -m1 x", 1),
        ("a | grep --max-count=1 x", 1),
        ("b=\"it's $(a 'b' | sort | head -n 1)\"", 1),
        ("a $(b | head)", 1),
        ("a |\n  # why\n  head", 3),
        ("a \\\n  | tee b |& command /usr/bin/head -c 5", 2),
        ("cat <<EOF | head\n", 1),
        ("a | sed 3q", 1),
        ("a | sed -n '/x/{p;q}'", 1),
        ("a | sed -n -e '$p' -e '/x/ q1'", 1),
        ("a | awk '/x/ { print; exit }'", 1),
        ("a | read -r b", 1),
        ("a | { read -r b; echo \"$b\"; }", 1),
    ] {
        let found = early_readers(script);
        assert_eq!(found.first().map(|found| found.0), Some(line), "{script}: {found:?}");
    }
    for script in [
        "# a | head",
        "a || head -n 1 b",
        "grep -q x <<<\"$a\"",
        "a | grep x >/dev/null && grep -q y z",
        "a | grep -c 'q' | tail -n 1",
        "a | sed 's/q/r/; s|x|q|'",
        "a | awk '{ n++ } END { exit n }'",
        "a | while read -r b; do echo \"$b\"; done",
        "case $a in x | head) ;; esac",
        "echo 'a | head' \"a | head\"",
        "cat <<'EOF'\nisn't a | head\nEOF\n",
    ] {
        assert_eq!(early_readers(script), [], "{script}");
    }
}

/// The readers behind a pipe that may end before their input does, with their lines.
fn early_readers(script: &str) -> Vec<(usize, String)> {
    let piped = Reader::new(script)
        .commands()
        .into_iter()
        .filter(|command| command.is_piped);
    piped
        .filter(|command| may_leave_early(&command.words))
        .map(|command| (command.line, command.words.join(" ")))
        .collect()
}

fn may_leave_early(words: &[String]) -> bool {
    let is_before = |word: &&String| ["!", "{", "if", "command"].contains(&word.as_str()) || word.contains('=');
    let mut words = words.iter().skip_while(is_before);
    let program = words.next().map(String::as_str).unwrap_or_default();
    match program.rsplit('/').next().unwrap_or_default() {
        "head" | "read" => true,
        "grep" | "egrep" | "fgrep" => words.any(|word| match word.strip_prefix("--") {
            Some(long) => ["quiet", "silent", "max-count"]
                .iter()
                .any(|name| long.starts_with(name)),
            None => word.starts_with('-') && word.contains(['q', 'm']),
        }),
        "sed" => words.any(|word| word.split([';', '{', '}', '\n']).any(quits)),
        "awk" => words.any(|word| word.split("END").next().is_some_and(|main| main.contains("exit"))),
        _ => false,
    }
}

/// Whether a command of sed is `q`, after an address or without one.
fn quits(command: &str) -> bool {
    let command = command.trim();
    let command = match command.strip_prefix('/') {
        Some(pattern) => pattern.rsplit('/').next().unwrap_or_default(),
        None => command.trim_start_matches(|c: char| c.is_ascii_digit() || c == '$'),
    };
    let status = command.trim_start().strip_prefix(['q', 'Q']);
    status.is_some_and(|status| status.bytes().all(|byte| byte.is_ascii_digit()))
}

#[derive(Debug, Default)]
struct Command {
    line: usize,
    words: Vec<String>,
    /// It reads what the command before it writes.
    is_piped: bool,
}

/// A reader of shell, as far as it takes to tell commands, pipes, quotes and here-documents apart.
struct Reader<'a> {
    script: Peekable<Chars<'a>>,
    line: usize,
    /// The last character ended a line.
    ends_line: bool,
    /// Double quotes and parentheses that are open.
    open: Vec<char>,
    word: String,
    command: Command,
    commands: Vec<Command>,
    /// The end of the here-document that begins on the next line.
    here: Option<String>,
}

impl<'a> Reader<'a> {
    fn new(script: &'a str) -> Self {
        Self {
            script: script.chars().peekable(),
            line: 1,
            ends_line: false,
            open: Vec::new(),
            word: String::new(),
            command: Command::default(),
            commands: Vec::new(),
            here: None,
        }
    }

    fn commands(mut self) -> Vec<Command> {
        while let Some(c) = self.next() {
            match (c, self.open.last() == Some(&'"')) {
                ('\\', _) => drop(self.next()),
                ('"', true) => drop(self.open.pop()),
                ('"', false) => self.open.push('"'),
                ('$', _) if self.script.peek() == Some(&'(') => {
                    self.next();
                    self.open.push('(');
                    self.end_command(false);
                }
                (c, true) => self.word.push(c),
                ('\'', false) => self.until('\''),
                ('#', false) if self.word.is_empty() => self.comment(),
                ('<', false) if self.script.peek() == Some(&'<') => self.here_document(),
                ('|', false) => {
                    let is_or = self.script.next_if_eq(&'|').is_some();
                    self.script.next_if_eq(&'&');
                    self.end_command(!is_or);
                }
                (')', false) if self.open.last() == Some(&'(') => {
                    self.open.pop();
                    self.end_command(false);
                }
                // The end of a pattern of `case`, which is no command.
                (')', false) => self.command = Command::default(),
                ('(', false) => self.open.push('('),
                (';' | '&', false) => self.end_command(false),
                ('\n', false) => self.end_line(),
                (c, false) if c.is_whitespace() => self.end_word(),
                (c, false) => self.word.push(c),
            }
        }
        self.end_command(false);
        self.commands
    }

    fn next(&mut self) -> Option<char> {
        self.line += usize::from(self.ends_line);
        let next = self.script.next();
        self.ends_line = next == Some('\n');
        next
    }

    /// Takes up what is between single quotes.
    fn until(&mut self, end: char) {
        while let Some(c) = self.next().filter(|c| *c != end) {
            self.word.push(c);
        }
    }

    fn comment(&mut self) {
        while self.script.next_if(|c| *c != '\n').is_some() {}
    }

    fn here_document(&mut self) {
        self.next();
        if self.script.next_if_eq(&'<').is_some() {
            return;
        }
        let mut end = String::new();
        while let Some(c) = self.script.next_if(|c| c.is_alphabetic() || "-'\"".contains(*c)) {
            end.push(c);
        }
        let end = end.trim_matches(['-', '\'', '"']).to_owned();
        self.here = Some(end).filter(|end| !end.is_empty());
    }

    fn end_line(&mut self) {
        self.end_word();
        // What follows a pipe may be on a later line.
        if !(self.command.is_piped && self.command.words.is_empty()) {
            self.end_command(false);
        }
        let Some(end) = self.here.take() else { return };
        let mut line = String::new();
        while let Some(c) = self.next() {
            match c {
                '\n' if line.trim() == end => return,
                '\n' => line.clear(),
                c => line.push(c),
            }
        }
    }

    fn end_word(&mut self) {
        if !self.word.is_empty() {
            if self.command.words.is_empty() {
                self.command.line = self.line;
            }
            self.command.words.push(std::mem::take(&mut self.word));
        }
    }

    fn end_command(&mut self, is_piped: bool) {
        self.end_word();
        let next = Command {
            is_piped,
            ..Command::default()
        };
        self.commands.push(std::mem::replace(&mut self.command, next));
    }
}
