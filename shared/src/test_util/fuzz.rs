//! A fuzzer for the stable toolchain: mutates known inputs, keeps those that made the code under test behave in a
//! new way, and stops after a while.
//!
//! `FUZZ_SECONDS` (2) is how long it runs, `FUZZ_SEED` (0) where it starts; the same seed tries the same inputs in
//! the same order. An input that fails is written to a file whose path stands in the message: fix the fault, then
//! add the file to the regressions.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::{Duration, Instant};
use std::{env, fs};

use fastrand::Rng;

/// Inputs are not grown past this.
const LONGEST: usize = 4096;
const MOST_KEPT: usize = 10_000;
const MOST_MUTATIONS: usize = 6;

/// Bytes that parsers stumble over.
const AWKWARD: &[u8] = b"\0\t\n\r \"%,./0:;=?@[\\]\x7f\x80\xff";

/// The outcome of a run.
#[derive(Debug, Clone, Copy)]
pub struct Fuzzed {
    /// Inputs that were tried.
    pub tried: u64,
    /// Different things that the code under test did.
    pub behaviours: usize,
}

/// Runs `check` on every file of `regressions`, on every seed, and then on mutations of them until the time is up.
/// `check` panics when something is wrong, and returns what the code did, so that inputs that make it do something
/// new are mutated further.
///
/// # Panics
/// When `check` does.
pub fn fuzz<B: Hash>(regressions: &Path, seeds: &[&[u8]], words: &[&[u8]], check: impl Fn(&[u8]) -> B) -> Fuzzed {
    let time = Duration::from_secs_f64(variable("FUZZ_SECONDS", 2.0));
    let mut random = Rng::with_seed(variable("FUZZ_SEED", 0));
    let mut corpus: Vec<Vec<u8>> = files(regressions);
    corpus.extend(seeds.iter().map(|seed| seed.to_vec()));
    assert!(!corpus.is_empty(), "there is nothing to mutate");

    let mut behaviours = HashSet::new();
    for input in &corpus {
        behaviours.insert(run(input, &check));
    }
    let end = Instant::now() + time;
    let mut tried = 0_u64;
    while Instant::now() < end {
        for _ in 0..256 {
            let input = mutate(&corpus, words, &mut random);
            let is_new = behaviours.insert(run(&input, &check));
            if is_new && corpus.len() < MOST_KEPT {
                corpus.push(input);
            }
        }
        tried += 256;
    }
    assert!(tried > 0, "no time to try anything");
    Fuzzed {
        tried,
        behaviours: behaviours.len(),
    }
}

fn variable<T: std::str::FromStr>(name: &str, default: T) -> T {
    match env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}

fn files(directory: &Path) -> Vec<Vec<u8>> {
    let entries =
        fs::read_dir(directory).unwrap_or_else(|error| panic!("cannot read {}: {error}", directory.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
    paths.sort();
    let read = |path| fs::read(path).expect("a readable file");
    paths.iter().map(read).collect()
}

fn run<B: Hash>(input: &[u8], check: &impl Fn(&[u8]) -> B) -> u64 {
    let checked = catch_unwind(AssertUnwindSafe(|| check(input)));
    let behaviour = checked.unwrap_or_else(|panic| {
        let path = env::temp_dir().join(format!("fuzz-{:016x}", hash(&input)));
        fs::write(&path, input).expect("the temporary directory is writable");
        let shown = String::from_utf8_lossy(input).into_owned();
        resume_unwind(match panic.downcast::<String>() {
            Ok(message) => Box::new(format!("{message}\ninput in {}: {shown:?}", path.display())),
            Err(panic) => panic,
        })
    });
    hash(&behaviour)
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn mutate(corpus: &[Vec<u8>], words: &[&[u8]], random: &mut Rng) -> Vec<u8> {
    let mut input = corpus[random.usize(..corpus.len())].clone();
    for _ in 0..random.usize(1..=MOST_MUTATIONS) {
        let at = random.usize(..=input.len());
        let end = random.usize(at..=input.len().min(at + 32));
        match random.u8(..8) {
            0 if at < input.len() => input[at] ^= 1 << random.u8(..8),
            1 if at < input.len() => input[at] = AWKWARD[random.usize(..AWKWARD.len())],
            2 => input.insert(at, AWKWARD[random.usize(..AWKWARD.len())]),
            3 => drop(input.drain(at..end)),
            4 => {
                let again = input[at..end].to_vec();
                input.splice(end..end, again);
            }
            5 => input.truncate(at),
            6 => {
                let other = &corpus[random.usize(..corpus.len())];
                let from = random.usize(..=other.len());
                input.splice(at.., other[from..].iter().copied());
            }
            _ if !words.is_empty() => {
                let word = words[random.usize(..words.len())];
                input.splice(at..end, word.iter().copied());
            }
            _ => {}
        }
        input.truncate(LONGEST);
    }
    input
}
