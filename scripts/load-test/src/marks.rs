//! Marks from other programs: each line that is appended to a file names what begins at that time.
//!
//! A file, because anything can append to one, at any time, without waiting for this program and without being broken by its end.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

/// What is read at a time, and the longest line.
const MAX_LINE: usize = 200;
const READ: u64 = 64 * 1024;

#[derive(Debug)]
pub struct Marks {
    path: PathBuf,
    /// Opened when it is there.
    file: Option<File>,
    partial: Vec<u8>,
}

impl Marks {
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            partial: Vec::new(),
        }
    }

    /// The whole lines that were appended since the last time.
    pub fn read(&mut self) -> io::Result<Vec<String>> {
        if self.file.is_none() {
            self.file = match File::open(&self.path) {
                Ok(file) => Some(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
        }
        if let Some(file) = &mut self.file {
            file.take(READ).read_to_end(&mut self.partial)?;
        }
        let mut lines = Vec::new();
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line: String = line.trim().chars().filter(|c| !c.is_control()).take(MAX_LINE).collect();
            if !line.is_empty() {
                lines.push(line);
            }
        }
        // A line that never ends is cut where the longest would.
        self.partial.truncate(4 * MAX_LINE);
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::test_util::Scratch;
    use std::fs::OpenOptions;
    use std::io::Write;

    #[test]
    fn lines_come_once_and_whole_from_a_file_that_appears_later() {
        let scratch = Scratch::new("marks");
        let path = scratch.file("marks", "");
        std::fs::remove_file(&path).expect("removed");
        let mut marks = Marks::new(path.clone());
        assert_eq!(marks.read().expect("no file is no mark"), Vec::<String>::new());

        let append = |text: &str| {
            let mut file = OpenOptions::new().create(true).append(true).open(&path).expect("opens");
            file.write_all(text.as_bytes()).expect("written");
        };
        append("v1 -> v2\nhalf a");
        assert_eq!(marks.read().expect("read"), ["v1 -> v2"]);
        append(" line\n\n\x1b[2Jundo\n");
        assert_eq!(marks.read().expect("read"), ["half a line", "[2Jundo"]);
        append(&"x".repeat(5000));
        append("\n");
        let long = marks.read().expect("read");
        assert!(
            long.len() <= 1 && long.iter().all(|line| line.len() <= MAX_LINE),
            "{long:?}"
        );
    }
}
