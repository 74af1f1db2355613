//! The imports between the files of one crate, read from the tokens of their source.
//!
//! The files are found as the compiler finds them: `mod` by `mod` from `lib.rs`, and `main.rs` beside it. A path is an import wherever it
//! appears: in `use`, in a type, in an expression, in what a macro gets. Items under `#[cfg(test)]` are left out, with the files that they
//! declare.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};

/// The sources of a crate: the text of each file by its path below `src`.
pub(crate) type Sources = BTreeMap<String, String>;
/// The path of a module below the crate's root.
type Module = Vec<String>;

/// An import of one file by another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Import {
    pub(crate) from: String,
    pub(crate) line: usize,
    /// The path as it is written.
    pub(crate) path: String,
    pub(crate) to: String,
}

/// A crate as files and their imports of each other.
#[derive(Debug)]
pub(crate) struct Imports {
    /// The top-level modules that are not `#[cfg(test)]`.
    pub(crate) rooms: BTreeSet<String>,
    pub(crate) all: BTreeSet<Import>,
}

/// The room of a file: its top-level module. `lib.rs` is in none.
pub(crate) fn room(file: &str) -> Option<&str> {
    let room = file.split(['/', '.']).next()?;
    (room != "lib").then_some(room)
}

/// Reads the crate `name`.
pub(crate) fn read(name: &str, sources: &Sources) -> Result<Imports, String> {
    let mut files: BTreeMap<Module, String> = BTreeMap::new();
    let mut found = Vec::new();
    let mut pending = vec![(Module::new(), "lib.rs".to_owned())];
    if sources.contains_key("main.rs") {
        pending.push((vec!["main".to_owned()], "main.rs".to_owned()));
    }
    while let Some((module, file)) = pending.pop() {
        let text = sources.get(&file).ok_or_else(|| format!("{file} is missing"))?;
        let tokens: TokenStream = text.parse().map_err(|error| format!("{file}: {error}"))?;
        let mut reader = Reader {
            module: module.clone(),
            ..Reader::default()
        };
        if file == "main.rs" {
            reader.names.insert(name.replace('-', "_"), Module::new());
        }
        reader.read(tokens.clone());
        // Once more, now that every name that an import or a declaration introduces is known.
        reader.paths.clear();
        reader.read(tokens);
        for child in reader.children {
            let path = child.join("/");
            pending.push((child, format!("{path}.rs")));
        }
        found.extend(reader.paths.into_iter().map(|path| (file.clone(), path)));
        files.insert(module, file);
    }

    let owner = |target: &Module| {
        let prefixes = (0..=target.len()).rev().map(|length| &target[..length]);
        prefixes.filter_map(|prefix| files.get(prefix)).next()
    };
    let imports = found.iter().filter_map(|(from, path)| {
        let to = owner(&path.target).filter(|to| *to != from)?;
        let is_known = path.known.as_ref().is_some_and(|known| owner(known) == Some(to));
        (!is_known).then(|| Import {
            from: from.clone(),
            line: path.line,
            path: path.written.clone(),
            to: to.clone(),
        })
    });
    let rooms = files
        .keys()
        .filter(|module| module.len() == 1)
        .map(|module| module[0].clone());
    Ok(Imports {
        all: imports.collect(),
        rooms: rooms.filter(|room| room != "main").collect(),
    })
}

/// A path in a file.
struct Path {
    line: usize,
    written: String,
    /// The path from the crate's root.
    target: Module,
    /// The module that the path's first name stands for by an import or a declaration, which is an import by itself.
    known: Option<Module>,
}

#[derive(Default)]
struct Reader {
    /// The module that is being read; inside a file it may be an inline one.
    module: Module,
    /// The names that imports and declarations introduced.
    names: BTreeMap<String, Module>,
    paths: Vec<Path>,
    /// Modules with files of their own.
    children: BTreeSet<Module>,
}

impl Reader {
    fn read(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            at += match &tokens[at..] {
                [TokenTree::Punct(mark), TokenTree::Group(attribute), rest @ ..]
                    if mark.as_char() == '#' && attribute.delimiter() == Delimiter::Bracket =>
                {
                    let is_test = attribute.stream().to_string().replace(' ', "") == "cfg(test)";
                    2 + if is_test { item_length(rest) } else { 0 }
                }
                // A visibility imports nothing.
                [TokenTree::Ident(word), TokenTree::Group(_), ..] if word == "pub" => 2,
                [TokenTree::Ident(word), TokenTree::Ident(name), rest @ ..] if word == "mod" => {
                    self.read_module(name, rest.first());
                    3
                }
                [TokenTree::Ident(word), rest @ ..] if word == "use" => {
                    let length = rest.iter().take_while(|token| !is_mark(token, ';')).count();
                    self.read_use(&rest[..length], &[]);
                    1 + length
                }
                [TokenTree::Ident(first), ..] if at == 0 || !is_mark(&tokens[at - 1], '$') => {
                    let (names, length) = path_at(&tokens[at..]);
                    if names.len() > 1 {
                        self.note(first, &names);
                    }
                    length
                }
                [TokenTree::Group(group), ..] => {
                    self.read(group.stream());
                    1
                }
                // What follows `::` belongs to a path that does not begin with a name.
                [one, other, ..] if is_mark(one, ':') && is_mark(other, ':') => 2 + path_at(&tokens[at + 2..]).1,
                _ => 1,
            };
        }
    }

    /// A declaration of `name`, with its content or the semicolon behind it.
    fn read_module(&mut self, name: &Ident, content: Option<&TokenTree>) {
        let mut child = self.module.clone();
        child.push(name.to_string());
        self.names.insert(name.to_string(), child.clone());
        if let Some(TokenTree::Group(content)) = content {
            let parent = std::mem::replace(&mut self.module, child);
            self.read(content.stream());
            self.module = parent;
            return;
        }
        self.children.insert(child.clone());
        self.paths.push(Path {
            line: name.span().start().line,
            written: format!("mod {name}"),
            target: child,
            known: None,
        });
    }

    /// One or several trees of a `use` below `parent`.
    fn read_use(&mut self, tokens: &[TokenTree], parent: &[String]) {
        for tree in tokens.split(|token| is_mark(token, ',')) {
            let Some(TokenTree::Ident(first)) = tree.first() else {
                continue;
            };
            let (names, length) = path_at(tree);
            let mut path = [parent, &names].concat();
            if let Some(TokenTree::Group(children)) = tree.get(length + 2) {
                let children: Vec<TokenTree> = children.stream().into_iter().collect();
                self.read_use(&children, &path);
                continue;
            }
            if !parent.is_empty() && path.last().is_some_and(|name| name == "self") {
                path.pop();
            }
            let target = self.note(first, &path);
            let alias = match tree.last() {
                Some(TokenTree::Ident(alias)) if length < tree.len() => Some(alias.to_string()),
                _ => path.last().cloned(),
            };
            if let (Some(target), Some(alias)) = (target, alias) {
                self.names.insert(alias, target);
            }
        }
    }

    /// Notes a path that leads to a module of this crate, and returns where.
    fn note(&mut self, first: &Ident, path: &[String]) -> Option<Module> {
        let (start, rest) = path.split_first()?;
        let known = self.names.get(start).filter(|_| !rest.is_empty()).cloned();
        let mut target = match start.as_str() {
            "crate" => Module::new(),
            "self" => self.module.clone(),
            "super" => self.module[..self.module.len().saturating_sub(1)].to_vec(),
            _ => known.clone()?,
        };
        for name in rest {
            match name.as_str() {
                "super" => drop(target.pop()),
                name => target.push(name.to_owned()),
            }
        }
        self.paths.push(Path {
            line: first.span().start().line,
            written: path.join("::"),
            target: target.clone(),
            known,
        });
        Some(target)
    }
}

fn is_mark(token: &TokenTree, mark: char) -> bool {
    matches!(token, TokenTree::Punct(found) if found.as_char() == mark)
}

/// The names of the path that `tokens` begin with, and its length in tokens.
fn path_at(tokens: &[TokenTree]) -> (Vec<String>, usize) {
    let Some(TokenTree::Ident(first)) = tokens.first() else {
        return (Vec::new(), 0);
    };
    let (mut names, mut length) = (vec![first.to_string()], 1);
    while let [one, other, TokenTree::Ident(next), ..] = &tokens[length..]
        && is_mark(one, ':')
        && is_mark(other, ':')
    {
        names.push(next.to_string());
        length += 3;
    }
    (names, length)
}

/// The length of an item in tokens: to its block or its semicolon.
fn item_length(tokens: &[TokenTree]) -> usize {
    let is_block =
        |token: &TokenTree| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
    let end = tokens.iter().position(|token| is_block(token) || is_mark(token, ';'));
    end.map_or(tokens.len(), |end| end + 1)
}
