// SPDX-License-Identifier: GPL-2.0
//! The initial RAM disk of a guest: the archive with the userland, followed by a second archive
//! with the files that differ from guest to guest. The kernel unpacks one after the other.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{ensure, Context, Result};
use cpio::newc;

use crate::artifacts::Kernel;
use crate::sandbox::Sandbox;

/// Content of a file: bytes, or a file of the host.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Bytes(Vec<u8>),
    File(PathBuf),
}

/// Files for a guest, by their absolute paths in it.
#[derive(Debug, Default)]
pub(crate) struct Files {
    entries: Vec<(String, u32, Content)>,
}

impl Files {
    /// Adds a file with the permissions `mode`.
    pub(crate) fn add(&mut self, path: impl Into<String>, mode: u32, content: Content) {
        self.entries.push((path.into(), mode, content));
    }

    /// Adds the modules of a kernel, including this project's, below `/usr/lib`. A directory entry
    /// `lib` would replace the symbolic link of that name.
    ///
    /// The indices for modprobe are made here, because it would take seconds in the guest: by the
    /// depmod of `sandbox`, in the directory `scratch`, which nothing else uses.
    pub(crate) fn add_modules(
        &mut self,
        kernel: &Kernel,
        sandbox: &Sandbox,
        scratch: &Path,
    ) -> Result<()> {
        let read = |name: &str| {
            let path = kernel.build.join(name);
            std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))
        };
        let release = read("include/config/kernel.release")?.trim().to_owned();
        let mut files = Vec::new();
        for name in ["modules.builtin", "modules.builtin.modinfo"] {
            files.push((name.to_owned(), kernel.build.join(name)));
        }
        let mut order = String::new();
        for line in read("modules.order")?.lines() {
            let module = line
                .strip_suffix(".o")
                .unwrap_or(line)
                .trim_end_matches(".ko");
            let name = format!("kernel/{module}.ko");
            order.push_str(&format!("{name}\n"));
            files.push((name, kernel.build.join(format!("{module}.ko"))));
        }
        for module in [&kernel.module, &kernel.kunit_module].into_iter().flatten() {
            let name = module.file_name().unwrap_or_default().to_string_lossy();
            files.push((format!("updates/{name}"), module.clone()));
        }
        let base = format!("usr/lib/modules/{release}");
        for (name, content) in index(sandbox, scratch, &release, &files, &order)? {
            self.add(format!("/{base}/{name}"), 0o644, Content::Bytes(content));
        }
        for (name, from) in files {
            self.add(format!("/{base}/{name}"), 0o644, Content::File(from));
        }
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
        // An archive starts at an offset that is a multiple of four.
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

/// Returns the indices that depmod makes for modules, and the order itself. `files` are the modules
/// by their names below the kernel's directory; `order` is the order in which they were built.
fn index(
    sandbox: &Sandbox,
    scratch: &Path,
    release: &str,
    files: &[(String, PathBuf)],
    order: &str,
) -> Result<Vec<(String, Vec<u8>)>> {
    let cannot = || format!("cannot list modules in {}", scratch.display());
    let directory = scratch.join("usr/lib/modules").join(release);
    std::fs::create_dir_all(&directory).with_context(cannot)?;
    // depmod may look in either directory.
    symlink("usr/lib", scratch.join("lib")).with_context(cannot)?;
    for (name, from) in files {
        let path = directory.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(cannot)?;
        }
        symlink(from, path).with_context(cannot)?;
    }
    std::fs::write(directory.join("modules.order"), order).with_context(cannot)?;
    let output = sandbox
        .command("depmod")
        .arg("-b")
        .arg(scratch)
        .arg(release)
        .output()
        .context("cannot start bwrap: run `cargo xtask doctor`")?;
    ensure!(
        output.status.success(),
        "depmod: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut made = Vec::new();
    for entry in std::fs::read_dir(&directory).with_context(cannot)? {
        let entry = entry?;
        // The links are the modules; the files are what depmod made.
        if entry.file_type()?.is_file() {
            let name = entry.file_name().to_string_lossy().into_owned();
            made.push((name, std::fs::read(entry.path()).with_context(cannot)?));
        }
    }
    made.sort();
    std::fs::remove_dir_all(scratch).with_context(cannot)?;
    Ok(made)
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
