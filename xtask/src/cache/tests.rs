// SPDX-License-Identifier: GPL-2.0
//! Tests of the cache, with toy artifacts.

use std::cell::Cell;

use anyhow::ensure;

use super::*;
use crate::setup::both;

struct Toy {
    input: &'static str,
    builds: Cell<u32>,
    fails: Cell<bool>,
    resumes: bool,
}

impl Toy {
    fn new(input: &'static str) -> Self {
        Self {
            input,
            builds: Cell::new(0),
            fails: Cell::new(false),
            resumes: false,
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
    fn is_resumable(&self) -> bool {
        self.resumes
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
    let State::Present(making) = cache.state(&a).unwrap() else {
        panic!("it is not there");
    };
    assert!(making.is_some(), "when it was made is not recorded");
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
        // A run checks an entry once, so this is the next run.
        let cache = Cache::open(dir.path().join("cache")).unwrap();
        assert!(matches!(cache.state(&toy).unwrap(), State::Broken(_)));
        cache.ensure(&toy).unwrap();
        assert_eq!(toy.builds.get(), number as u32 + 2);
        assert_eq!(fs::read_to_string(&out).unwrap(), "aaaa");
    }
}

/// A build by `make` goes on from what an interrupted one has left. If it fails, that may be why: the
/// next one begins anew.
#[test]
fn an_interrupted_build_goes_on() {
    let (dir, cache) = cache();
    let mut toy = Toy::new("a");
    toy.resumes = true;
    toy.fails.set(true);
    cache.ensure(&toy).unwrap_err();
    let entry = cache.directory.join("toy");
    let left = || {
        let found = fs::read_dir(&entry).unwrap().flatten();
        let mut paths = found.map(|found| found.path().join("half"));
        paths.find(|half| half.parent().unwrap().extension() == Some("new".as_ref()))
    };
    fs::write(left().unwrap(), "").unwrap();
    toy.fails.set(false);
    let made = cache.ensure(&toy).unwrap().directory;
    assert!(made.join("half").exists());

    // Once more, and what is left makes it fail.
    fs::remove_file(made.join(MANIFEST)).unwrap();
    let temporary = made.with_extension("new");
    fs::create_dir(&temporary).unwrap();
    fs::write(temporary.join("half"), "").unwrap();
    toy.fails.set(true);
    let cache = Cache::open(dir.path().join("cache")).unwrap();
    let error = format!("{:#}", cache.ensure(&toy).unwrap_err());
    assert!(error.contains("begins anew"), "{error}");
    assert!(!temporary.exists());
    toy.fails.set(false);
    let made = cache.ensure(&toy).unwrap().directory;
    assert!(!made.join("half").exists());
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
fn runs_that_make_things_side_by_side_do_not_wait_for_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let run = |first: &'static str, second: &'static str| {
        let cache = Cache::open(dir.path().join("cache")).unwrap();
        let ensure = |input| cache.ensure(&Toy::new(input)).map(drop);
        both(|| ensure(first), || ensure(second)).unwrap();
    };
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| run("a", "b"));
            scope.spawn(|| run("b", "a"));
        }
    });
}

#[test]
fn what_changes_while_it_is_read_makes_no_entry() {
    struct Edited(Cell<u32>);
    impl Artifact for Edited {
        fn kind(&self) -> &'static str {
            "edited"
        }
        fn title(&self) -> String {
            "edited".to_owned()
        }
        fn inputs(&self, key: &mut Key) -> Result<()> {
            key.text("version", self.0.get().to_string());
            Ok(())
        }
        fn build(&self, _build: &Build<'_>) -> Result<()> {
            self.0.set(self.0.get().max(1));
            Ok(())
        }
        fn outputs(&self) -> Vec<PathBuf> {
            Vec::new()
        }
    }
    let (_dir, cache) = cache();
    let edited = Edited(Cell::new(0));
    let error = cache.ensure(&edited).unwrap_err().to_string();
    assert!(error.contains("has changed meanwhile"), "{error}");
    edited.0.set(0);
    assert_eq!(cache.state(&edited).unwrap(), State::Missing);
    edited.0.set(1);
    cache.ensure(&edited).unwrap();
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
