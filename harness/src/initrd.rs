// SPDX-License-Identifier: GPL-2.0
//! The initial RAM disk of one guest: the userland archive as it is, followed by a second archive
//! with what changes from guest to guest. The kernel unpacks one after the other.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cpio::newc;

use crate::artifacts::Kernel;

/// Where the content of a file comes from.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Bytes(Vec<u8>),
    File(PathBuf),
}

/// Files for a guest, by their absolute path there.
#[derive(Debug, Default)]
pub(crate) struct Files {
    entries: Vec<(String, u32, Content)>,
}

impl Files {
    /// Adds a file with these permissions.
    pub(crate) fn add(&mut self, path: impl Into<String>, mode: u32, content: Content) {
        self.entries.push((path.into(), mode, content));
    }

    /// Adds the modules of a kernel, ours among them, where depmod finds them: below `/usr/lib`, because
    /// a directory entry `lib` would replace the symbolic link of that name.
    pub(crate) fn add_modules(&mut self, kernel: &Kernel) -> Result<()> {
        let read = |name: &str| {
            let path = kernel.build.join(name);
            std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))
        };
        let base = format!(
            "/usr/lib/modules/{}",
            read("include/config/kernel.release")?.trim()
        );
        for name in ["modules.builtin", "modules.builtin.modinfo"] {
            self.add(
                format!("{base}/{name}"),
                0o644,
                Content::File(kernel.build.join(name)),
            );
        }
        let mut order = String::new();
        for line in read("modules.order")?.lines() {
            let module = line
                .strip_suffix(".o")
                .unwrap_or(line)
                .trim_end_matches(".ko");
            let from = kernel.build.join(format!("{module}.ko"));
            self.add(
                format!("{base}/kernel/{module}.ko"),
                0o644,
                Content::File(from),
            );
            order.push_str(&format!("kernel/{module}.ko\n"));
        }
        for module in [&kernel.module, &kernel.kunit_module].into_iter().flatten() {
            let name = module.file_name().unwrap_or_default().to_string_lossy();
            self.add(
                format!("{base}/updates/{name}"),
                0o644,
                Content::File(module.clone()),
            );
        }
        self.add(
            format!("{base}/modules.order"),
            0o644,
            Content::Bytes(order.into_bytes()),
        );
        Ok(())
    }

    /// Writes `userland` and the files to `output`.
    pub(crate) fn write(&self, userland: &Path, output: &Path) -> Result<()> {
        let name = |path: &Path| format!("cannot read {}", path.display());
        let mut from = File::open(userland).with_context(|| name(userland))?;
        let to =
            File::create(output).with_context(|| format!("cannot write {}", output.display()))?;
        let mut to = BufWriter::new(to);
        let length = io::copy(&mut from, &mut to)?;
        // An archive starts at a multiple of four.
        to.write_all(&[0; 3][..(length.wrapping_neg() % 4) as usize])?;

        let mut directories = BTreeSet::new();
        for (path, _, _) in &self.entries {
            for parent in Path::new(path).ancestors().skip(1) {
                directories.insert(parent.to_string_lossy().trim_start_matches('/').to_owned());
            }
        }
        let mut inode = 0;
        for directory in directories.iter().filter(|d| !d.is_empty()) {
            inode += 1;
            to = newc::Builder::new(directory)
                .ino(inode)
                .mode(0o040755)
                .nlink(2)
                .write(to, 0)
                .finish()?;
        }
        for (path, mode, content) in &self.entries {
            inode += 1;
            let builder = newc::Builder::new(path.trim_start_matches('/'))
                .ino(inode)
                .mode(0o100000 | mode);
            to = match content {
                Content::Bytes(bytes) => {
                    let mut entry = builder.write(to, u32::try_from(bytes.len())?);
                    entry.write_all(bytes)?;
                    entry.finish()?
                }
                Content::File(path) => {
                    let mut file = File::open(path).with_context(|| name(path))?;
                    let mut entry = builder.write(to, u32::try_from(file.metadata()?.len())?);
                    io::copy(&mut file, &mut entry)?;
                    entry.finish()?
                }
            };
        }
        newc::trailer(to)?.flush()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_archive_is_aligned_and_has_all_parents() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        std::fs::write(&base, b"12345").unwrap();
        let mut files = Files::default();
        files.add("/root/files/a", 0o755, Content::Bytes(b"hello".to_vec()));
        files.add("/root/files/b", 0o644, Content::File(base.clone()));
        let out = dir.path().join("out");
        files.write(&base, &out).unwrap();

        let bytes = std::fs::read(&out).unwrap();
        assert_eq!(&bytes[..8], b"12345\0\0\0");
        let mut names = Vec::new();
        let mut input = &bytes[8..];
        loop {
            let mut reader = newc::Reader::new(input).unwrap();
            let entry = reader.entry().clone();
            if entry.is_trailer() {
                break;
            }
            let mut data = Vec::new();
            io::Read::read_to_end(&mut reader, &mut data).unwrap();
            names.push((entry.name().to_owned(), entry.mode(), data));
            input = reader.finish().unwrap();
        }
        assert_eq!(
            names,
            [
                ("root".to_owned(), 0o040755, vec![]),
                ("root/files".to_owned(), 0o040755, vec![]),
                ("root/files/a".to_owned(), 0o100755, b"hello".to_vec()),
                ("root/files/b".to_owned(), 0o100644, b"12345".to_vec()),
            ]
        );
    }
}
