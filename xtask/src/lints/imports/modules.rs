// SPDX-License-Identifier: GPL-2.0
//! Modules of a crate, and the files to which the paths in them lead.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;

use super::SourceFile;

/// A path as a list of identifiers, which may include `crate`, `self` and `super`.
pub(super) type Segments = Vec<String>;

/// Maximum number of renames and globs that are followed, so that circles of them end.
const DEPTH: usize = 16;

/// A module.
#[derive(Debug, Default)]
struct Module {
    /// File that contains the module.
    file: PathBuf,
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
    /// Names that the module defines.
    items: BTreeSet<String>,
    /// Macros that the module defines for the root of the crate.
    exported: BTreeSet<String>,
    /// Names that the module imports, with the paths for which they stand.
    imports: BTreeMap<String, Segments>,
    /// Modules of which it imports all names.
    globs: Vec<Segments>,
    /// Paths in the module, each with its line.
    paths: Vec<(usize, Segments)>,
}

/// Modules of a crate, except those that are for tests only.
#[derive(Debug)]
pub(super) struct Modules {
    modules: Vec<Module>,
}

/// Target of a path.
#[derive(Clone, Copy, Debug)]
enum Target {
    Module(usize),
    /// An item that is defined in this module.
    Item(usize),
}

/// An import: one file names something that another one defines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Import {
    pub(super) from: PathBuf,
    pub(super) to: PathBuf,
    pub(super) line: usize,
    /// Name of the imported item.
    pub(super) name: String,
}

impl Modules {
    /// Reads a crate, beginning with its root file.
    pub(super) fn read(root: &Path, files: &[SourceFile]) -> Result<Self> {
        let mut this = Self {
            modules: Vec::new(),
        };
        let directory = root.parent().unwrap_or(Path::new("")).to_owned();
        this.read_file(root, &directory, None, files)?;
        this.export_macros();
        Ok(this)
    }

    /// Makes the root import the macros that modules export to it.
    fn export_macros(&mut self) {
        let mut exported = BTreeMap::new();
        for (index, module) in self.modules.iter().enumerate() {
            for name in &module.exported {
                let mut path = self.path_of(index);
                path.push(name.clone());
                exported.insert(name.clone(), path);
            }
        }
        if let Some(root) = self.modules.first_mut() {
            root.imports.extend(exported);
        }
    }

    /// Returns the path of a module, from `crate` on.
    fn path_of(&self, index: usize) -> Segments {
        let parent = self.modules.get(index).and_then(|module| module.parent);
        let Some(parent) = parent else {
            return vec!["crate".to_owned()];
        };
        let mut path = self.path_of(parent);
        let children = self.modules.get(parent).map(|module| &module.children);
        let name = children.and_then(|children| children.iter().find(|(_, &child)| child == index));
        path.extend(name.map(|(name, _)| name.clone()));
        path
    }

    fn read_file(
        &mut self,
        path: &Path,
        directory: &Path,
        parent: Option<usize>,
        files: &[SourceFile],
    ) -> Result<usize> {
        let text = files
            .iter()
            .find(|file| file.path == path)
            .map(|file| &file.text)
            .with_context(|| format!("no file {}", path.display()))?;
        let file =
            syn::parse_file(text).with_context(|| format!("cannot parse {}", path.display()))?;
        self.add(path, directory, parent, &file.items, files)
    }

    /// Adds a module whose own modules are in `directory`.
    fn add(
        &mut self,
        path: &Path,
        directory: &Path,
        parent: Option<usize>,
        items: &[syn::Item],
        files: &[SourceFile],
    ) -> Result<usize> {
        let index = self.modules.len();
        let mut reader = Reader::default();
        let mut children = Vec::new();
        for item in items.iter().filter(|item| !is_for_tests(item)) {
            match item {
                syn::Item::Mod(module) => children.push(module),
                item => reader.item(item),
            }
        }
        self.modules.push(Module {
            file: path.to_owned(),
            parent,
            ..reader.module
        });
        for child in children {
            let name = child.ident.to_string();
            let below = directory.join(&name);
            let added = match &child.content {
                Some((_, items)) => self.add(path, &below, Some(index), items, files)?,
                None => match path_attribute(&child.attrs) {
                    Some(given) => {
                        let place = normal(&path.parent().unwrap_or(Path::new("")).join(given));
                        let directory = place.parent().unwrap_or(Path::new("")).to_owned();
                        self.read_file(&place, &directory, Some(index), files)?
                    }
                    None => {
                        let flat = below.with_extension("rs");
                        let place = match files.iter().any(|file| file.path == flat) {
                            true => flat,
                            false => below.join("mod.rs"),
                        };
                        self.read_file(&place, &below, Some(index), files)?
                    }
                },
            };
            if let Some(module) = self.modules.get_mut(index) {
                module.children.insert(name, added);
            }
        }
        Ok(index)
    }

    /// Returns all imports from one file of the crate to another.
    pub(super) fn imports(&self) -> BTreeSet<Import> {
        let mut imports = BTreeSet::new();
        for (index, module) in self.modules.iter().enumerate() {
            for (line, path) in &module.paths {
                let Some(Target::Item(to)) = self.resolve(index, path, 0) else {
                    continue;
                };
                let Some(target) = self.modules.get(to) else {
                    continue;
                };
                if target.file != module.file {
                    imports.insert(Import {
                        from: module.file.clone(),
                        to: target.file.clone(),
                        line: *line,
                        name: path.last().cloned().unwrap_or_default(),
                    });
                }
            }
        }
        imports
    }

    /// Returns the target of a path in a module, or `None` if the path leaves the crate.
    fn resolve(&self, module: usize, path: &[String], depth: usize) -> Option<Target> {
        let mut place = module;
        let mut segments = path.iter().peekable();
        let mut inside = false;
        while let Some(name) = segments.peek().map(|name| name.as_str()) {
            place = match name {
                "crate" => 0,
                "self" => place,
                "super" => self.modules.get(place)?.parent?,
                _ => break,
            };
            inside = true;
            segments.next();
        }
        for name in segments {
            match self.look_up(place, name, depth) {
                Some(Target::Module(child)) => place = child,
                Some(item) => return Some(item),
                // The name comes from a macro, or from outside of the crate.
                None => return inside.then_some(Target::Item(place)),
            }
            inside = true;
        }
        inside.then_some(Target::Module(place))
    }

    /// Returns the target of a name in a module.
    fn look_up(&self, place: usize, name: &str, depth: usize) -> Option<Target> {
        let module = self.modules.get(place)?;
        if let Some(&child) = module.children.get(name) {
            return Some(Target::Module(child));
        }
        if module.items.contains(name) {
            return Some(Target::Item(place));
        }
        if depth >= DEPTH {
            return None;
        }
        if let Some(path) = module.imports.get(name) {
            // `use a::a` names itself if `a` is not a module here.
            if path.first().map(String::as_str) != Some(name) || path.len() > 1 {
                return self.resolve_import(place, path, depth + 1);
            }
        }
        module
            .globs
            .iter()
            .find_map(|glob| match self.resolve_import(place, glob, depth + 1)? {
                Target::Module(from) if from != place => self.look_up(from, name, depth + 1),
                _ => None,
            })
    }

    /// Returns the target of an import, whose first name is not an import of the same module.
    fn resolve_import(&self, place: usize, path: &[String], depth: usize) -> Option<Target> {
        let first = path.first()?.as_str();
        let module = self.modules.get(place)?;
        let known = matches!(first, "crate" | "self" | "super")
            || module.children.contains_key(first)
            || module
                .imports
                .get(first)
                .is_some_and(|other| other.first().map(String::as_str) != Some(first));
        known.then(|| self.resolve(place, path, depth)).flatten()
    }
}

/// Visitor that collects what a module contains, without the contents of modules in it.
#[derive(Default)]
struct Reader {
    module: Module,
}

impl Reader {
    fn item(&mut self, item: &syn::Item) {
        if let Some(name) = item_name(item) {
            if attributes(item)
                .iter()
                .any(|a| a.path().is_ident("macro_export"))
            {
                self.module.exported.insert(name.clone());
            }
            self.module.items.insert(name);
        }
        self.visit_item(item);
    }

    fn path(&mut self, line: usize, path: Segments) {
        self.module.paths.push((line, path));
    }

    fn use_tree(&mut self, tree: &syn::UseTree, mut path: Segments) {
        match tree {
            syn::UseTree::Path(step) => {
                path.push(step.ident.to_string());
                self.use_tree(&step.tree, path);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.use_tree(tree, path.clone());
                }
            }
            syn::UseTree::Name(name) => self.import(&name.ident, &name.ident, path),
            syn::UseTree::Rename(rename) => self.import(&rename.ident, &rename.rename, path),
            syn::UseTree::Glob(_) => self.module.globs.push(path),
        }
    }

    fn import(&mut self, name: &syn::Ident, alias: &syn::Ident, mut path: Segments) {
        let line = name.span().start().line;
        if name != "self" {
            path.push(name.to_string());
        }
        let alias = match alias == "self" {
            true => path.last().cloned().unwrap_or_default(),
            false => alias.to_string(),
        };
        self.module.imports.insert(alias, path.clone());
        self.path(line, path);
    }

    /// Collects the paths in the tokens of a macro.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path = Segments::new();
        let mut line = 0;
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(name) if path.is_empty() || colons == 2 => {
                    line = name.span().start().line;
                    path.push(name.to_string());
                    colons = 0;
                    continue;
                }
                TokenTree::Ident(name) => {
                    self.end_of(&mut path, line);
                    line = name.span().start().line;
                    path.push(name.to_string());
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' && !path.is_empty() => {
                    colons += 1;
                    continue;
                }
                TokenTree::Group(group) => {
                    self.end_of(&mut path, line);
                    self.tokens(group.stream());
                }
                _ => self.end_of(&mut path, line),
            }
            colons = 0;
        }
        self.end_of(&mut path, line);
    }

    fn end_of(&mut self, path: &mut Segments, line: usize) {
        let path = std::mem::take(path);
        if path.len() > 1 {
            self.path(line, path);
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        // Names of the crate cannot begin with `::`.
        if item.leading_colon.is_none() && !is_exported(&item.vis) {
            self.use_tree(&item.tree, Segments::new());
        } else if item.leading_colon.is_none() {
            // A re-export is an import of those who use it, not of the module that re-exports.
            let before = self.module.paths.len();
            self.use_tree(&item.tree, Segments::new());
            self.module.paths.truncate(before);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() && path.segments.len() > 1 {
            let line = path.segments.first().map(|s| s.ident.span().start().line);
            let names = path.segments.iter().map(|s| s.ident.to_string()).collect();
            self.path(line.unwrap_or(1), names);
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.tokens(call.tokens.clone());
    }

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    // `pub(in path)` and `pub(super)` import nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}
}

/// Checks whether something with this visibility is visible outside of its module.
fn is_exported(visibility: &syn::Visibility) -> bool {
    !matches!(visibility, syn::Visibility::Inherited)
}

fn item_name(item: &syn::Item) -> Option<String> {
    Some(match item {
        syn::Item::Const(item) => item.ident.to_string(),
        syn::Item::Enum(item) => item.ident.to_string(),
        syn::Item::Fn(item) => item.sig.ident.to_string(),
        syn::Item::Macro(item) => item.ident.as_ref()?.to_string(),
        syn::Item::Static(item) => item.ident.to_string(),
        syn::Item::Struct(item) => item.ident.to_string(),
        syn::Item::Trait(item) => item.ident.to_string(),
        syn::Item::TraitAlias(item) => item.ident.to_string(),
        syn::Item::Type(item) => item.ident.to_string(),
        syn::Item::Union(item) => item.ident.to_string(),
        _ => return None,
    })
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Checks whether an item exists in tests only. Tests may import anything.
fn is_for_tests(item: &syn::Item) -> bool {
    attributes(item).iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .meta
                .require_list()
                .is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

/// Returns the file that `#[path = "…"]` gives a module.
fn path_attribute(attributes: &[syn::Attribute]) -> Option<PathBuf> {
    let attribute = attributes.iter().find(|a| a.path().is_ident("path"))?;
    let value = &attribute.meta.require_name_value().ok()?.value;
    match value {
        syn::Expr::Lit(syn::ExprLit {
            lit: syn::Lit::Str(path),
            ..
        }) => Some(path.value().into()),
        _ => None,
    }
}

/// Returns a relative path without `..` in it.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            std::path::Component::ParentDir => {
                normal.pop();
            }
            std::path::Component::CurDir => {}
            component => normal.push(component),
        }
    }
    normal
}
