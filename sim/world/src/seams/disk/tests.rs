use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use hotfire_env::{Disk, MappedFile};
use proptest::prelude::*;

use super::image::{Image, PAGE, SECTOR};
use super::{DiskConfig, DiskDisturbance, JOURNAL_INTERVAL, SimDisk, WRITE_BACK_AFTER};
use crate::seams::net::NetworkConfig;
use crate::seams::stage;

const FILE: u64 = 1 << 30;

fn disk_with(seed: u64, config: DiskConfig) -> (Arc<SimDisk>, Arc<dyn Disk>) {
    let universe = stage::universe(seed, NetworkConfig::default());
    let host = universe.add_host("host");
    let disk = universe.disk(universe.add_node("node", host, config));
    let view = disk.process_view();
    (disk, view)
}

fn disk_of(seed: u64) -> (Arc<SimDisk>, Arc<dyn Disk>) {
    disk_with(seed, DiskConfig::default())
}

fn disk() -> (Arc<SimDisk>, Arc<dyn Disk>) {
    disk_of(1)
}

fn byte(file: &Arc<dyn MappedFile>, at: u64) -> u8 {
    file.slice(at..at + 1).unwrap()[0]
}

/// The process dies or the machine loses power, and a new process maps the file again.
fn after(
    disk: &Arc<SimDisk>,
    power_loss: bool,
    path: &str,
    len: u64,
) -> (Arc<dyn Disk>, Arc<dyn MappedFile>) {
    disk.kill();
    if power_loss {
        disk.lose_power();
    }
    let view = disk.process_view();
    let file = view.map(path, len).unwrap();
    (view, file)
}

#[tokio::test(start_paused = true)]
async fn a_process_crash_keeps_what_was_written() {
    let (disk, view) = disk();
    let file = view.map("log", FILE).unwrap();
    file.write(PAGE - 2, b"across").unwrap();
    let (_, file) = after(&disk, false, "log", FILE);
    assert_eq!(&file.slice(PAGE - 2..PAGE + 4).unwrap()[..], b"across");
}

#[tokio::test(start_paused = true)]
async fn a_mapping_of_a_dead_process_is_unusable() {
    let (disk, view) = disk();
    let file = view.map("log", FILE).unwrap();
    disk.kill();
    assert!(file.write(0, b"zombie").is_err());
    assert!(file.flush(0..6).await.is_err());
    assert!(view.write("config", b"zombie").is_err());
    assert_eq!(byte(&disk.process_view().map("log", FILE).unwrap(), 0), 0);
}

#[tokio::test(start_paused = true)]
async fn a_power_loss_keeps_what_was_flushed_and_some_of_the_rest() {
    let (disk, view) = disk();
    let file = view.map("log", FILE).unwrap();
    view.sync_dir("").await.unwrap();
    let data = vec![7; 100 * PAGE as usize];
    file.write(0, &data).unwrap();
    file.flush(0..50 * PAGE).await.unwrap();
    let (_, file) = after(&disk, true, "log", FILE);
    assert!((0..50).all(|page| byte(&file, page * PAGE) == 7));
    let kept = (50..100)
        .filter(|page| byte(&file, page * PAGE) == 7)
        .count();
    assert!((10..40).contains(&kept), "{kept} of 50 pages were kept");
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_lost_goes_back_to_its_flushed_content() {
    let (mut went_back, mut stayed) = (0, 0);
    for seed in 0..20 {
        let (disk, view) = disk_of(seed);
        let file = view.map("log", FILE).unwrap();
        view.sync_dir("").await.unwrap();
        file.write(0, b"flushed").unwrap();
        file.flush(0..7).await.unwrap();
        file.write(7, b" and not").unwrap();
        let (_, file) = after(&disk, true, "log", FILE);
        match &file.slice(0..15).unwrap()[..] {
            b"flushed and not" => stayed += 1,
            other => {
                assert_eq!(other, b"flushed\0\0\0\0\0\0\0\0");
                went_back += 1;
            }
        }
    }
    assert!(went_back > 0 && stayed > 0);
}

#[tokio::test(start_paused = true)]
async fn a_flush_takes_time_and_covers_what_was_written_before_it_began() {
    let mut lost = 0;
    for seed in 0..20 {
        let (disk, view) = disk_of(seed);
        let file = view.map("log", FILE).unwrap();
        view.sync_dir("").await.unwrap();
        file.write(0, b"before").unwrap();
        let began = tokio::time::Instant::now();
        let flush = file.flush(0..6);
        file.write(6, b"during").unwrap();
        flush.await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(1));
        let (_, file) = after(&disk, true, "log", FILE);
        let content = file.slice(0..12).unwrap();
        assert_eq!(&content[..6], b"before");
        lost += u32::from(content[6..] == [0; 6]);
    }
    assert!(lost > 0, "what was written during the flush is not certain");
}

#[tokio::test(start_paused = true)]
async fn a_flush_that_the_process_does_not_survive_decides_nothing() {
    let mut lost = 0;
    for seed in 0..20 {
        let (disk, view) = disk_of(seed);
        let file = view.map("log", FILE).unwrap();
        view.sync_dir("").await.unwrap();
        file.write(0, b"data").unwrap();
        drop(file.flush(0..4));
        let (_, file) = after(&disk, true, "log", FILE);
        lost += u32::from(byte(&file, 0) == 0);
    }
    assert!((1..20).contains(&lost));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_was_not_synced_may_be_gone() {
    let mut gone = 0;
    for seed in 0..20 {
        let (disk, view) = disk_of(seed);
        view.map("store/old", PAGE).unwrap();
        view.sync_dir("store").await.unwrap();
        view.map("store/new", PAGE).unwrap();
        disk.kill();
        disk.lose_power();
        let view = disk.process_view();
        assert!(view.exists("store/old").unwrap());
        gone += u32::from(!view.exists("store/new").unwrap());
    }
    assert!((1..20).contains(&gone));
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_was_not_synced_may_be_undone() {
    let mut back = 0;
    for seed in 0..20 {
        let (disk, view) = disk_of(seed);
        view.map("log", PAGE).unwrap();
        view.sync_dir("").await.unwrap();
        view.remove("log").unwrap();
        disk.kill();
        disk.lose_power();
        back += u32::from(disk.process_view().exists("log").unwrap());
    }
    assert!((1..20).contains(&back));
}

#[tokio::test(start_paused = true)]
async fn a_rename_happens_whole_or_not_at_all() {
    for seed in 0..20 {
        let (disk, view) = disk_of(seed);
        view.write("config", b"old").unwrap();
        view.write("config.tmp", b"new").unwrap();
        for path in ["config", "config.tmp"] {
            view.map(path, 3).unwrap().flush(0..3).await.unwrap();
        }
        view.sync_dir("").await.unwrap();
        view.rename("config.tmp", "config").unwrap();
        disk.kill();
        disk.lose_power();
        let view = disk.process_view();
        let renamed = !view.exists("config.tmp").unwrap();
        let expected: &[u8] = if renamed { b"new" } else { b"old" };
        assert_eq!(view.read("config").unwrap(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_replaced_file_is_old_or_new_whole_wherever_the_power_goes_away() {
    let (mut old, mut new) = (0, 0);
    for seed in 0..40 {
        let (disk, view) = disk_of(seed);
        view.replace("config/a", vec![1; 9000]).await.unwrap();
        let replacing = view.replace("config/a", vec![2; 10_000]);
        let patience = Duration::from_micros(200 * seed);
        let done = tokio::time::timeout(patience, replacing).await;
        disk.kill();
        disk.lose_power();
        let found = disk.process_view().read("config/a").unwrap();
        if found == [1; 9000] {
            assert!(done.is_err(), "what was replaced must not be undone");
            old += 1;
        } else {
            assert_eq!(found, [2; 10_000]);
            new += 1;
        }
    }
    assert!(old > 0 && new > 0, "{old} old, {new} new");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_replaced_is_the_old_one() {
    for disturbance in [DiskDisturbance::Full, DiskDisturbance::FlushErrors] {
        let (disk, view) = disk();
        view.replace("config/a", b"old".to_vec()).await.unwrap();
        disk.disturb(1, disturbance);
        assert!(view.replace("config/a", b"new".to_vec()).await.is_err());
        assert_eq!(view.read("config/a").unwrap(), b"old");
        assert_eq!(view.list("config").unwrap().len(), 1);
        disk.relieve(1);
        view.replace("config/a", b"new".to_vec()).await.unwrap();
        assert_eq!(view.read("config/a").unwrap(), b"new");
    }
}

#[tokio::test(start_paused = true)]
async fn an_overwritten_file_may_be_old_or_empty_after_a_power_loss() {
    let (mut old, mut empty, mut new) = (0, 0, 0);
    for seed in 0..40 {
        let (disk, view) = disk_of(seed);
        view.write("config", b"old").unwrap();
        view.map("config", 3).unwrap().flush(0..3).await.unwrap();
        view.sync_dir("").await.unwrap();
        view.write("config", b"newer").unwrap();
        disk.kill();
        disk.lose_power();
        match &disk.process_view().read("config").unwrap()[..] {
            b"old" => old += 1,
            b"" => empty += 1,
            b"newer" => new += 1,
            other => assert_eq!(other, [0; 5], "a page that was never written"),
        }
    }
    assert!(old > 0 && empty > 0 && new > 0);
}

#[tokio::test(start_paused = true)]
async fn the_kernel_writes_back_by_itself_in_time() {
    let (disk, view) = disk();
    let file = view.map("log", FILE).unwrap();
    let data = vec![7; 20 * PAGE as usize];
    file.write(0, &data).unwrap();
    tokio::time::sleep(WRITE_BACK_AFTER).await;
    let (_, file) = after(&disk, true, "log", FILE);
    assert!((0..20).all(|page| byte(&file, page * PAGE) == 7));
}

#[tokio::test(start_paused = true)]
async fn an_overwritten_file_is_safe_with_the_next_journal() {
    for seed in 0..20 {
        let (disk, view) = disk_of(seed);
        view.write("config", b"old").unwrap();
        tokio::time::sleep(JOURNAL_INTERVAL).await;
        view.write("config", b"newer").unwrap();
        tokio::time::sleep(JOURNAL_INTERVAL).await;
        disk.kill();
        disk.lose_power();
        assert_eq!(disk.process_view().read("config").unwrap(), b"newer");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_flush_is_not_made_good_by_the_next_one() {
    let (disk, view) = disk();
    let file = view.map("log", FILE).unwrap();
    view.sync_dir("").await.unwrap();
    file.write(0, b"data").unwrap();
    disk.disturb(1, DiskDisturbance::FlushErrors);
    assert!(file.flush(0..4).await.is_err());
    disk.relieve(1);
    file.flush(0..4).await.unwrap();
    assert_eq!(byte(&file, 0), b'd', "the page cache still has it");
    let (_, file) = after(&disk, true, "log", FILE);
    assert_eq!(byte(&file, 0), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stuck_device_goes_on_when_it_is_relieved() {
    let (disk, view) = disk();
    let file = view.map("log", FILE).unwrap();
    file.write(0, b"data").unwrap();
    disk.disturb(1, DiskDisturbance::Stuck);
    let flush = file.flush(0..4);
    tokio::pin!(flush);
    let patience = tokio::time::timeout(Duration::from_secs(60), &mut flush);
    assert!(patience.await.is_err());
    disk.relieve(1);
    flush.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slow_device_takes_longer() {
    let (disk, view) = disk();
    let file = view.map("log", FILE).unwrap();
    file.write(0, b"data").unwrap();
    disk.disturb(1, DiskDisturbance::Slow(Duration::from_secs(2)));
    let began = tokio::time::Instant::now();
    file.flush(0..4).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_takes_no_more() {
    let config = DiskConfig {
        capacity: 256 * 1024,
        ..DiskConfig::default()
    };
    let (_disk, view) = disk_with(1, config);
    let file = view.map("log", FILE).unwrap();
    let written = (0..FILE)
        .step_by(64 * 1024)
        .take_while(|at| file.write(*at, b"x").is_ok());
    assert_eq!(written.count(), 4);
    assert_eq!(view.usage().unwrap().free, 0);
    assert_eq!(
        view.write("config", b"x").unwrap_err().kind(),
        ErrorKind::StorageFull
    );
    view.remove("log").unwrap();
    assert!(view.write("config", b"x").is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_faulty_disk_refuses_reads_and_flips_bits() {
    let (disk, view) = disk();
    let file = view.map("log/0", FILE).unwrap();
    file.write(9, &[1]).unwrap();
    assert!(disk.flip_bit("log/0", 9 * 8 + 1));
    assert_eq!(byte(&file, 9), 3);
    disk.disturb(1, DiskDisturbance::ReadErrors("log".to_owned()));
    assert!(file.slice(9..10).is_err() && view.read("log/0").is_err());
    disk.relieve(1);
    assert_eq!(byte(&file, 9), 3);
}

#[tokio::test(start_paused = true)]
async fn files_are_listed_renamed_locked_and_removed() {
    let (disk, view) = disk();
    view.write("config/topics.json", b"{}").unwrap();
    view.map("config/deep/er", 10).unwrap();
    let names: Vec<String> = view
        .list("config")
        .unwrap()
        .into_iter()
        .map(|e| e.name)
        .collect();
    assert_eq!(names, ["deep", "topics.json"]);
    view.rename("config/topics.json", "config/topics.json.bak")
        .unwrap();
    assert_eq!(view.read("config/topics.json.bak").unwrap(), b"{}");
    assert_eq!(
        view.read("config/topics.json").unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(
        view.read("../x").unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    let guard = view.lock("lock").unwrap();
    assert_eq!(
        view.lock("lock").err().unwrap().kind(),
        ErrorKind::WouldBlock
    );
    disk.kill();
    let view = disk.process_view();
    let next = view.lock("lock").unwrap();
    drop(guard);
    assert!(
        view.lock("lock").is_err(),
        "a dead process's guard frees nothing"
    );
    drop(next);
    view.remove("config").unwrap();
    view.remove("config").unwrap();
    assert!(view.list("config").unwrap().is_empty());
    assert!(view.map("lock/below", 1).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_file_keeps_its_modification_time() {
    let (_disk, view) = disk();
    let file = view.map("log", FILE).unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    file.write(0, b"x").unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(view.modified_ms("log").unwrap(), 1_700_000_005_000);
}

#[derive(Debug, Clone)]
enum Step {
    Write(u64, Vec<u8>),
    Flush(u64, u64),
    FailFlush(u64, u64),
    SetLen(u64),
    Replace(Vec<u8>),
    PowerLoss(u64),
}

const SPAN: u64 = 6 * PAGE;

fn step() -> impl Strategy<Value = Step> {
    let data = |most| proptest::collection::vec(1..=255u8, 0..most);
    prop_oneof![
        8 => (0..SPAN, data(6000)).prop_map(|(at, data)| Step::Write(at, data)),
        4 => (0..SPAN, 0..SPAN).prop_map(|(a, b)| Step::Flush(a.min(b), a.max(b))),
        1 => (0..SPAN, 0..SPAN).prop_map(|(a, b)| Step::FailFlush(a.min(b), a.max(b))),
        1 => (1..SPAN).prop_map(Step::SetLen),
        1 => data(9000).prop_map(Step::Replace),
        2 => any::<u64>().prop_map(Step::PowerLoss),
    ]
}

/// The same rules without any cleverness: every byte twice.
struct Model {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// The pages of which the kernel knows that they are dirty.
    dirty: Vec<bool>,
    replaced: Option<Vec<u8>>,
}

impl Model {
    fn new(content: Vec<u8>) -> Self {
        Self {
            dirty: vec![false; content.len().div_ceil(PAGE as usize)],
            durable: content.clone(),
            live: content,
            replaced: None,
        }
    }

    fn resize(&mut self, len: usize) {
        self.live.resize(len, 0);
        self.durable.resize(len, 0);
        self.dirty.resize(len.div_ceil(PAGE as usize), false);
    }

    fn write(&mut self, at: u64, data: &[u8]) {
        let at = at as usize;
        self.live[at..at + data.len()].copy_from_slice(data);
        if !data.is_empty() {
            let page = |at: usize| at / PAGE as usize;
            self.dirty[page(at)..=page(at + data.len() - 1)].fill(true);
        }
    }

    fn flush(&mut self, range: std::ops::Range<u64>, failed: bool) {
        for page in range.start / PAGE..range.end.div_ceil(PAGE) {
            let start = (page * PAGE) as usize;
            let end = (start + PAGE as usize).min(self.live.len());
            if std::mem::take(&mut self.dirty[page as usize]) && !failed {
                self.durable[start..end].copy_from_slice(&self.live[start..end]);
            }
        }
        if !failed {
            self.replaced = None;
        }
    }

    /// Whether a power loss may leave this.
    fn allows(&self, found: &[u8]) -> bool {
        if let Some(old) = &self.replaced
            && (found == old || found.is_empty())
        {
            return true;
        }
        let sectors = |content: &[u8]| -> Vec<Vec<u8>> {
            content
                .chunks(SECTOR as usize)
                .map(<[u8]>::to_vec)
                .collect()
        };
        let (live, durable, found) = (sectors(&self.live), sectors(&self.durable), sectors(found));
        let per_page = (PAGE / SECTOR) as usize;
        found.len() == live.len()
            && found.iter().enumerate().all(|(at, sector)| {
                let dirty = self.dirty[at / per_page];
                *sector == durable[at] || dirty && *sector == live[at]
            })
    }
}

#[test]
fn what_comes_in_place_of_pages_that_were_cut_off_is_not_durable_before_it_is_flushed() {
    let mut image = Image::default();
    image.set_len(4 * PAGE);
    image.write(2 * PAGE, &[1; PAGE as usize], Duration::ZERO);
    image.set_len(PAGE);
    assert_eq!(image.dirty_bytes(&(0..PAGE)), 0);
    image.set_len(4 * PAGE);
    image.write(2 * PAGE, &[2; PAGE as usize], Duration::ZERO);
    let flush = image.begin_flush(0..4 * PAGE);
    image.end_flush(flush, true);
    image.lose_power(|_| 0);
    let mut found = [7; 4 * PAGE as usize];
    image.read(0, &mut found);
    assert_eq!(found, [0; 4 * PAGE as usize]);
}

proptest! {
    #[test]
    fn an_image_behaves_like_two_plain_copies(steps in proptest::collection::vec(step(), 1..40)) {
        let mut image = Image::default();
        image.set_len(SPAN);
        let mut model = Model::new(vec![0; SPAN as usize]);
        for step in steps {
            let len = image.len();
            match step {
                Step::Write(at, data) => {
                    let at = at.min(len);
                    let data = &data[..data.len().min((len - at) as usize)];
                    image.write(at, data, Duration::ZERO);
                    model.write(at, data);
                }
                Step::Flush(from, to) | Step::FailFlush(from, to) => {
                    let failed = matches!(step, Step::FailFlush(..));
                    let range = from.min(len)..to.min(len);
                    let id = image.begin_flush(range.clone());
                    image.end_flush(id, failed);
                    if !range.is_empty() {
                        model.flush(range, failed);
                    } else if !failed {
                        model.replaced = None;
                    }
                }
                Step::SetLen(len) => {
                    image.set_len(len);
                    model.resize(len as usize);
                }
                Step::Replace(data) => {
                    let old = model.replaced.take().unwrap_or_else(|| model.durable.clone());
                    model = Model::new(vec![0; data.len()]);
                    model.write(0, &data);
                    model.replaced = Some(old);
                    image.replace(&data, Duration::ZERO);
                }
                Step::PowerLoss(seed) => {
                    let mut index = 0;
                    image.lose_power(|bound| {
                        index += 1;
                        crate::seams::net::tcp::draw(seed, index) % bound
                    });
                    let mut found = vec![0; image.len() as usize];
                    image.read(0, &mut found);
                    prop_assert!(model.allows(&found));
                    model = Model::new(found);
                }
            }
            let mut content = vec![0; image.len() as usize];
            image.read(0, &mut content);
            prop_assert_eq!(&content, &model.live);
        }
    }
}
