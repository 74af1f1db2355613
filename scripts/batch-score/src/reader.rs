//! The thread that reads the input ahead of the requests, batch by batch.

use std::io;
use std::thread;

use tokio::sync::mpsc;

use crate::input::{InputError, Rows};
use crate::row::{Entry, Position};

/// Batches that wait for a request. One is enough to keep the requests busy.
const AHEAD: usize = 1;

/// The rows of one request, with the bad ones between them.
#[derive(Debug)]
pub struct Batch {
    pub entries: Vec<Entry>,
    /// How far the input has been read with them.
    pub end: Position,
}

#[derive(Debug)]
pub enum Step {
    Batch(Batch),
    /// There are no more rows.
    End,
}

/// Starts the thread, which ends with the input, with an error, or when nobody receives any more.
pub fn start(
    mut rows: Box<dyn Rows>,
    most_rows: usize,
    most_bytes: usize,
) -> io::Result<mpsc::Receiver<Result<Step, InputError>>> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let read = move || {
        loop {
            let step = batch(&mut *rows, most_rows, most_bytes);
            let is_last = !matches!(step, Ok(Step::Batch(_)));
            if sender.blocking_send(step).is_err() || is_last {
                return;
            }
        }
    };
    thread::Builder::new().name("reader".to_owned()).spawn(read)?;
    Ok(receiver)
}

/// Reads until there are enough rows or bytes.
fn batch(rows: &mut dyn Rows, most_rows: usize, most_bytes: usize) -> Result<Step, InputError> {
    let mut entries = Vec::new();
    let mut bytes = 0;
    while entries.len() < most_rows && bytes < most_bytes {
        let Some(entry) = rows.next()? else { break };
        bytes += entry.size();
        entries.push(entry);
    }
    let end = rows.position();
    Ok(match entries.is_empty() {
        true => Step::End,
        false => Step::Batch(Batch { entries, end }),
    })
}
