//! Files of fixed size on a real disk that is full, limited or tampered with.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test of what touches the operating system"
)]

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use hotfire_env::real::{RealDisk, catch_file_size_signal};
use hotfire_env::{Disk, MappedFile, is_disk_full};
use rustix::process::{Resource, Rlimit, setrlimit};

const MIB: u64 = 1 << 20;

/// Tells the process that a test starts from the test itself.
const CHILD: &str = "HOTFIRE_TEST_CHILD";

/// Runs the test of this name in a process of its own, whose limits it may change.
fn in_process(name: &str, test: impl FnOnce()) {
    if std::env::var_os(CHILD).is_some() {
        return test();
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{:?}: {output}", child.status);
    assert!(output.contains("1 passed"), "{output}");
}

fn limit(resource: Resource, current: u64) {
    let limit = rustix::process::getrlimit(resource);
    let current = Some(current);
    setrlimit(resource, Rlimit { current, ..limit }).unwrap();
}

/// A file system of its own; gone when this is dropped.
struct Mount(tempfile::TempDir);

impl Mount {
    fn tmpfs(size: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(dir.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(dir)),
            other => {
                eprintln!("NOT TESTED on a full file system, as none may be mounted: {other:?}");
                None
            }
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

/// Writes MiB after MiB until that fails, and returns how many were written.
fn fill(file: &dyn MappedFile) -> u64 {
    for index in 0..file.len() / MIB {
        if let Err(error) = file.write(index * MIB, &[7; MIB as usize]) {
            assert!(is_disk_full(&error), "{error}");
            return index;
        }
    }
    panic!("the disk was never full");
}

fn descriptors_below(dir: &Path) -> usize {
    let open = fs::read_dir("/proc/self/fd").unwrap();
    open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.starts_with(dir))
        .count()
}

fn maps_below(dir: &Path) -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let dir = dir.to_str().unwrap();
    maps.lines().filter(|line| line.contains(dir)).count()
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_can_be_read_and_written_again_when_there_is_space() {
    let Some(mount) = Mount::tmpfs(8 * MIB) else {
        return;
    };
    let disk = RealDisk::new(mount.0.path());
    let file = disk.map("commitlog/0", 64 * MIB).unwrap();
    let other = disk.map("index/0", 64 * MIB).unwrap();
    let written = fill(&*file);
    assert!((6..=8).contains(&written), "{written}");
    for at in [0, MIB, 63 * MIB] {
        let error = other.write(at, &[1; 4096]).unwrap_err();
        assert!(is_disk_full(&error), "{error}");
    }
    assert!(disk.replace("config/a", vec![1; 1 << 16]).await.is_err());
    // Holes and all can be read, what was there can be written, and it can be flushed.
    assert_eq!(
        file.slice(0..written * MIB).unwrap()[..],
        vec![7; (written * MIB) as usize]
    );
    assert_eq!(
        other.slice(0..64 * MIB).unwrap()[..],
        vec![0; 64 * MIB as usize]
    );
    file.write(17, b"in place").unwrap();
    file.flush(0..file.len()).await.unwrap();

    // The same after all was opened again.
    drop((file, other));
    let disk = RealDisk::new(mount.0.path());
    let file = disk.map("commitlog/0", 64 * MIB).unwrap();
    let other = disk.map("index/0", 64 * MIB).unwrap();
    assert_eq!(&file.slice(17..25).unwrap()[..], b"in place");
    assert!(is_disk_full(&other.write(MIB, b"x").unwrap_err()));
    disk.remove("commitlog/0").unwrap();
    drop(file);
    other.write(MIB, b"x").unwrap();
    disk.replace("config/a", vec![1; 1 << 16]).await.unwrap();
    assert_eq!(maps_below(mount.0.path()), 0);
}

#[test]
fn a_file_that_outgrows_the_limit_of_the_process_is_an_error_and_no_signal() {
    let name = "a_file_that_outgrows_the_limit_of_the_process_is_an_error_and_no_signal";
    in_process(name, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let disk = RealDisk::new(dir.path());
            let file = disk.map("log", 4 * MIB).unwrap();
            catch_file_size_signal().unwrap();
            limit(Resource::Fsize, MIB);
            assert_eq!(fill(&*file), 1);
            assert_eq!(file.slice(0..MIB).unwrap()[..], [7; MIB as usize]);
            file.write(5, b"in place").unwrap();
            let error = disk.map("next", 4 * MIB).err().unwrap();
            assert!(is_disk_full(&error), "{error}");
            let error = disk.replace("config", vec![1; 2 * MIB as usize]).await;
            assert!(is_disk_full(&error.unwrap_err()));
            assert!(!disk.exists("config.tmp").unwrap());
            file.flush(0..4 * MIB).await.unwrap();
        });
    });
}

#[test]
fn any_number_of_files_takes_few_descriptors_and_no_maps() {
    const FILES: u64 = 1000;
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::keeping_open(dir.path(), 16);
    let files: Vec<_> = (0..FILES)
        .map(|number| {
            let file = disk.map(&format!("{number}/0"), 6 * MIB).unwrap();
            file.write(MIB, &number.to_be_bytes()).unwrap();
            file
        })
        .collect();
    assert_eq!(descriptors_below(dir.path()), 16);
    for (number, file) in files.iter().enumerate() {
        let number = number as u64;
        assert_eq!(file.slice(MIB..MIB + 8).unwrap()[..], number.to_be_bytes());
        file.write(0, &number.to_be_bytes()).unwrap();
    }
    assert_eq!(descriptors_below(dir.path()), 16);
    assert_eq!(maps_below(dir.path()), 0);
    drop(files);
    assert_eq!(descriptors_below(dir.path()), 0);
}

#[test]
fn a_process_that_has_no_descriptor_left_closes_files_and_goes_on() {
    let name = "a_process_that_has_no_descriptor_left_closes_files_and_goes_on";
    in_process(name, || {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::keeping_open(dir.path(), 1000);
        limit(Resource::Nofile, 40);
        let files: Vec<_> = (0..200)
            .map(|number| disk.map(&format!("{number}/0"), MIB).unwrap())
            .collect();
        for file in files.iter().chain(&files) {
            file.write(0, b"x").unwrap();
        }
        assert!(
            files
                .iter()
                .all(|file| file.slice(0..1).unwrap()[..] == *b"x")
        );
    });
}

#[tokio::test]
async fn a_file_that_somebody_has_cut_is_an_error_and_no_signal() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(dir.path());
    let file = disk.map("log", MIB).unwrap();
    file.write(MIB - 4, b"data").unwrap();
    let cut = OpenOptions::new().write(true).open(dir.path().join("log"));
    cut.unwrap().set_len(100).unwrap();
    let error = file.slice(MIB - 4..MIB).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    assert_eq!(file.data_from(200).unwrap(), None);
    file.write(MIB - 4, b"more").unwrap();
    file.flush(0..MIB).await.unwrap();
    assert_eq!(&file.slice(MIB - 4..MIB).unwrap()[..], b"more");
}

#[tokio::test]
async fn a_file_that_was_removed_is_not_taken_for_the_one_that_came_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::keeping_open(dir.path(), 1);
    let old = disk.map("queue", MIB).unwrap();
    old.write(0, b"old").unwrap();
    disk.rename("queue", "aside").unwrap();
    let new = disk.map("queue", MIB).unwrap();
    new.write(0, b"new").unwrap();
    assert_eq!(old.slice(0..3).unwrap_err().kind(), ErrorKind::NotFound);
    old.write(0, b"bad").unwrap_err();
    old.flush(0..3).await.unwrap();
    assert_eq!(&new.slice(0..3).unwrap()[..], b"new");
}

#[test]
fn what_was_never_written_takes_no_space_and_need_not_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(dir.path());
    let file: Arc<dyn MappedFile> = disk.map("log", 1 << 30).unwrap();
    assert_eq!(file.data_from(0).unwrap(), None);
    file.write(500 * MIB, b"x").unwrap();
    let data = file.data_from(7).unwrap().unwrap();
    assert!(data.contains(&(500 * MIB)));
    assert!(data.end - data.start <= MIB, "{data:?}");
    assert_eq!(file.data_from(data.end).unwrap(), None);
    assert!(file.slice(0..u64::MAX).is_err());
}
