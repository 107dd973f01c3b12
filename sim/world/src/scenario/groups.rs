//! Producer and consumer groups.

use std::ops::Range;
use std::time::Duration;

use indexmap::IndexMap;

use super::accounts::credentials;
use super::filters;
use super::keys::{self, consumers, producers, takes, top};
use super::kinds;
use super::names::Names;
use super::problem::suggest;
use super::read::tables;
use super::sheet::{At, Sheet};
use super::topology::Role;
use super::units::micros;
use super::{
    Account, Behaviour, Cluster, Commit, Consumers, Listener, Model, Pops, Producers, Run, Select,
    Send, Start, Topic, Transactions,
};
use super::{deliver, keys::Key, load};

pub(super) fn producers(
    file: &Sheet<'_>,
    names: &mut Names,
    topics: &IndexMap<String, Topic>,
    run: &Run,
    cluster: &Cluster,
    accounts: &IndexMap<String, Account>,
) -> IndexMap<String, Producers> {
    let mut groups = IndexMap::new();
    let mut next_order = 0u32;
    for (name, sheet) in tables(file, &top::PRODUCERS, &keys::producers::SECTION) {
        declare(names, &sheet, &name, Role::Producer, &producers::NODES);
        let mut group = producer_group(&sheet, topics, run, next_order);
        let keys = (&producers::ACCOUNT, &producers::SECRET);
        group.credentials = credentials(&sheet, keys, accounts);
        let orders = group.orders.as_ref().map_or(0, |orders| orders.count);
        next_order = next_order.saturating_add(orders);
        check_producers(&sheet, &group, cluster);
        groups.insert(name, group);
    }
    groups
}

fn producer_group(
    sheet: &Sheet<'_>,
    topics: &IndexMap<String, Topic>,
    run: &Run,
    first_order: u32,
) -> Producers {
    let small = |key| sheet.small(key).unwrap_or(1);
    let topic = sheet.text(&producers::TOPIC);
    if let Some(topic) = &topic {
        check_topic(sheet, topic, topics, "sent to");
    }
    Producers {
        nodes: small(&producers::NODES),
        topic: topic.map(|at| at.value).unwrap_or_default(),
        load: load::curve(sheet, run),
        messages: sheet.count(&producers::MESSAGES).map(|at| at.value),
        orders: load::read_orders(sheet, first_order),
        select: match sheet.one_of(&producers::SELECT) {
            Some("by-order") => Select::ByOrder,
            _ => Select::RoundRobin,
        },
        tags: tags(sheet),
        properties: filters::properties(sheet),
        sizes: load::read_sizes(sheet),
        send: match sheet.one_of(&producers::SEND) {
            Some("async") => Send::Async,
            Some("oneway") => Send::Oneway,
            Some("batch") => Send::Batch(small(&producers::BATCH_SIZE)),
            Some("transaction") => Send::Transaction,
            Some("request") => Send::Request,
            _ => Send::Sync,
        },
        transactions: transactions(sheet),
        in_flight: small(&producers::IN_FLIGHT),
        timeout: duration(sheet, &producers::TIMEOUT),
        retries: sheet.small(&producers::RETRIES).unwrap_or_default(),
        resend: sheet.small(&producers::RESEND).unwrap_or_default(),
        avoid_slow_brokers: flag(sheet, &producers::AVOID_SLOW_BROKERS),
        compress_over: sheet
            .quantity(&producers::COMPRESS_OVER)
            .map_or(4096, |at| at.value),
        delay_level: sheet
            .small(&producers::DELAY_LEVEL)
            .map_or(0, |level| level as u8),
        credentials: None,
        refused: flag(sheet, &producers::REFUSED),
        deliver: deliver::read(sheet),
        recall: sheet.share(&producers::RECALL).map_or(0.0, |at| at.value),
    }
}

fn transactions(sheet: &Sheet<'_>) -> Transactions {
    let Some(sheet) = sheet.table(&producers::TRANSACTIONS, &keys::transactions::SECTION) else {
        return Transactions::default();
    };
    let share = |key| sheet.share(key).map_or(0.0, |at| at.value);
    Transactions {
        rollback: share(&keys::transactions::ROLLBACK),
        unknown: share(&keys::transactions::UNKNOWN),
        unknown_checks: sheet
            .small(&keys::transactions::UNKNOWN_CHECKS)
            .unwrap_or_default(),
        told_twice: share(&keys::transactions::TOLD_TWICE),
    }
}

/// A tag must not contain what separates tags in an expression.
fn tags(sheet: &Sheet<'_>) -> Vec<String> {
    let mut tags = Vec::new();
    for tag in sheet.texts(&producers::TAGS) {
        if tag.value.is_empty() || tag.value.contains(['|', '*']) || tag.value.trim() != tag.value {
            let message = format!("`{}` is not a tag", tag.value);
            let help = "a tag has no `|`, no `*`, and no space at its ends".to_owned();
            sheet.problems.add(tag.span.clone(), message, Some(help));
        }
        tags.push(tag.value);
    }
    tags
}

fn check_producers(sheet: &Sheet<'_>, group: &Producers, cluster: &Cluster) {
    let at = |key: &Key| sheet.key_span(key.name).unwrap_or(sheet.span.clone());
    let problem = |span: Range<usize>, message: &str, help: &str| {
        sheet.problems.add(span, message, Some(help.to_owned()));
    };
    if group.select == Select::ByOrder && group.orders.is_none() {
        let message = "select = \"by-order\" needs orders";
        problem(
            at(&producers::SELECT),
            message,
            "add orders = { count = 1000 }",
        );
    }
    let batched = matches!(group.send, Send::Batch(_));
    if !batched && sheet.table.contains_key(producers::BATCH_SIZE.name) {
        let message = "`batch-size` means nothing without send = \"batch\"";
        problem(
            at(&producers::BATCH_SIZE),
            message,
            "add send = \"batch\", or leave it out",
        );
    }
    if batched && group.delay_level > 0 {
        let message = "RocketMQ refuses a batch with a delay level";
        problem(
            at(&producers::DELAY_LEVEL),
            message,
            "leave out `delay-level`, or do not batch",
        );
    }
    if batched && group.select == Select::ByOrder {
        let message = "a batch goes to one queue, so it cannot be split by order";
        problem(at(&producers::SELECT), message, "use send = \"sync\"");
    }
    check_transactions(sheet, group);
    let once = matches!(group.send, Send::Oneway | Send::Batch(_) | Send::Request);
    if group.resend > 0 && once {
        let message = "only single messages that are answered are sent again";
        problem(
            at(&producers::RESEND),
            message,
            "use send = \"sync\" or \"async\"",
        );
    }
    deliver::check(sheet, group);
    let levels = cluster.delay_levels.len();
    if usize::from(group.delay_level) > levels && levels > 0 {
        let message = format!("there is no delay level {}", group.delay_level);
        problem(
            at(&producers::DELAY_LEVEL),
            &message,
            &format!("the cluster has {levels}"),
        );
    }
}

fn check_transactions(sheet: &Sheet<'_>, group: &Producers) {
    let problem = |key: &Key, message: &str, help: &str| {
        let span = sheet.key_span(key.name).unwrap_or(sheet.span.clone());
        sheet.problems.add(span, message, Some(help.to_owned()));
    };
    if group.send != Send::Transaction {
        if sheet.table.contains_key(producers::TRANSACTIONS.name) {
            let message = "`transactions` means nothing without send = \"transaction\"";
            problem(
                &producers::TRANSACTIONS,
                message,
                "add it, or leave them out",
            );
        }
        return;
    }
    if group.delay_level > 0 {
        let message = "RocketMQ does not delay transactions";
        problem(&producers::DELAY_LEVEL, message, "leave out `delay-level`");
    }
    if group.select == Select::ByOrder {
        let message = "RocketMQ chooses the queue of a transaction by itself";
        problem(&producers::SELECT, message, "leave out `select`");
    }
}

pub(super) fn consumers(
    file: &Sheet<'_>,
    names: &mut Names,
    topics: &IndexMap<String, Topic>,
    accounts: &IndexMap<String, Account>,
) -> IndexMap<String, Consumers> {
    let mut groups = IndexMap::new();
    for (name, sheet) in tables(file, &top::CONSUMERS, &keys::consumers::SECTION) {
        declare(names, &sheet, &name, Role::Consumer, &consumers::NODES);
        let mut group = consumer_group(&sheet, topics);
        filters::check(&sheet, &group);
        let keys = (&consumers::ACCOUNT, &consumers::SECRET);
        group.credentials = credentials(&sheet, keys, accounts);
        check_consumers(&sheet, &group);
        groups.insert(name, group);
    }
    groups
}

fn consumer_group(sheet: &Sheet<'_>, topics: &IndexMap<String, Topic>) -> Consumers {
    let small = |key| sheet.small(key).unwrap_or(1);
    let share = |key| sheet.share(key).map_or(0.0, |at| at.value);
    let (takes_from, takes_to) = read_takes(sheet);
    let listener = match sheet.one_of(&consumers::LISTENER) {
        Some("orderly") => Listener::Orderly,
        Some("simple") => Listener::Simple,
        Some("lite-pull") => Listener::LitePull,
        _ => Listener::Concurrent,
    };
    let pull_batch = if listener == Listener::LitePull {
        10
    } else {
        32
    };
    Consumers {
        nodes: small(&consumers::NODES),
        topics: subscriptions(sheet, topics),
        sql: filters::sql(sheet),
        wants: filters::wants(sheet),
        listener,
        model: match sheet.one_of(&consumers::MODEL) {
            Some("broadcasting") => Model::Broadcasting,
            _ => Model::Clustering,
        },
        start: match sheet.one_of(&consumers::START) {
            Some("first") => Start::First,
            _ => Start::Last,
        },
        behaviour: Behaviour {
            takes_from,
            takes_to,
            fail_rate: share(&consumers::FAIL_RATE),
            fail_first: sheet.small(&consumers::FAIL_FIRST).unwrap_or_default(),
            poison: share(&consumers::POISON),
        },
        max_reconsume: sheet.small(&consumers::MAX_RECONSUME),
        batch_size: small(&consumers::BATCH_SIZE),
        pull_batch_size: sheet
            .small(&consumers::PULL_BATCH_SIZE)
            .unwrap_or(pull_batch),
        threads: small(&consumers::THREADS),
        idempotent: flag(sheet, &consumers::IDEMPOTENT),
        replies: flag(sheet, &consumers::REPLIES),
        credentials: None,
        pops: Pops {
            invisible: duration(sheet, &consumers::INVISIBLE),
            wait: duration(sheet, &consumers::AWAIT),
            lose_acks: share(&consumers::LOSE_ACKS),
            extend: share(&consumers::EXTEND),
            in_order: flag(sheet, &consumers::IN_ORDER),
        },
        commit: match sheet.one_of(&consumers::COMMIT) {
            Some("manual") => Commit::Manual,
            _ => Commit::Auto,
        },
    }
}

/// Topics and tag expressions: a topic, a list of topics, or a table from topic to expression.
fn subscriptions(sheet: &Sheet<'_>, topics: &IndexMap<String, Topic>) -> IndexMap<String, String> {
    let mut subscriptions = IndexMap::new();
    let Some(item) = sheet.item(&consumers::TOPICS) else {
        return subscriptions;
    };
    if let Some(table) = item.as_table_like() {
        for (topic, expression) in table.iter() {
            let span = table.get_key_value(topic).and_then(|(key, _)| key.span());
            let topic = At {
                value: topic.to_owned(),
                span: span.or_else(|| expression.span()).unwrap_or_default(),
            };
            check_topic(sheet, &topic, topics, "consumed");
            let tags = sheet.texts_of(&topic.value, expression.as_value(), expression.span());
            let tags: Vec<String> = tags.into_iter().map(|at| at.value).collect();
            subscriptions.insert(topic.value, tags.join(" || "));
        }
    } else {
        for topic in sheet.texts(&consumers::TOPICS) {
            check_topic(sheet, &topic, topics, "consumed");
            subscriptions.insert(topic.value, "*".to_owned());
        }
    }
    if subscriptions.is_empty() {
        let span = item.span().unwrap_or_default();
        sheet
            .problems
            .add(span, "the group subscribes to no topic", None);
    }
    subscriptions
}

fn read_takes(sheet: &Sheet<'_>) -> (Duration, Duration) {
    if let Some(item) = sheet.item(&consumers::TAKES)
        && item.is_table_like()
        && let Some(range) = sheet.open_item(consumers::TAKES.name, item, &keys::takes::SECTION)
    {
        let (from, to) = (range.duration(&takes::FROM), range.duration(&takes::TO));
        if let (Some(from), Some(to)) = (&from, &to)
            && from.value > to.value
        {
            sheet
                .problems
                .add(to.span.clone(), "`to` is less than `from`", None);
        }
        let value = |at: Option<At<Duration>>| at.map(|at| at.value).unwrap_or_default();
        return (value(from), value(to));
    }
    let fixed = micros(
        sheet
            .either(&consumers::TAKES, &takes::FROM)
            .unwrap_or_default(),
    );
    (fixed, fixed)
}

fn check_consumers(sheet: &Sheet<'_>, group: &Consumers) {
    let problem = |key: &Key, message: &str, help: &str| {
        let span = sheet.key_span(key.name).unwrap_or(sheet.span.clone());
        sheet.problems.add(span, message, Some(help.to_owned()));
    };
    let broadcasting = group.model == Model::Broadcasting;
    let orderly = group.listener == Listener::Orderly;
    if orderly && broadcasting {
        let message = "an orderly listener cannot broadcast: nobody locks the queues";
        problem(&consumers::MODEL, message, "use listener = \"concurrent\"");
    }
    kinds::check(sheet, group);
    if broadcasting && group.idempotent {
        let message =
            "a ledger balances once per group, but every member of this one gets every message";
        problem(
            &consumers::IDEMPOTENT,
            message,
            "use model = \"clustering\"",
        );
    }
    if orderly && group.behaviour.poison > 0.0 && group.max_reconsume.is_none() {
        let message = "a poisoned message would block its orderly queue for ever";
        problem(&consumers::POISON, message, "set `max-reconsume`");
    }
    if broadcasting && group.max_reconsume.is_some() {
        let message = "a broadcasting group never gets a message again";
        problem(&consumers::MAX_RECONSUME, message, "leave it out");
    }
}

fn declare(names: &mut Names, sheet: &Sheet<'_>, name: &str, role: Role, nodes: &Key) {
    // Read quietly: the group's own reading reports a wrong count.
    let count = match sheet.table.get(nodes.name) {
        None => Some(1),
        Some(item) => item
            .as_integer()
            .and_then(|n| u32::try_from(n).ok())
            .filter(|n| *n <= 1000),
    };
    if !names.declare_group(name, role, count) {
        let message = format!("the name `{name}`, or that of a member, is taken");
        let help =
            "groups, their members (NAME-1, …), servers and roles all need names of their own";
        sheet
            .problems
            .add(sheet.span.clone(), message, Some(help.to_owned()));
    }
}

pub(super) fn check_topic(
    sheet: &Sheet<'_>,
    topic: &At<String>,
    topics: &IndexMap<String, Topic>,
    what: &str,
) {
    if !topics.contains_key(&topic.value) {
        let message = format!("the topic `{}` is {what} but not declared", topic.value);
        let known = topics.keys().map(String::as_str);
        let help = suggest(&topic.value, known, "declared are")
            .or_else(|| Some(format!("add [topics.{}]", topic.value)));
        sheet.problems.add(topic.span.clone(), message, help);
    }
}

fn duration(sheet: &Sheet<'_>, key: &Key) -> Duration {
    sheet.duration(key).map(|at| at.value).unwrap_or_default()
}

fn flag(sheet: &Sheet<'_>, key: &Key) -> bool {
    sheet.flag(key).is_some_and(|at| at.value)
}
