//! Which route a path belongs to, at a cost that does not grow with the number of routes.
//!
//! One map holds every configured path. A request's path is looked up whole, then cut where a configured prefix could
//! end: at each of the few lengths that prefixes have, longest first, if a segment ends there.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::config::PathMatch;

/// A path stands for a place in the list of routes it was built from.
#[derive(Debug, Default)]
pub(super) struct Matcher {
    // Keys come from the configuration alone, so no client can fill a bucket: the hash may be a fast one.
    paths: HashMap<Box<str>, Places, FixedState>,
    /// Length of the longest key: most paths that are longer need not be hashed whole.
    longest: usize,
    /// The lengths of the prefixes, each once, the longest first.
    prefix_lengths: Vec<usize>,
}

#[derive(Debug, Default)]
struct Places {
    exact: Option<usize>,
    prefix: Option<usize>,
}

impl Matcher {
    /// A table of `matches`; the first of two equal ones counts.
    pub(super) fn new<'a>(matches: impl IntoIterator<Item = &'a PathMatch>) -> Self {
        let mut matcher = Self::default();
        for (place, path_match) in matches.into_iter().enumerate() {
            let (PathMatch::Exact(path) | PathMatch::Prefix(path)) = path_match;
            let places = matcher.paths.entry(path.as_str().into()).or_default();
            match path_match {
                PathMatch::Exact(_) => places.exact.get_or_insert(place),
                PathMatch::Prefix(_) => places.prefix.get_or_insert(place),
            };
            matcher.longest = matcher.longest.max(path.len());
            if matches!(path_match, PathMatch::Prefix(_)) {
                matcher.prefix_lengths.push(path.len());
            }
        }
        matcher.prefix_lengths.sort_unstable_by(|one, other| other.cmp(one));
        matcher.prefix_lengths.dedup();
        matcher
    }

    /// An exact path beats every prefix, a longer prefix a shorter one. A prefix takes whole segments: `/predict`
    /// takes `/predict` and `/predict/x`, but not `/predictx`.
    pub(super) fn find(&self, path: &str) -> Option<usize> {
        self.whole(path).or_else(|| {
            let ends_segment = |length: &&usize| path.as_bytes().get(**length) == Some(&b'/');
            let prefix = |length: &usize| self.paths.get(&path[..*length])?.prefix;
            self.prefix_lengths.iter().filter(ends_segment).find_map(prefix)
        })
    }

    /// The route that is configured with just this path.
    fn whole(&self, path: &str) -> Option<usize> {
        if path.len() > self.longest {
            return None;
        }
        let places = self.paths.get(path)?;
        places.exact.or(places.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The rule as it is written down, one route after the other.
    fn model(matches: &[PathMatch], path: &str) -> Option<usize> {
        let rank = |path_match: &PathMatch| match path_match {
            PathMatch::Exact(exact) => (path == exact).then_some(usize::MAX),
            PathMatch::Prefix(prefix) => {
                let below = path.strip_prefix(prefix.as_str())?;
                (below.is_empty() || below.starts_with('/')).then_some(prefix.len())
            }
        };
        let ranked = matches
            .iter()
            .enumerate()
            .filter_map(|(at, one)| Some((rank(one)?, at)));
        ranked
            .max_by_key(|(rank, at)| (*rank, usize::MAX - at))
            .map(|(_, at)| at)
    }

    /// Paths of few and similar segments, so that tables and paths meet: a path that begins like a prefix, one that is longer
    /// by a letter, one with a trailing slash.
    fn path() -> impl Strategy<Value = String> {
        let segment = prop::sample::select(vec!["a", "b", "ab", "a-", "", "ä", "%2F"]);
        prop::collection::vec(segment, 0..5)
            .prop_map(|segments| segments.iter().map(|text| format!("/{text}")).collect())
    }

    fn path_match() -> impl Strategy<Value = PathMatch> {
        (path(), any::<bool>()).prop_map(|(path, exact)| match exact {
            true => PathMatch::Exact(path),
            false => PathMatch::Prefix(path.trim_end_matches('/').to_owned()),
        })
    }

    proptest! {
        #[test]
        fn every_path_finds_what_a_look_at_all_routes_finds(
            matches in prop::collection::vec(path_match(), 0..40),
            paths in prop::collection::vec(prop_oneof![9 => path(), 1 => ".{0,8}"], 1..40),
        ) {
            let matcher = Matcher::new(&matches);
            for path in paths {
                prop_assert_eq!(matcher.find(&path), model(&matches, &path), "{}", path);
            }
        }
    }

    #[test]
    fn a_thousand_routes_are_told_apart() {
        let matches: Vec<PathMatch> = (0..1_000)
            .map(|number| PathMatch::Prefix(format!("/model-{number}")))
            .collect();
        let matcher = Matcher::new(&matches);
        for number in 0..1_000 {
            assert_eq!(matcher.find(&format!("/model-{number}/predict")), Some(number));
        }
        assert_eq!(matcher.find("/model-1000"), None);
        assert_eq!(matcher.find("/model-"), None);
    }
}
