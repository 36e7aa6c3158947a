// SPDX-License-Identifier: GPL-2.0
//! Hashes of the inputs of an artifact.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use walkdir::WalkDir;

/// Returns the SHA-256 of a file, in hexadecimal.
pub(crate) fn hash_file(path: &Path) -> Result<String> {
    let cannot = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(cannot)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).with_context(cannot)? {
            0 => return Ok(format!("{:x}", hash.finalize())),
            length => hash.update(&buffer[..length]),
        }
    }
}

/// Inputs, each with a name, from which a hash is made.
#[derive(Debug, Default)]
pub(crate) struct Key {
    inputs: Vec<(String, String)>,
}

impl Key {
    /// Adds a value.
    pub(crate) fn text(&mut self, name: &str, value: impl Into<String>) {
        self.inputs.push((name.to_owned(), value.into()));
    }

    /// Adds a file, or every file below a directory in a fixed order. Names count, times do not. A
    /// missing file counts as missing.
    pub(crate) fn files(&mut self, base: &Path, relative: &str) -> Result<()> {
        let top = base.join(relative);
        if !top.exists() {
            self.text(relative, "missing");
            return Ok(());
        }
        for entry in WalkDir::new(&top).sort_by_file_name() {
            let entry = entry?;
            if entry.file_type().is_file() {
                let name = entry
                    .path()
                    .strip_prefix(base)?
                    .to_string_lossy()
                    .into_owned();
                let hash = hash_file(entry.path())?;
                self.text(&name, hash);
            }
        }
        Ok(())
    }

    /// Returns the inputs by name.
    pub(crate) fn inputs(&self) -> &[(String, String)] {
        &self.inputs
    }

    /// Returns the hash of all inputs.
    pub(crate) fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for (name, value) in &self.inputs {
            for field in [name, value] {
                hash.update((field.len() as u64).to_be_bytes());
                hash.update(field.as_bytes());
            }
        }
        format!("{:x}", hash.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_contents_count() {
        let dir = tempfile::tempdir().unwrap();
        let digest = || {
            let mut key = Key::default();
            key.files(dir.path(), "d").unwrap();
            key.digest()
        };
        let missing = digest();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("d/a"), "1").unwrap();
        let one = digest();
        std::fs::write(dir.path().join("d/a"), "2").unwrap();
        let two = digest();
        std::fs::rename(dir.path().join("d/a"), dir.path().join("d/b")).unwrap();
        let renamed = digest();
        let all = [&missing, &one, &two, &renamed];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b));
        }
        assert_eq!(renamed, digest());
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let digest = |name: &str, value: &str| {
            let mut key = Key::default();
            key.text(name, value);
            key.digest()
        };
        assert_ne!(digest("ab", "c"), digest("a", "bc"));
    }
}
