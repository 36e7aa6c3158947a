// SPDX-License-Identifier: GPL-2.0
//! Modules of a crate import in one direction.

use std::path::Path;

use super::rust::code;
use super::{Lint, SourceFile};

/// The sources of the model.
const MODEL: &str = "model/src";

/// Its modules; each imports only from those before it and from itself.
const MODEL_LAYERS: &[&str] = &[
    "temper", "agenda", "config", "fault", "refusal", "stats", "object", "memory", "host",
    "events", "life", "traffic", "mmio", "hcall", "run", "adapter", "ffi",
];

fn layer(module: &str) -> Option<usize> {
    MODEL_LAYERS.iter().position(|&name| name == module)
}

/// The layer of a file of the model.
fn layer_of(path: &Path) -> Option<usize> {
    let inside = path.strip_prefix(MODEL).ok()?;
    let first = Path::new(inside.components().next()?.as_os_str());
    layer(first.file_stem()?.to_str()?)
}

/// The model's modules have an order, and no circles.
pub(super) struct ModelLayers;

impl Lint for ModelLayers {
    fn name(&self) -> &'static str {
        "model-layers"
    }

    fn applies(&self, path: &Path) -> bool {
        layer_of(path).is_some()
    }

    fn check(&self, file: &SourceFile, report: &mut dyn FnMut(usize, String)) {
        let Some(own) = layer_of(&file.path) else {
            return;
        };
        for (number, line) in (1..).zip(file.text.lines()) {
            let code = code(line);
            for imported in code.split("crate::").skip(1) {
                let end = imported.find(|c: char| !(c.is_alphanumeric() || c == '_'));
                let module = imported.get(..end.unwrap_or(imported.len()));
                let above = module.filter(|name| layer(name).is_some_and(|other| other > own));
                if let Some(module) = above {
                    report(number, format!("`{module}` is above this file: see lib.rs"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lints::lines;

    #[test]
    fn imports_go_one_way() {
        let text = "use crate::object::qp::Qp;\nuse crate::host::Env;\nuse crate::testkit::Frame;\n// crate::ffi\n";
        let of = |path| lines(&ModelLayers, path, text);
        assert_eq!(of("model/src/object/cq.rs"), [2]);
        assert_eq!(of("model/src/memory/mod.rs"), [2]);
        assert_eq!(of("model/src/config.rs"), [1, 2]);
        assert!(of("model/src/traffic/rx.rs").is_empty());
        assert!(of("model/src/tests/rx.rs").is_empty());
        assert!(of("model/src/lib.rs").is_empty());
    }
}
