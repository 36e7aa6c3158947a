// SPDX-License-Identifier: GPL-2.0
//! Imports go one way: the modules of a crate have an order, and files form no circle.
//!
//! An import leads from a file that uses a name to the file that defines it, whatever modules
//! re-export the name. The declaration of a module in another is not an import.

mod modules;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;

use super::SourceFile;
use modules::{Import, Modules};

/// A crate, and the order of its modules.
struct Crate {
    /// Root file of the crate.
    root: &'static str,
    /// Modules from the top down. Each imports only from its own row or from rows below. A module
    /// is named by its path below the root file's directory.
    layers: &'static [&'static [&'static str]],
}

/// Crates to which the rule applies.
const CRATES: &[Crate] = &[
    Crate {
        root: "harness/src/lib.rs",
        layers: &[],
    },
    Crate {
        root: "model/src/lib.rs",
        layers: &[
            &["ffi"],
            &["adapter"],
            &["run"],
            &["hcall"],
            &["mmio"],
            &["traffic"],
            &["life"],
            &["events"],
            &["host"],
            &["memory"],
            &["object"],
            &["stats"],
            &["refusal"],
            &["fault"],
            &["config"],
            &["agenda"],
            &["temper"],
            &["limits"],
        ],
    },
];

/// Reports each import that goes up, and each circle.
pub(crate) fn check(files: &[SourceFile]) -> Result<Vec<String>> {
    let mut violations = Vec::new();
    for of in CRATES {
        violations.extend(check_crate(of, files)?);
    }
    Ok(violations)
}

/// Structure of the whole project, including parts to which the rule does not apply yet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Structure {
    /// Number of groups of files that import each other.
    pub(crate) circles: usize,
    /// Number of imports that go up.
    pub(crate) upward: usize,
}

/// Root files of the crates whose circles are counted.
const ROOTS: &[&str] = &[
    "drivers/ehea/ehea.rs",
    "harness/src/lib.rs",
    "model/src/lib.rs",
];

/// Counts circles, and imports that go up.
pub(crate) fn structure(files: &[SourceFile]) -> Result<Structure> {
    let mut structure = Structure::default();
    for root in ROOTS {
        let root = Path::new(root);
        let imports = Modules::read(root, files)?.imports();
        structure.circles += circles(&imports).len();
        let of = CRATES.iter().find(|of| Path::new(of.root) == root);
        let directory = root.parent().unwrap_or(Path::new(""));
        structure.upward += of.map_or(0, |of| upward(of.layers, directory, &imports).len());
    }
    Ok(structure)
}

fn check_crate(of: &Crate, files: &[SourceFile]) -> Result<Vec<String>> {
    let root = Path::new(of.root);
    let imports = Modules::read(root, files)?.imports();
    let directory = root.parent().unwrap_or(Path::new(""));
    let mut violations = upward(of.layers, directory, &imports);
    violations.extend(circles(&imports));
    Ok(violations)
}

/// Returns the row of a file, counted from the top, or `None` if the order does not name the file.
fn layer(layers: &[&[&str]], directory: &Path, file: &Path) -> Option<usize> {
    let module = file.strip_prefix(directory).ok()?.with_extension("");
    layers
        .iter()
        .position(|row| row.iter().any(|name| module.starts_with(name)))
}

fn upward(layers: &[&[&str]], directory: &Path, imports: &BTreeSet<Import>) -> Vec<String> {
    let layer = |file| layer(layers, directory, file);
    let up = imports.iter().filter(|import| {
        matches!((layer(&import.from), layer(&import.to)), (Some(from), Some(to)) if to < from)
    });
    up.map(|import| {
        format!(
            "{}:{}: imports {} from {}, which is above it",
            import.from.display(),
            import.line,
            import.name,
            import.to.display()
        )
    })
    .collect()
}

/// Describes each circle by its files and by one name for each import in it.
fn circles(imports: &BTreeSet<Import>) -> Vec<String> {
    let files: BTreeSet<&PathBuf> = imports.iter().flat_map(|i| [&i.from, &i.to]).collect();
    let number: BTreeMap<&PathBuf, usize> = files.iter().copied().zip(0usize..).collect();
    let mut graph = DiGraphMap::<usize, ()>::new();
    for import in imports {
        if let (Some(&from), Some(&to)) = (number.get(&import.from), number.get(&import.to)) {
            graph.add_edge(from, to, ());
        }
    }
    let mut circles = Vec::new();
    for component in tarjan_scc(&graph).into_iter().filter(|c| c.len() > 1) {
        let inside = |file: &PathBuf| number.get(file).is_some_and(|n| component.contains(n));
        let mut edges: BTreeMap<(&PathBuf, &PathBuf), &str> = BTreeMap::new();
        for import in imports.iter().filter(|i| inside(&i.from) && inside(&i.to)) {
            edges
                .entry((&import.from, &import.to))
                .or_insert(&import.name);
        }
        let edges: Vec<_> = edges
            .iter()
            .map(|((from, to), name)| {
                format!("  {} takes {name} from {}", from.display(), to.display())
            })
            .collect();
        circles.push(format!(
            "{} files import each other in a circle:\n{}",
            component.len(),
            edges.join("\n")
        ));
    }
    circles
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile {
            path: path.into(),
            text: text.to_owned(),
        }
    }

    const LAYERS: &[&[&str]] = &[&["top"], &["middle"], &["low"]];

    fn check(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = files.iter().map(|(path, text)| file(path, text)).collect();
        let of = Crate {
            root: "c/lib.rs",
            layers: LAYERS,
        };
        check_crate(&of, &files).unwrap()
    }

    const ROOT: (&str, &str) = (
        "c/lib.rs",
        "mod low;\nmod middle;\nmod top;\n#[cfg(test)]\nmod tests;\n",
    );

    #[test]
    fn imports_down_are_fine() {
        let files = [
            ROOT,
            (
                "c/top.rs",
                "use crate::middle::{self, Part};\nfn f() { middle::g(Part) }\n",
            ),
            (
                "c/middle/mod.rs",
                "mod part;\npub(crate) use part::Part;\npub(crate) fn g(_: Part) {}\n",
            ),
            (
                "c/middle/part.rs",
                "use crate::low::Low;\npub(crate) struct Part;\nimpl From<Low> for Part {}\n",
            ),
            ("c/low.rs", "pub(crate) struct Low;\n"),
        ];
        assert_eq!(check(&files), [""; 0]);
    }

    #[test]
    fn an_import_up_is_named() {
        let files = [
            ROOT,
            ("c/top.rs", "pub(crate) struct Top;\n"),
            ("c/middle.rs", ""),
            ("c/low.rs", "fn f() { println!(\"{}\", crate::top::Top) }\n"),
        ];
        assert_eq!(
            check(&files),
            ["c/low.rs:1: imports Top from c/top.rs, which is above it"]
        );
    }

    #[test]
    fn a_circle_is_found_through_those_who_pass_names_on() {
        let files = [
            ROOT,
            ("c/top.rs", ""),
            (
                "c/middle/mod.rs",
                "mod a;\nmod b;\npub(crate) use a::A;\npub(crate) use b::B;\n",
            ),
            ("c/middle/a.rs", "use super::B;\npub(crate) struct A(B);\n"),
            (
                "c/middle/b.rs",
                "pub(crate) struct B;\nfn f() { super::A::new() }\n",
            ),
            ("c/low.rs", ""),
        ];
        assert_eq!(
            check(&files),
            ["2 files import each other in a circle:\n  c/middle/a.rs takes B from c/middle/b.rs\n  c/middle/b.rs takes new from c/middle/a.rs"]
        );
    }

    #[test]
    fn tests_may_import_anything() {
        let files = [
            ROOT,
            ("c/top.rs", ""),
            ("c/middle.rs", ""),
            (
                "c/low.rs",
                "#[cfg(test)]\nmod tests { use crate::top::Top; }\n",
            ),
        ];
        assert_eq!(check(&files), [""; 0]);
    }
}
