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
    /// is named by its path from the root file's directory.
    layers: &'static [&'static [&'static str]],
    /// Modules whose files must not import each other in a circle, named likewise.
    no_circles: &'static [&'static str],
}

/// Crates to which the rule applies.
const CRATES: &[Crate] = &[
    // The picture in drivers/ehea/ehea.rs, README.md and Documentation/design.rst.
    Crate {
        root: "drivers/ehea/ehea.rs",
        layers: &[
            &["driver"],
            &["port"],
            &["shared"],
            &["firmware"],
            &["error"],
            &["mr", "cmo", "queue"],
            &["hcall", "bmap"],
            &["abi", "sync"],
            &["../../rust/trace"],
            &["../../rust/kernel/vio/driver", "../../rust/kernel/ibmebus"],
            &["../../rust/kernel/binding"],
            &["../../rust/kernel/command"],
            &["../../rust/kernel/bound"],
            &["../../rust/kernel/net/registration"],
            &["../../rust/kernel/ethtool"],
            &["../../rust/kernel/net/table"],
            &["../../rust/kernel/net/operations"],
            &["../../rust/kernel/net/napi", "../../rust/kernel/net/queue"],
            &["../../rust/kernel/net/lock", "../../rust/kernel/net/skbuff"],
            &["../../rust/kernel/net"],
            &["../../rust/kernel/io_be"],
            &["../../rust/kernel/hypercall"],
            &["../../rust/kernel/dma"],
            &["../../rust/kernel/vio", "../../rust/kernel/memory_hotplug"],
            &["../../rust/kernel/page", "../../rust/kernel/workqueue"],
            // All others: they import nothing but the bindings, and `callback`.
            &["../../rust/kernel"],
            &["../../rust/bindings"],
        ],
        no_circles: &["", "../../rust/kernel", "../../rust/trace"],
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
        no_circles: &[""],
    },
    Crate {
        root: "harness/src/lib.rs",
        layers: &[],
        no_circles: &[""],
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

/// Counts circles, and imports that go up.
pub(crate) fn structure(files: &[SourceFile]) -> Result<Structure> {
    let mut structure = Structure::default();
    for of in CRATES {
        let root = Path::new(of.root);
        let imports = Modules::read(root, files)?.imports();
        let directory = root.parent().unwrap_or(Path::new(""));
        structure.circles += circles(&imports).len();
        structure.upward += upward(of.layers, directory, &imports).len();
    }
    Ok(structure)
}

fn check_crate(of: &Crate, files: &[SourceFile]) -> Result<Vec<String>> {
    let root = Path::new(of.root);
    let imports = Modules::read(root, files)?.imports();
    let directory = root.parent().unwrap_or(Path::new(""));
    let mut violations = upward(of.layers, directory, &imports);
    let mut inside = imports.clone();
    inside.retain(|import| {
        let is_inside = |file: &Path| {
            let mut places = of.no_circles.iter();
            places.any(|name| is_of(name, directory, file))
        };
        is_inside(&import.from) && is_inside(&import.to)
    });
    violations.extend(circles(&inside));
    Ok(violations)
}

/// Checks whether a file belongs to a module or to one in it.
fn is_of(module: &str, directory: &Path, file: &Path) -> bool {
    let module = modules::normal(&directory.join(module));
    file.with_extension("").starts_with(module)
}

/// Returns the row of a file, counted from the top, or `None` if the order does not name the file.
fn layer(layers: &[&[&str]], directory: &Path, file: &Path) -> Option<usize> {
    let is_in = |row: &&[&str]| row.iter().any(|name| is_of(name, directory, file));
    layers.iter().position(is_in)
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

    const LAYERS: &[&[&str]] = &[&["top"], &["middle"], &["low"], &["../outside"]];

    fn check(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = files.iter().map(|(path, text)| file(path, text)).collect();
        let of = Crate {
            root: "c/lib.rs",
            layers: LAYERS,
            no_circles: &["", "../outside"],
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
    fn a_module_beside_the_crate_has_its_place() {
        let root = (
            "c/lib.rs",
            "mod low;\n#[path = \"../outside/mod.rs\"]\nmod out;\n#[path = \"../other/mod.rs\"]\nmod other;\n",
        );
        let (a, b) = (
            "mod a;\nmod b;\npub(crate) use a::A;\npub(crate) use b::B;\n",
            "use super::B;\npub(crate) struct A(B);\n",
        );
        let files = [
            root,
            ("c/low.rs", "pub(crate) struct Low;\nuse crate::out::A;\n"),
            ("outside/mod.rs", a),
            ("outside/a.rs", b),
            (
                "outside/b.rs",
                "pub(crate) struct B;\nuse crate::low::Low;\nfn f() { super::A::new() }\n",
            ),
            ("other/mod.rs", a),
            ("other/a.rs", b),
            (
                "other/b.rs",
                "pub(crate) struct B;\nfn f() { super::A::new() }\n",
            ),
        ];
        let violations = check(&files);
        assert_eq!(
            violations[0],
            "outside/b.rs:2: imports Low from c/low.rs, which is above it"
        );
        // Not in the circle of `other`, which the rule isn't for.
        assert!(violations[1].starts_with("3 files import each other in a circle:\n"));
        assert_eq!(violations.len(), 2);
    }

    #[test]
    fn a_macro_is_of_the_file_that_defines_it() {
        let files = [
            ("c/lib.rs", "mod low;\nmod top;\nuse top::Top;\n"),
            (
                "c/top.rs",
                "pub(crate) struct Top;\nuse crate::shared;\nshared!();\n",
            ),
            (
                "c/low.rs",
                "#[macro_export]\nmacro_rules! shared { () => {}; }\n",
            ),
        ];
        assert_eq!(check(&files), [""; 0]);
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
