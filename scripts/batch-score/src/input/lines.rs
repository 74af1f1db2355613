//! Lines of a file, of bounded length, with their numbers.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use super::rows::InputError;
use crate::row::Position;

const BUFFER: usize = 128 * 1024;
const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";

/// What [`Lines::append`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    Whole,
    /// There are more bytes than the limit. The rest of the line has been passed over.
    TooLong,
    End,
}

pub(super) struct Lines {
    reader: BufReader<File>,
    offset: u64,
    /// Lines passed so far.
    count: u64,
}

impl Lines {
    /// The lines from the beginning of the file, behind a byte order mark.
    pub(super) fn start(mut file: File) -> Result<Self, InputError> {
        file.seek(SeekFrom::Start(0))?;
        let mut reader = BufReader::with_capacity(BUFFER, file);
        let mut start = Vec::new();
        reader.by_ref().take(3).read_to_end(&mut start)?;
        if start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff") {
            return Err(InputError::Utf16);
        }
        let mut lines = Self {
            reader,
            offset: 0,
            count: 0,
        };
        let offset = if start == UTF8_MARK { 3 } else { 0 };
        lines.go_to(offset, 0)?;
        Ok(lines)
    }

    pub(super) fn position(&self, rows: u64) -> Position {
        Position {
            offset: self.offset,
            rows,
            lines: self.count,
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Goes on at `offset`, which is behind so many lines.
    pub(super) fn go_to(&mut self, offset: u64, lines: u64) -> io::Result<()> {
        self.reader.seek(SeekFrom::Start(offset))?;
        (self.offset, self.count) = (offset, lines);
        Ok(())
    }

    /// Appends the next line with its end to `text`, which then has at most `longest` bytes.
    pub(super) fn append(&mut self, text: &mut Vec<u8>, longest: usize) -> io::Result<Line> {
        let before = self.offset;
        let mut too_long = false;
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                break;
            }
            let end = buffer.iter().position(|&byte| byte == b'\n');
            let length = end.map_or(buffer.len(), |at| at + 1);
            too_long |= text.len() + length > longest;
            if !too_long {
                text.extend_from_slice(&buffer[..length]);
            }
            self.reader.consume(length);
            self.offset += length as u64;
            if end.is_some() {
                break;
            }
        }
        if self.offset == before {
            return Ok(Line::End);
        }
        self.count += 1;
        Ok(if too_long { Line::TooLong } else { Line::Whole })
    }
}

/// The line without its end.
pub(super) fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}
