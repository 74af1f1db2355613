//! The imports between the files of one crate, read from their source.
//!
//! The files are found as the compiler finds them: `mod` by `mod` from `lib.rs`, and `main.rs` beside it. Paths are taken from `use`
//! trees, expressions, types and the tokens of macros. Items under `#[cfg(test)]` are left out, with the files they declare.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, UseTree};

/// The sources of a crate: the text of each file by its path below `src`.
pub(crate) type Sources = BTreeMap<String, String>;
/// The path of a module below the crate's root.
type Module = Vec<String>;

/// An import of one file by another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Import {
    pub(crate) from: String,
    pub(crate) line: usize,
    pub(crate) path: String,
    pub(crate) to: String,
}

/// A crate as files and what they import of each other.
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
    let mut files: BTreeMap<Module, (String, syn::File)> = BTreeMap::new();
    let mut pending = vec![(Module::new(), "lib.rs".to_owned())];
    if sources.contains_key("main.rs") {
        pending.push((vec!["main".to_owned()], "main.rs".to_owned()));
    }
    while let Some((module, file)) = pending.pop() {
        let text = sources.get(&file).ok_or_else(|| format!("{file} is missing"))?;
        let parsed = syn::parse_file(text).map_err(|error| format!("{file}: {error}"))?;
        let mut declared = Vec::new();
        children(&parsed.items, &module, &mut declared);
        for child in declared {
            let path = child.join("/");
            let nested = format!("{path}/mod.rs");
            let file = if sources.contains_key(&nested) {
                nested
            } else {
                format!("{path}.rs")
            };
            pending.push((child, file));
        }
        files.insert(module, (file, parsed));
    }

    let mut all = BTreeSet::new();
    for (module, (file, parsed)) in &files {
        let mut names = BTreeMap::new();
        if file == "main.rs" {
            names.insert(name.replace('-', "_"), Module::new());
        }
        let mut reader = Reader {
            module: module.clone(),
            names,
            found: Vec::new(),
        };
        // Names that are imported or declared below are known before the paths that begin with them.
        for _ in 0..2 {
            reader.found.clear();
            reader.visit_file(parsed);
        }
        let owner = |target: &Module| {
            let prefixes = (0..=target.len()).rev().map(|length| &target[..length]);
            prefixes
                .filter_map(|prefix| files.get(prefix))
                .map(|(file, _)| file)
                .next()
        };
        for found in reader.found {
            let to = owner(&found.target).unwrap_or(file);
            if to != file && found.known.as_ref().and_then(owner) != Some(to) {
                all.insert(Import {
                    from: file.clone(),
                    line: found.line,
                    path: found.path,
                    to: to.clone(),
                });
            }
        }
    }
    let rooms = files
        .keys()
        .filter(|module| module.len() == 1)
        .map(|module| module[0].clone());
    let rooms = rooms.filter(|room| room != "main").collect();
    Ok(Imports { rooms, all })
}

/// The modules with files of their own that `items` of `module` declare.
fn children(items: &[Item], module: &Module, declared: &mut Vec<Module>) {
    for item in items {
        let Item::Mod(child) = item else { continue };
        if is_test(&child.attrs) {
            continue;
        }
        let mut path = module.clone();
        path.push(child.ident.to_string());
        match &child.content {
            Some((_, items)) => children(items, &path, declared),
            None => declared.push(path),
        }
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else {
            return false;
        };
        list.path.is_ident("cfg") && list.tokens.to_string() == "test"
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(syn::ItemConst { attrs, .. })
        | Item::Enum(syn::ItemEnum { attrs, .. })
        | Item::Fn(syn::ItemFn { attrs, .. })
        | Item::Impl(syn::ItemImpl { attrs, .. })
        | Item::Macro(syn::ItemMacro { attrs, .. })
        | Item::Mod(syn::ItemMod { attrs, .. })
        | Item::Static(syn::ItemStatic { attrs, .. })
        | Item::Struct(syn::ItemStruct { attrs, .. })
        | Item::Trait(syn::ItemTrait { attrs, .. })
        | Item::Type(syn::ItemType { attrs, .. })
        | Item::Use(syn::ItemUse { attrs, .. }) => attrs,
        _ => &[],
    }
}

struct Reader {
    /// The module that is being read; inside a file it may be an inline one.
    module: Module,
    /// What the first name of a path stands for: a child module, or what a `use` imported.
    names: BTreeMap<String, Module>,
    found: Vec<Found>,
}

struct Found {
    line: usize,
    /// As it is written.
    path: String,
    target: Module,
    /// What the path's first name stands for, when an import or a declaration says so, which is counted by itself.
    known: Option<Module>,
}

impl Reader {
    fn note(&mut self, line: usize, path: &[String]) -> Option<Module> {
        let (first, rest) = path.split_first()?;
        let known = self.names.get(first).filter(|_| !rest.is_empty());
        let mut target = match (first.as_str(), known) {
            ("crate", _) => Module::new(),
            ("self", _) => self.module.clone(),
            ("super", _) => self.module[..self.module.len().saturating_sub(1)].to_vec(),
            (_, known) => known?.clone(),
        };
        let known = known.cloned();
        for name in rest {
            match name.as_str() {
                "super" => {
                    target.pop();
                }
                name => target.push(name.to_owned()),
            }
        }
        self.found.push(Found {
            line,
            path: path.join("::"),
            target: target.clone(),
            known,
        });
        Some(target)
    }

    fn note_use(&mut self, tree: &UseTree, path: &mut Vec<String>, line: usize) {
        let (leaf, alias) = match tree {
            UseTree::Path(inner) => {
                path.push(inner.ident.to_string());
                self.note_use(&inner.tree, path, inner.ident.span().start().line);
                path.pop();
                return;
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.note_use(tree, path, line);
                }
                return;
            }
            UseTree::Glob(_) => {
                self.note(line, path);
                return;
            }
            UseTree::Name(name) => (&name.ident, &name.ident),
            UseTree::Rename(rename) => (&rename.ident, &rename.rename),
        };
        let (mut leaf_path, mut alias) = (path.clone(), alias.to_string());
        if leaf != "self" {
            leaf_path.push(leaf.to_string());
        } else if alias == "self" {
            alias = path.last().cloned().unwrap_or_default();
        }
        if let Some(target) = self.note(leaf.span().start().line, &leaf_path) {
            self.names.insert(alias, target);
        }
    }

    /// The paths in what a macro gets, which is no syntax yet.
    fn note_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let is_colon = |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(mark)) if mark.as_char() == ':');
        let ident = |at: usize| match tokens.get(at) {
            Some(TokenTree::Ident(name)) => Some(name),
            _ => None,
        };
        let mut at = 0;
        while at < tokens.len() {
            if let TokenTree::Group(group) = &tokens[at] {
                self.note_tokens(group.stream());
            }
            let is_first =
                at == 0 || !matches!(&tokens[at - 1], TokenTree::Punct(mark) if ":$".contains(mark.as_char()));
            if let Some(first) = ident(at).filter(|_| is_first) {
                let mut path = vec![first.to_string()];
                while let (true, true, Some(next)) = (is_colon(at + 1), is_colon(at + 2), ident(at + 3)) {
                    path.push(next.to_string());
                    at += 3;
                }
                if path.len() > 1 {
                    self.note(first.span().start().line, &path);
                }
            }
            at += 1;
        }
    }
}

impl Visit<'_> for Reader {
    fn visit_item(&mut self, item: &Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &ImplItem) {
        let is_test = match item {
            ImplItem::Fn(function) => is_test(&function.attrs),
            ImplItem::Const(constant) => is_test(&constant.attrs),
            _ => false,
        };
        if !is_test {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &syn::ItemMod) {
        let (name, line) = (item.ident.to_string(), item.ident.span().start().line);
        self.module.push(name.clone());
        let child = self.module.clone();
        visit::visit_item_mod(self, item);
        self.module.pop();
        if item.content.is_none() {
            self.found.push(Found {
                line,
                path: format!("mod {name}"),
                target: child.clone(),
                known: None,
            });
        }
        self.names.insert(name, child);
    }

    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        if item.leading_colon.is_none() {
            self.note_use(&item.tree, &mut Vec::new(), item.use_token.span.start().line);
        }
    }

    fn visit_path(&mut self, path: &syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if path.leading_colon.is_none() && names.len() > 1 {
            self.note(path.segments[0].ident.span().start().line, &names);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, macro_: &syn::Macro) {
        self.visit_path(&macro_.path);
        self.note_tokens(macro_.tokens.clone());
    }

    /// `pub(super)` and the like import nothing.
    fn visit_visibility(&mut self, _: &syn::Visibility) {}
}
