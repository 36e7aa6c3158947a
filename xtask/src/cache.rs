// SPDX-License-Identifier: GPL-2.0
//! Cache of artifacts that are slow to make.
//!
//! An entry is a directory `KIND/KEY`, where the key is the hash of all inputs. It is made in a
//! temporary directory beside its final place and renamed when it is complete. What an interrupted
//! build has left there is removed, or the build goes on from it (`Artifact::is_resumable`). The
//! manifest of an entry, which is written last, lists the files that matter with their sizes and hashes, and holds one hash
//! over the names and sizes of all files. An entry whose manifest is missing or does not match is
//! made again. Each entry has a lock file, so that one run makes it and others wait.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{ensure, Context, Result};
use rustix::fs::{flock, FlockOperation};

use crate::key::Key;
use crate::manifest::{check, describe, listing, Manifest, MANIFEST, USED};
use crate::progress::{say, Step};
use crate::times::Making;

/// Number of entries of a kind that are kept, however old they are.
const KEPT: usize = 2;

/// Time since its last use in which an entry is never removed automatically, because somebody may
/// be using it.
const RECENT: Duration = Duration::from_secs(24 * 3600);

/// Time since its last use in which an entry is not removed at the user's request.
const RECENT_ON_REQUEST: Duration = Duration::from_secs(3600);

/// Something that is made once for each set of inputs.
pub(crate) trait Artifact {
    /// Returns the name of the directory, which is the same for all inputs.
    fn kind(&self) -> &'static str;

    /// Returns a description for the user.
    fn title(&self) -> String;

    /// Adds everything on which the result depends to `key`.
    fn inputs(&self, key: &mut Key) -> Result<()>;

    /// Makes the artifact in `build.directory`.
    fn build(&self, build: &Build<'_>) -> Result<()>;

    /// Returns files, relative to the entry, that must exist. Their contents are checked on every
    /// use.
    fn outputs(&self) -> Vec<PathBuf>;

    /// Checks whether files other than the outputs change after the entry was made.
    fn is_workspace(&self) -> bool {
        false
    }

    /// Checks whether a build goes on from what an interrupted one has left, as `make` does.
    fn is_resumable(&self) -> bool {
        false
    }

    /// Returns the identity of the result, for artifacts that are made from this one. It differs if
    /// the result differs; by default it is the key.
    fn identity(&self, _directory: &Path, key: &str) -> Result<String> {
        Ok(key.to_owned())
    }
}

/// Environment in which an [`Artifact`] is built.
#[derive(Debug)]
pub(crate) struct Build<'a> {
    /// Empty directory for the result.
    pub(crate) directory: &'a Path,
    /// Final place of the directory, which exists and is empty. The directory is mounted there, so
    /// that paths which get recorded stay right.
    pub(crate) place: &'a Path,
    /// Runs commands and keeps their output.
    pub(crate) step: &'a Step,
}

/// A complete entry of the cache.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Directory of the entry.
    pub(crate) directory: PathBuf,
    /// Identity of the entry, for the keys of artifacts made from it.
    pub(crate) identity: String,
}

impl Entry {
    /// Returns the path of a file of the entry.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.directory.join(relative)
    }
}

/// The cache directory.
#[derive(Debug)]
pub(crate) struct Cache {
    directory: PathBuf,
    /// Entries that this run has checked, with their identities.
    checked: Mutex<HashMap<PathBuf, String>>,
}

/// State of an artifact in the cache, for `doctor`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It exists, with the record of its making, if there is one.
    Present(Option<Making>),
    Missing,
    Broken(String),
}

impl State {
    /// Returns true if the artifact exists.
    pub(crate) fn is_present(&self) -> bool {
        matches!(self, Self::Present(_))
    }
}

impl Cache {
    /// Opens the cache in `directory`, which is created if necessary.
    pub(crate) fn open(directory: PathBuf) -> Result<Self> {
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        Ok(Self {
            directory,
            checked: Mutex::default(),
        })
    }

    /// Returns the directory of the cache.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Takes the lock named `name`. Waits for another run that holds it.
    pub(crate) fn lock(&self, name: &str, what: &str) -> Result<File> {
        let path = self.directory.join("locks").join(name);
        fs::create_dir_all(self.directory.join("locks"))?;
        let file = File::options().create(true).append(true).open(&path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            say(format_args!(
                "{what}: waiting for another run that is making it"
            ));
            flock(&file, FlockOperation::LockExclusive)
                .with_context(|| format!("cannot lock {}", path.display()))?;
        }
        Ok(file)
    }

    /// Returns the state of an artifact.
    pub(crate) fn state(&self, artifact: &dyn Artifact) -> Result<State> {
        let mut key = Key::default();
        artifact.inputs(&mut key)?;
        let directory = self.directory.join(artifact.kind()).join(digest(&key));
        if !directory.join(MANIFEST).exists() {
            return Ok(State::Missing);
        }
        Ok(match check(&directory) {
            Ok(manifest) => State::Present(manifest.making),
            Err(error) => State::Broken(format!("{error:#}")),
        })
    }

    /// Returns the artifact, and makes it if it does not exist.
    pub(crate) fn ensure(&self, artifact: &dyn Artifact) -> Result<Entry> {
        let mut key = Key::default();
        artifact.inputs(&mut key)?;
        let digest = digest(&key);
        let directory = self.directory.join(artifact.kind()).join(&digest);
        let known = self.checked().get(&directory).cloned();
        if let Some(identity) = known {
            return Ok(Entry {
                directory,
                identity,
            });
        }
        if let Ok(manifest) = check(&directory) {
            return Ok(self.used(directory, manifest));
        }

        let title = artifact.title();
        let _lock = self.lock(&format!("{}-{digest}", artifact.kind()), &title)?;
        // Another run may have made it meanwhile.
        match check(&directory) {
            Ok(manifest) => return Ok(self.used(directory, manifest)),
            Err(error) if directory.join(MANIFEST).exists() => {
                say(format_args!(
                    "{title}: the cached one is damaged ({error:#}), making it again"
                ));
            }
            Err(_) => {}
        }
        let log =
            self.directory
                .join("logs")
                .join(format!("{}-{}.log", artifact.kind(), &digest[..8]));
        let step = Step::start(&title, &log)?;
        let made = self.make(artifact, title, &key, &directory, &step);
        let manifest = match made {
            Ok(manifest) => manifest,
            Err(error) => {
                step.failed();
                return Err(error);
            }
        };
        step.done();
        self.collect_garbage(artifact.kind(), KEPT, RECENT)?;
        Ok(self.used(directory, manifest))
    }

    /// Makes an entry in `directory`.
    fn make(
        &self,
        artifact: &dyn Artifact,
        title: String,
        key: &Key,
        directory: &Path,
        step: &Step,
    ) -> Result<Manifest> {
        let started = SystemTime::now();
        let temporary = directory.with_extension("new");
        let resumes = artifact.is_resumable() && temporary.exists();
        if !resumes {
            remove(&temporary)?;
        }
        remove(directory)?;
        for empty in [&*temporary, directory] {
            fs::create_dir_all(empty)
                .with_context(|| format!("cannot create {}", empty.display()))?;
        }
        let built = artifact.build(&Build {
            directory: &temporary,
            place: directory,
            step,
        });
        if let Err(error) = built {
            if !resumes {
                return Err(error.context(format!("cannot make: {title}")));
            }
            // What was left may be why.
            remove(&temporary)?;
            return Err(error.context(format!(
                "cannot make: {title}; this went on with an interrupted build, the next one begins anew"
            )));
        }
        let mut now = Key::default();
        artifact.inputs(&mut now)?;
        ensure!(
            digest(&now) == digest(key),
            "{title}: what it is made from has changed meanwhile; run this again"
        );
        let mut outputs = Vec::new();
        for path in artifact.outputs() {
            outputs.push(describe(&temporary, path)?);
        }
        let manifest = Manifest {
            title,
            identity: artifact.identity(&temporary, &digest(key))?,
            inputs: key.inputs().to_vec(),
            outputs,
            listing: match artifact.is_workspace() {
                true => None,
                false => Some(listing(&temporary)?),
            },
            making: Some(Making::since(started)),
        };
        let mut file = File::create(temporary.join(MANIFEST))?;
        file.write_all(serde_json::to_string_pretty(&manifest)?.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, directory)
            .with_context(|| format!("cannot move the result to {}", directory.display()))?;
        Ok(manifest)
    }

    fn checked(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, String>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that an entry is good and in use.
    fn used(&self, directory: PathBuf, manifest: Manifest) -> Entry {
        // Only the garbage collection looks at this file, so a read-only cache is fine.
        let _ = File::create(directory.join(USED));
        let identity = manifest.identity;
        self.checked().insert(directory.clone(), identity.clone());
        Entry {
            directory,
            identity,
        }
    }

    /// Removes old entries of all kinds. Returns what was removed.
    pub(crate) fn collect_all_garbage(&self) -> Result<Vec<PathBuf>> {
        let mut removed = Vec::new();
        for kind in fs::read_dir(&self.directory)? {
            let kind = kind?.file_name().to_string_lossy().into_owned();
            removed.extend(self.collect_garbage(&kind, 1, RECENT_ON_REQUEST)?);
        }
        Ok(removed)
    }

    /// Returns the lock of a directory without a manifest, if nobody holds the lock. The directory
    /// was then left by an interrupted run.
    fn abandoned(&self, kind: &str, path: &Path) -> Option<File> {
        let name = format!("{kind}-{}", path.file_stem()?.to_string_lossy());
        let lock = File::open(self.directory.join("locks").join(name)).ok()?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()?;
        Some(lock)
    }

    fn collect_garbage(&self, kind: &str, kept: usize, recent: Duration) -> Result<Vec<PathBuf>> {
        let mut entries = Vec::new();
        let directory = self.directory.join(kind);
        let mut removed = Vec::new();
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.join(MANIFEST).exists() {
                entries.push((last_use(&path), path));
            } else if let Some(_lock) = self.abandoned(kind, &path) {
                remove(&path)?;
                removed.push(path);
            }
        }
        entries.sort_by(|a, b| b.cmp(a));
        for (time, path) in entries.into_iter().skip(kept) {
            if time.elapsed().is_ok_and(|age| age > recent) {
                remove(&path)?;
                removed.push(path);
            }
        }
        Ok(removed)
    }
}

/// Returns the name of the entry with the inputs `key`.
fn digest(key: &Key) -> String {
    let mut digest = key.digest();
    digest.truncate(32);
    digest
}

fn last_use(directory: &Path) -> SystemTime {
    let time = |name: &str| fs::metadata(directory.join(name)).and_then(|m| m.modified());
    time(USED).or_else(|_| time(MANIFEST)).unwrap_or(UNIX_EPOCH)
}

fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
