//! The file as a whole.

use std::time::Duration;

use hotfire_env::Defect;
use indexmap::IndexMap;
use toml_edit::Document;

use super::keys::{self, cluster, disk, network, run, top};
use super::names::{self, Names};
use super::problem::{Problem, Problems, suggest};
use super::sheet::Sheet;
use super::units::{DURATIONS, micros, show};
use super::{Cluster, DiskSpec, Flush, Network, Run, Scenario, Topic, TransactionChecks};
use super::{accounts, actions, expect, faults, groups};

pub(super) fn scenario(path: &str, text: &str) -> Result<Scenario, Vec<Problem>> {
    let document = Document::parse(text.to_owned()).map_err(|error| {
        vec![Problem {
            span: error.span().unwrap_or_default(),
            message: format!("this is not TOML: {}", error.message()),
            help: None,
        }]
    })?;
    let problems = Problems::default();
    let scenario = whole(path, &problems, &document);
    let problems = problems.into_inner();
    if problems.is_empty() {
        Ok(scenario)
    } else {
        Err(problems)
    }
}

fn whole(path: &str, problems: &Problems, document: &Document<String>) -> Scenario {
    let start = 0..0;
    let file = Sheet::open(problems, document.as_table(), start, &top::SECTION);
    let empty = toml_edit::Table::new();
    let section = |key, section| {
        file.table(key, section)
            .unwrap_or_else(|| Sheet::open(problems, &empty, 0..0, section))
    };
    let run_sheet = section(&top::RUN, &keys::run::SECTION);
    let run = read_run(&run_sheet, file.table.contains_key(top::RUN.name));
    let mut names = Names::default();
    let cluster = read_cluster(&section(&top::CLUSTER, &keys::cluster::SECTION), &mut names);
    let network_sheet = section(&top::NETWORK, &keys::network::SECTION);
    let network = read_network(&network_sheet);
    check_tick(&run_sheet, &network_sheet, &run, &network);
    let disk_sheet = section(&top::DISK, &keys::disk::SECTION);
    let disk = DiskSpec {
        flush_latency: disk_sheet
            .duration(&disk::FLUSH_LATENCY)
            .map(|at| at.value)
            .unwrap_or_default(),
    };
    let topics = read_topics(&file);
    let accounts = accounts::accounts(&file);
    let producers = groups::producers(&file, &mut names, &topics, &run, &cluster, &accounts);
    let consumers = groups::consumers(&file, &mut names, &topics, &accounts);
    names.declare_roles();
    let faults = faults::faults(&file, &names, &run);
    let actions = actions::actions(&file, &run, &topics, &consumers);
    Scenario {
        path: path.to_owned(),
        name: short_name(path),
        story: file
            .text(&top::STORY)
            .map(|at| at.value.trim().to_owned())
            .unwrap_or_default(),
        run,
        cluster,
        network,
        disk,
        accounts,
        topics,
        producers,
        consumers,
        faults,
        actions,
        defects: read_defects(&file),
        expect: expect::expect(&file),
    }
}

fn read_run(sheet: &Sheet<'_>, present: bool) -> Run {
    let duration = |key| sheet.duration(key).map(|at| at.value).unwrap_or_default();
    if let Some(tick) = sheet.duration(&run::TICK)
        && tick.value.subsec_micros() % 1000 != 0
    {
        let message = "`tick` must be whole milliseconds";
        sheet
            .problems
            .add(tick.span, message, Some("for example \"1ms\"".to_owned()));
    }
    Run {
        tick: duration(&run::TICK),
        // A missing table is one problem, not one more for each key that it would have had.
        duration: if present {
            duration(&run::DURATION)
        } else {
            Default::default()
        },
        drain: duration(&run::DRAIN),
    }
}

fn read_cluster(sheet: &Sheet<'_>, names: &mut Names) -> Cluster {
    let name_servers = sheet.small(&cluster::NAME_SERVERS);
    let broker_groups = sheet.small(&cluster::BROKER_GROUPS);
    names.declare_servers(name_servers, broker_groups);
    let duration = |key| sheet.duration(key).map_or(Duration::ZERO, |at| at.value);
    Cluster {
        name_servers: name_servers.unwrap_or(1),
        broker_groups: broker_groups.unwrap_or(1),
        flush: match sheet.one_of(&cluster::FLUSH) {
            Some("sync") => Flush::Sync,
            _ => Flush::Async,
        },
        flush_interval: sheet
            .duration(&cluster::FLUSH_INTERVAL)
            .map(|at| at.value)
            .unwrap_or_default(),
        commit_log_file_size: sheet
            .quantity(&cluster::COMMIT_LOG_FILE_SIZE)
            .map(|at| at.value)
            .unwrap_or_default(),
        consume_queue_file_entries: sheet
            .count(&cluster::CONSUME_QUEUE_FILE_ENTRIES)
            .map(|at| at.value)
            .unwrap_or_default(),
        auto_create_topics: sheet
            .flag(&cluster::AUTO_CREATE_TOPICS)
            .is_some_and(|at| at.value),
        delay_levels: read_delay_levels(sheet),
        transactions: TransactionChecks {
            timeout: duration(&cluster::TRANSACTION_TIMEOUT),
            interval: duration(&cluster::TRANSACTION_CHECK_INTERVAL),
            max_checks: sheet.small(&cluster::TRANSACTION_CHECKS).unwrap_or(15),
        },
    }
}

fn read_delay_levels(sheet: &Sheet<'_>) -> Vec<std::time::Duration> {
    let Some(text) = sheet.text(&cluster::DELAY_LEVELS) else {
        return Vec::new();
    };
    let mut levels = Vec::new();
    for word in text.value.split_whitespace() {
        match DURATIONS.parse(word) {
            Ok(level) => levels.push(micros(level)),
            Err(wrong) => sheet
                .problems
                .add(text.span.clone(), wrong.message, wrong.help),
        }
    }
    if text.value.trim().is_empty() {
        sheet
            .problems
            .add(text.span, "there must be at least one delay level", None);
    }
    levels
}

fn read_network(sheet: &Sheet<'_>) -> Network {
    let duration = |key| sheet.duration(key).map(|at| at.value).unwrap_or_default();
    Network {
        latency: duration(&network::LATENCY),
        jitter: duration(&network::JITTER),
        bandwidth: sheet.quantity(&network::BANDWIDTH).map(|at| at.value),
    }
}

fn check_tick(run_sheet: &Sheet<'_>, network: &Sheet<'_>, run: &Run, spec: &Network) {
    let readable = !run.tick.is_zero() && !spec.latency.is_zero();
    if readable && spec.latency < run.tick {
        let latency = network.key_span(network::LATENCY.name);
        let tick = run_sheet.key_span(run::TICK.name);
        let span = latency.or(tick).unwrap_or_default();
        let (latency, tick) = (show(spec.latency), show(run.tick));
        let message = format!("the latency of {latency} is shorter than the tick of {tick}");
        let help = "nothing travels faster than one step: lower `tick` or raise `latency`";
        network.problems.add(span, message, Some(help.to_owned()));
    }
}

fn read_topics(file: &Sheet<'_>) -> IndexMap<String, Topic> {
    let mut topics = IndexMap::new();
    for (name, sheet) in tables(file, &top::TOPICS, &keys::topics::SECTION) {
        let queues = sheet.small(&keys::topics::QUEUES).unwrap_or(1);
        topics.insert(name, Topic { queues });
    }
    topics
}

/// The tables below a key, by name. Reports names that RocketMQ would not take.
pub(super) fn tables<'a>(
    file: &Sheet<'a>,
    key: &keys::Key,
    section: &'static keys::Section,
) -> Vec<(String, Sheet<'a>)> {
    let Some(item) = file.item(key) else {
        return Vec::new();
    };
    let Some(table) = item.as_table_like() else {
        let message = format!("`{}` must be {}", key.name, "a table of tables");
        let help = format!("see {}", section.title);
        let span = item
            .span()
            .or_else(|| file.key_span(key.name))
            .unwrap_or_default();
        file.problems.add(span, message, Some(help));
        return Vec::new();
    };
    let mut found = Vec::new();
    for (name, item) in table.iter() {
        let span = table
            .get_key_value(name)
            .and_then(|(key, _)| key.span())
            .or_else(|| item.span())
            .unwrap_or_default();
        if !names::is_valid(name) {
            let message = format!("`{name}` is not a name that RocketMQ takes");
            let help = "letters, digits, `_`, `-`, `%` and `|`, at most 127 of them";
            file.problems
                .add(span.clone(), message, Some(help.to_owned()));
        }
        let Some(table) = item.as_table_like() else {
            let message = format!(
                "`{name}` must be a table, not {}",
                super::sheet::describe(item)
            );
            file.problems
                .add(span, message, Some(format!("see {}", section.title)));
            continue;
        };
        let sheet = Sheet::open(file.problems, table, item.span().unwrap_or(span), section);
        found.push((name.to_owned(), sheet));
    }
    if found.is_empty() && key.need == keys::Need::Required && table.is_empty() {
        let span = item
            .span()
            .or_else(|| file.key_span(key.name))
            .unwrap_or_default();
        file.problems
            .add(span, format!("there are no {}", key.name), None);
    }
    found
}

fn read_defects(file: &Sheet<'_>) -> Vec<Defect> {
    let mut defects = Vec::new();
    for text in file.texts(&top::DEFECTS) {
        match text.value.parse::<Defect>() {
            Ok(defect) => defects.push(defect),
            Err(error) => {
                let names = Defect::ALL.iter().map(|defect| defect.name());
                let help = suggest(&text.value, names, "there are");
                file.problems.add(text.span, error.to_string(), help);
            }
        }
    }
    defects
}

/// `scenarios/double-11/peak.toml` is called `double-11/peak`.
fn short_name(path: &str) -> String {
    let path = path.replace('\\', "/");
    let path = path.strip_suffix(".toml").unwrap_or(&path);
    let mut parts: Vec<&str> = path
        .rsplit('/')
        .filter(|part| !part.is_empty())
        .take(2)
        .collect();
    parts.reverse();
    parts.retain(|part| *part != "." && *part != "..");
    parts.join("/")
}
