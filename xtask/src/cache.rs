// SPDX-License-Identifier: GPL-2.0
//! The cache of things that are slow to make.
//!
//! An entry is a directory `KIND/KEY`, where the key is the hash of all inputs. It is made in a
//! temporary directory beside its place and renamed when complete; its manifest, written last, lists
//! the files that matter with their sizes and hashes, and has one hash over the names and sizes of all
//! files. An entry whose manifest is missing or does not match is made again. A lock file for each
//! entry lets one run build it and others wait.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use rustix::fs::{flock, FlockOperation};

use crate::key::Key;
use crate::manifest::{check, describe, listing, Manifest, MANIFEST, USED};
use crate::progress::Step;

/// Entries of a kind that are kept however old they are.
const KEPT: usize = 2;

/// An entry used within this time is never removed automatically: somebody may be using it.
const RECENT: Duration = Duration::from_secs(24 * 3600);

/// As [`RECENT`], when the user asks for removal.
const RECENT_ON_REQUEST: Duration = Duration::from_secs(3600);

/// Something that is made once for each set of inputs.
pub(crate) trait Artifact {
    /// Directory name, the same for all inputs.
    fn kind(&self) -> &'static str;

    /// What it is, for the user.
    fn title(&self) -> String;

    /// All that the result depends on.
    fn inputs(&self, key: &mut Key) -> Result<()>;

    /// Makes it in `build.directory`.
    fn build(&self, build: &Build<'_>) -> Result<()>;

    /// Files, relative to the entry, that must be there; their contents are checked on every use.
    fn outputs(&self) -> Vec<PathBuf>;

    /// Whether files other than the outputs change after the entry was made.
    fn is_workspace(&self) -> bool {
        false
    }

    /// Told to what is made from this artifact: differs when the result does. By default the key.
    fn identity(&self, _directory: &Path, key: &str) -> Result<String> {
        Ok(key.to_owned())
    }
}

/// What an [`Artifact`] is built with.
#[derive(Debug)]
pub(crate) struct Build<'a> {
    /// Empty directory for the result.
    pub(crate) directory: &'a Path,
    /// Where the directory will be in the end, which exists and is empty: for mounting, so that
    /// paths which get recorded stay right.
    pub(crate) place: &'a Path,
    /// Runs commands and keeps their output.
    pub(crate) step: &'a Step,
}

/// A complete entry.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Where it is.
    pub(crate) directory: PathBuf,
    /// What it is, for the keys of artifacts made from it.
    pub(crate) identity: String,
}

impl Entry {
    /// A file of the entry.
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
    Present,
    Missing,
    Broken(String),
}

impl Cache {
    /// Opens the cache in `directory`, which is created if need be.
    pub(crate) fn open(directory: PathBuf) -> Result<Self> {
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        Ok(Self {
            directory,
            checked: Mutex::default(),
        })
    }

    /// Where the cache is.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Takes the lock called `name`, waiting for another run that holds it.
    pub(crate) fn lock(&self, name: &str, what: &str) -> Result<File> {
        let path = self.directory.join("locks").join(name);
        fs::create_dir_all(self.directory.join("locks"))?;
        let file = File::options().create(true).append(true).open(&path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            eprintln!("{what}: waiting for another run that is making it");
            flock(&file, FlockOperation::LockExclusive)
                .with_context(|| format!("cannot lock {}", path.display()))?;
        }
        Ok(file)
    }

    /// Whether the artifact is there.
    pub(crate) fn state(&self, artifact: &dyn Artifact) -> Result<State> {
        let mut key = Key::default();
        artifact.inputs(&mut key)?;
        let directory = self
            .directory
            .join(artifact.kind())
            .join(&key.digest()[..32]);
        if !directory.join(MANIFEST).exists() {
            return Ok(State::Missing);
        }
        Ok(match check(&directory) {
            Ok(_) => State::Present,
            Err(error) => State::Broken(format!("{error:#}")),
        })
    }

    /// Returns the artifact, making it if it isn't there.
    pub(crate) fn ensure(&self, artifact: &dyn Artifact) -> Result<Entry> {
        let mut key = Key::default();
        artifact.inputs(&mut key)?;
        let digest = &key.digest()[..32];
        let directory = self.directory.join(artifact.kind()).join(digest);
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
                eprintln!("{title}: the cached one is damaged ({error:#}), making it again");
            }
            Err(_) => {}
        }
        let log =
            self.directory
                .join("logs")
                .join(format!("{}-{}.log", artifact.kind(), &digest[..8]));
        let step = Step::start(&title, &log)?;
        let temporary = self
            .directory
            .join(artifact.kind())
            .join(format!("{digest}.new"));
        for stale in [&temporary, &directory] {
            remove(stale)?;
            fs::create_dir_all(stale)
                .with_context(|| format!("cannot create {}", stale.display()))?;
        }
        artifact
            .build(&Build {
                directory: &temporary,
                place: &directory,
                step: &step,
            })
            .with_context(|| format!("cannot make: {title}"))?;
        let mut outputs = Vec::new();
        for path in artifact.outputs() {
            outputs.push(describe(&temporary, path)?);
        }
        let identity = artifact.identity(&temporary, digest)?;
        let inputs = key.inputs().to_vec();
        let manifest = Manifest {
            title,
            identity,
            inputs,
            outputs,
            listing: match artifact.is_workspace() {
                true => None,
                false => Some(listing(&temporary)?),
            },
        };
        let mut file = File::create(temporary.join(MANIFEST))?;
        file.write_all(serde_json::to_string_pretty(&manifest)?.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &directory)
            .with_context(|| format!("cannot move the result to {}", directory.display()))?;
        step.done();
        self.collect_garbage(artifact.kind(), KEPT, RECENT)?;
        Ok(self.used(directory, manifest))
    }

    fn checked(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, String>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that an entry is good and in use.
    fn used(&self, directory: PathBuf, manifest: Manifest) -> Entry {
        // Only the garbage collection looks at it: a read-only cache is fine.
        let _ = File::create(directory.join(USED));
        let identity = manifest.identity;
        self.checked().insert(directory.clone(), identity.clone());
        Entry {
            directory,
            identity,
        }
    }

    /// Removes old entries of all kinds; returns what was removed.
    pub(crate) fn collect_all_garbage(&self) -> Result<Vec<PathBuf>> {
        let mut removed = Vec::new();
        for kind in fs::read_dir(&self.directory)? {
            let kind = kind?.file_name().to_string_lossy().into_owned();
            removed.extend(self.collect_garbage(&kind, 1, RECENT_ON_REQUEST)?);
        }
        Ok(removed)
    }

    /// The lock of a directory without a manifest, if nobody holds it: then it is what an interrupted
    /// run left.
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
mod tests {
    use std::cell::Cell;

    use anyhow::ensure;

    use super::*;

    struct Toy {
        input: &'static str,
        builds: Cell<u32>,
        fails: Cell<bool>,
    }

    impl Toy {
        fn new(input: &'static str) -> Self {
            Self {
                input,
                builds: Cell::new(0),
                fails: Cell::new(false),
            }
        }
    }

    impl Artifact for Toy {
        fn kind(&self) -> &'static str {
            "toy"
        }
        fn title(&self) -> String {
            "toy".to_owned()
        }
        fn inputs(&self, key: &mut Key) -> Result<()> {
            key.text("input", self.input);
            Ok(())
        }
        fn build(&self, build: &Build<'_>) -> Result<()> {
            self.builds.set(self.builds.get() + 1);
            fs::write(build.directory.join("out"), self.input)?;
            fs::write(build.directory.join("other"), "other")?;
            ensure!(!self.fails.get(), "broken on purpose");
            Ok(())
        }
        fn outputs(&self) -> Vec<PathBuf> {
            vec!["out".into()]
        }
    }

    fn cache() -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().join("cache")).unwrap();
        (dir, cache)
    }

    #[test]
    fn an_artifact_is_built_once_for_each_input() {
        let (_dir, cache) = cache();
        let (a, b) = (Toy::new("a"), Toy::new("b"));
        assert_eq!(cache.state(&a).unwrap(), State::Missing);
        let one = cache.ensure(&a).unwrap();
        assert_eq!(cache.ensure(&a).unwrap().directory, one.directory);
        assert_ne!(cache.ensure(&b).unwrap().directory, one.directory);
        assert_eq!((a.builds.get(), b.builds.get()), (1, 1));
        assert_eq!(cache.state(&a).unwrap(), State::Present);
    }

    #[test]
    fn damage_is_noticed_and_repaired() {
        let (dir, cache) = cache();
        let toy = Toy::new("aaaa");
        let out = cache.ensure(&toy).unwrap().path("out");
        let damages: [&dyn Fn(); 7] = [
            &|| fs::remove_file(&out).unwrap(),
            &|| fs::write(&out, "aa").unwrap(),
            &|| fs::write(&out, "bbbb").unwrap(),
            &|| fs::write(out.with_file_name(MANIFEST), "{").unwrap(),
            &|| fs::write(out.with_file_name("other"), "oth").unwrap(),
            &|| fs::remove_file(out.with_file_name("other")).unwrap(),
            &|| fs::write(out.with_file_name("new"), "").unwrap(),
        ];
        for (number, damage) in damages.iter().enumerate() {
            damage();
            // A run checks an entry once: this is the next run.
            let cache = Cache::open(dir.path().join("cache")).unwrap();
            assert!(matches!(cache.state(&toy).unwrap(), State::Broken(_)));
            cache.ensure(&toy).unwrap();
            assert_eq!(toy.builds.get(), number as u32 + 2);
            assert_eq!(fs::read_to_string(&out).unwrap(), "aaaa");
        }
    }

    #[test]
    fn what_an_interrupted_build_left_is_removed() {
        let (dir, cache) = cache();
        let toy = Toy::new("a");
        let out = cache.ensure(&toy).unwrap().path("out");
        let entry = out.parent().unwrap();
        fs::remove_file(entry.join(MANIFEST)).unwrap();
        let temporary = entry.with_extension("new");
        fs::create_dir(&temporary).unwrap();
        fs::write(temporary.join("half"), "").unwrap();
        let cache = Cache::open(dir.path().join("cache")).unwrap();
        assert_eq!(cache.state(&toy).unwrap(), State::Missing);
        cache.ensure(&toy).unwrap();
        assert!(!temporary.exists() && !entry.join("half").exists());
    }

    #[test]
    fn what_nobody_finishes_is_garbage() {
        let (_dir, cache) = cache();
        let abandoned = cache.ensure(&Toy::new("a")).unwrap().directory;
        fs::remove_file(abandoned.join(MANIFEST)).unwrap();
        let digest = abandoned.file_name().unwrap().to_string_lossy();
        let lock = cache.lock(&format!("toy-{digest}"), "toy").unwrap();
        cache.ensure(&Toy::new("b")).unwrap();
        assert!(abandoned.exists());
        drop(lock);
        cache.ensure(&Toy::new("c")).unwrap();
        assert!(!abandoned.exists());
    }

    #[test]
    fn of_two_runs_at_once_one_builds_and_the_other_waits() {
        let dir = tempfile::tempdir().unwrap();
        let builds: u32 = std::thread::scope(|scope| {
            let run = || {
                let toy = Toy::new("a");
                let cache = Cache::open(dir.path().join("cache")).unwrap();
                let out = cache.ensure(&toy).unwrap().path("out");
                assert_eq!(fs::read_to_string(out).unwrap(), "a");
                toy.builds.get()
            };
            let runs: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
            runs.into_iter().map(|run| run.join().unwrap()).sum()
        });
        assert_eq!(builds, 1);
    }

    #[test]
    fn a_failed_build_leaves_no_entry() {
        let (_dir, cache) = cache();
        let toy = Toy::new("a");
        toy.fails.set(true);
        assert!(cache.ensure(&toy).is_err());
        assert_eq!(cache.state(&toy).unwrap(), State::Missing);
        toy.fails.set(false);
        cache.ensure(&toy).unwrap();
    }

    #[test]
    fn garbage_is_what_is_old_and_not_among_the_newest() {
        let (_dir, cache) = cache();
        let build = |input| cache.ensure(&Toy::new(input)).unwrap().directory;
        let entries: Vec<_> = ["a", "b", "c"].into_iter().map(build).collect();
        for (age, entry) in (2..).zip(entries.iter().rev()) {
            let file = File::open(entry.join(USED)).unwrap();
            file.set_modified(SystemTime::now() - RECENT * age).unwrap();
        }
        let removed = cache.collect_garbage("toy", KEPT, RECENT).unwrap();
        assert_eq!(removed, entries[..1]);
        assert_eq!(cache.collect_all_garbage().unwrap(), entries[1..2]);
    }
}
