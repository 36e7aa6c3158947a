// SPDX-License-Identifier: GPL-2.0
//! Counts in Rust files.

use anyhow::{Context, Result};
use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use crate::lints::SourceFile;

/// Counts of Rust files, which include the contents of macros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Number of functions and variables of C that are declared by hand.
    pub(super) foreign: usize,
    /// Number of unsafe blocks.
    pub(super) unsafe_blocks: usize,
    /// Number of attributes that allow a module or anything else to have unused parts.
    pub(super) unused_allowances: usize,
}

impl Counts {
    /// Counts in one more file.
    pub(super) fn add(&mut self, file: &SourceFile) -> Result<()> {
        let parsed = syn::parse_file(&file.text)
            .with_context(|| format!("cannot parse {}", file.path.display()))?;
        self.visit_file(&parsed);
        Ok(())
    }

    /// Counts unsafe blocks in the tokens of a macro.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut after_unsafe = false;
        for token in tokens {
            match token {
                TokenTree::Group(group) => {
                    let block = group.delimiter() == proc_macro2::Delimiter::Brace;
                    self.unsafe_blocks += usize::from(after_unsafe && block);
                    self.tokens(group.stream());
                    after_unsafe = false;
                }
                TokenTree::Ident(name) => after_unsafe = name == "unsafe",
                _ => after_unsafe = false,
            }
        }
    }
}

impl<'ast> Visit<'ast> for Counts {
    fn visit_item_foreign_mod(&mut self, item: &'ast syn::ItemForeignMod) {
        self.foreign += item.items.len();
        visit::visit_item_foreign_mod(self, item);
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.unsafe_blocks += 1;
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        let syn::Meta::List(list) = &attribute.meta else {
            return;
        };
        let allows = ["allow", "expect"]
            .iter()
            .any(|name| list.path.is_ident(name));
        let mut names = list.tokens.clone().into_iter();
        self.unused_allowances += usize::from(
            allows
                && names.any(|token| {
                    matches!(&token, TokenTree::Ident(name)
                        if name == "dead_code" || name == "unused")
                }),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(text: &str) -> Counts {
        let mut counts = Counts::default();
        counts
            .add(&SourceFile {
                path: "a.rs".into(),
                text: text.to_owned(),
            })
            .unwrap();
        counts
    }

    #[test]
    fn declarations_of_c_are_counted_one_by_one() {
        let text = "extern \"C\" { fn f(); static S: u8; }\nunsafe extern \"C\" fn g() {}\n";
        assert_eq!(counts(text).foreign, 2);
    }

    #[test]
    fn unsafe_blocks_are_counted_in_macros_too() {
        let text = concat!(
            "fn f() { unsafe { unsafe { g() } } }\n",
            "fn h() { pin_init!(S { a: unsafe { k() } }); }\n",
            "unsafe fn i() {}\nunsafe impl Send for S {}\n",
            "macro_rules! m { () => { unsafe { k() } }; }\n",
        );
        assert_eq!(counts(text).unsafe_blocks, 4);
    }

    #[test]
    fn allowances_are_counted_where_they_allow_unused_parts() {
        let text = "#[allow(dead_code, unreachable_pub, reason = \"x\")]\nmod a {}\n\
                    #[allow(unused_imports)]\nmod b {}\n#[expect(dead_code)]\nfn f() {}\n\
                    #[must_use]\nfn g() {}\n";
        assert_eq!(counts(text).unused_allowances, 2);
    }
}
