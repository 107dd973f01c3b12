//! Every key of a scenario file: its name, what it takes, its default and what it means.
//!
//! This is the one place where keys are described. The reader takes defaults and bounds from here,
//! and the reference that `hotfire explain scenario` prints is made of it, so neither can drift.

use super::units::{DURATIONS, RATES, SIZES, THROUGHPUTS, Units};

/// A key.
#[derive(Debug)]
pub(super) struct Key {
    pub name: &'static str,
    pub takes: Takes,
    pub need: Need,
    pub doc: &'static str,
}

/// Whether a key must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// It must.
    Required,
    /// If it is left out, this is what holds, as TOML.
    Default(&'static str),
    /// It may be left out, and the documentation says what that means.
    Optional,
}

/// What a key takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Takes {
    Text,
    Flag,
    /// A whole number within bounds.
    Count(u64, u64),
    /// A number from 0 to 1.
    Share,
    /// A quantity with a unit, within bounds given in the family's smallest unit.
    Quantity(&'static Units, u64, u64),
    /// A duration that may be negative.
    SignedDuration,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Texts: one, or a list.
    Texts,
    /// Anything else; the words describe it.
    Special(&'static str),
}

/// A table of keys.
#[derive(Debug)]
pub(super) struct Section {
    pub title: &'static str,
    pub doc: &'static str,
    pub keys: &'static [&'static Key],
}

impl Section {
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|key| key.name)
    }
}

macro_rules! sections {
    ($(
        $(#[doc = $doc:literal])+
        $module:ident $title:literal {
            $($(#[doc = $key_doc:literal])+ $key:ident $name:literal: $takes:expr, $need:expr;)*
        }
    )+) => {
        $(
            $(#[doc = $doc])+
            pub(super) mod $module {
                use super::*;
                $($(#[doc = $key_doc])+
                pub(in crate::scenario) static $key: Key = Key {
                    name: $name,
                    takes: $takes,
                    need: $need,
                    doc: concat!($($key_doc),+),
                };)*
                pub(in crate::scenario) static SECTION: Section = Section {
                    title: $title,
                    doc: concat!($($doc),+),
                    keys: &[$(&$key),*],
                };
            }
        )+
        /// Every section, in the order of the reference.
        pub(super) static SECTIONS: &[&Section] = &[$(&$module::SECTION),+];
    };
}

use Need::{Default, Optional, Required};
use Takes::{Count, Flag, OneOf, Quantity, Share, SignedDuration, Special, Text, Texts};

/// A duration up to a week: more cannot be simulated in reasonable time.
const DURATION: Takes = Quantity(&DURATIONS, 0, 604_800_000_000);
/// The brokers' timer wheels show two hours.
const WAIT: Takes = Quantity(&DURATIONS, 0, 6_600_000_000);
const SOME_DURATION: Takes = Quantity(&DURATIONS, 1, 604_800_000_000);
/// Up to ten million messages per second.
const RATE: Takes = Quantity(&RATES, 0, 36_000_000_000_000);

/// The permissions of access control.
pub(super) const PERMS: &[&str] = &["DENY", "PUB", "SUB", "PUB|SUB"];

sections! {
    /// The file as a whole.
    top "the file" {
        /// What the scenario tells, in a sentence or two. `hotfire list` shows it.
        STORY "story": Text, Required;
        /// Planted defects to switch on, by name, to see the checkers catch them.
        DEFECTS "defects": Texts, Optional;
        /// How long the run takes; see [run].
        RUN "run": Special("a table"), Required;
        /// Name servers and brokers; see [cluster].
        CLUSTER "cluster": Special("a table"), Optional;
        /// The network without faults; see [network].
        NETWORK "network": Special("a table"), Optional;
        /// The brokers' disks; see [disk].
        DISK "disk": Special("a table"), Optional;
        /// Accounts by access key: if there are any, brokers check every request; see
        /// [accounts.KEY].
        ACCOUNTS "accounts": Special("a table of tables"), Optional;
        /// Topics by name; see [topics.NAME].
        TOPICS "topics": Special("a table of tables"), Required;
        /// Producer groups by name; see [producers.NAME].
        PRODUCERS "producers": Special("a table of tables"), Required;
        /// Consumer groups by name; see [consumers.NAME].
        CONSUMERS "consumers": Special("a table of tables"), Optional;
        /// What goes wrong; see [[faults]].
        FAULTS "faults": Special("an array of tables"), Optional;
        /// What an operator does; see [[actions]].
        ACTIONS "actions": Special("an array of tables"), Optional;
        /// What the verdict depends on; see [expect].
        EXPECT "expect": Special("a table"), Optional;
    }

    /// How long the run takes, in simulated time.
    run "[run]" {
        /// One step of the simulation: whole milliseconds, at most the network's latency.
        TICK "tick": Quantity(&DURATIONS, 1_000, 1_000_000), Default("\"1ms\"");
        /// The load phase: producers follow their load and faults strike within it.
        DURATION "duration": Quantity(&DURATIONS, 1_000_000, 604_800_000_000), Required;
        /// The budget of the drain phase, in which everything is healed and consumers catch up. The
        /// run ends as soon as nothing is left; if the budget ends first, the verdict is unknown.
        DRAIN "drain": Quantity(&DURATIONS, 1_000_000, 604_800_000_000), Default("\"5m\"");
    }

    /// Name servers and brokers.
    cluster "[cluster]" {
        /// Name servers, called name-server-1, name-server-2, …
        NAME_SERVERS "name-servers": Count(1, 8), Default("1");
        /// Broker groups of one master each, called broker-a, broker-b, …
        BROKER_GROUPS "broker-groups": Count(1, 26), Default("1");
        /// When a send is acknowledged: async, once the message is in the page cache (RocketMQ's
        /// default); sync, once it is on the disk.
        FLUSH "flush": OneOf(&["async", "sync"]), Default("\"async\"");
        /// Time between two asynchronous flushes: how much a power loss may cost.
        FLUSH_INTERVAL "flush-interval": Quantity(&DURATIONS, 1_000, 3_600_000_000),
            Default("\"500ms\"");
        /// Size of a commit log file. RocketMQ's is 1GiB; a smaller one lets a short run roll over.
        COMMIT_LOG_FILE_SIZE "commit-log-file-size": Quantity(&SIZES, 1 << 16, 1 << 30),
            Default("\"64MiB\"");
        /// Entries of a consume queue file. RocketMQ's is 300000.
        CONSUME_QUEUE_FILE_ENTRIES "consume-queue-file-entries": Count(100, 300_000),
            Default("20000");
        /// Whether brokers create topics that nobody declared.
        AUTO_CREATE_TOPICS "auto-create-topics": Flag, Default("true");
        /// The delay levels, level 1 first. Redelivery number n waits for level n + 2.
        DELAY_LEVELS "delay-levels": Text,
            Default("\"1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h\"");
        /// How old a half message is when its producer is asked about it first.
        TRANSACTION_TIMEOUT "transaction-timeout": SOME_DURATION, Default("\"6s\"");
        /// The time between two rounds of such questions.
        TRANSACTION_CHECK_INTERVAL "transaction-check-interval":
            Quantity(&DURATIONS, 100_000, 604_800_000_000), Default("\"60s\"");
        /// How often is asked about a half message before it is given up.
        TRANSACTION_CHECKS "transaction-checks": Count(1, 1000), Default("15");
    }

    /// Every link of the network, while no fault touches it.
    network "[network]" {
        /// The least time from one node to another, one way.
        LATENCY "latency": Quantity(&DURATIONS, 1_000, 60_000_000), Default("\"1ms\"");
        /// Up to this much is added to every segment, drawn evenly.
        JITTER "jitter": Quantity(&DURATIONS, 0, 60_000_000), Default("\"0ms\"");
        /// Bandwidth of one link in one direction. Unlimited if left out.
        BANDWIDTH "bandwidth": Quantity(&THROUGHPUTS, 1_000, u64::MAX), Optional;
    }

    /// The brokers' disks.
    disk "[disk]" {
        /// How long one flush takes.
        FLUSH_LATENCY "flush-latency": Quantity(&DURATIONS, 0, 60_000_000), Default("\"1ms\"");
    }

    /// An account of access control; KEY is its access key, of more than six characters.
    accounts "[accounts.KEY]" {
        /// What requests are signed with: more than six characters.
        SECRET "secret": Text, Required;
        /// Whether it may do what only administrators may.
        ADMIN "admin": Flag, Default("false");
        /// What it may do with topics, as in ["orders=PUB|SUB"].
        TOPICS "topics": Texts, Optional;
        /// What it may do with groups, as in ["fulfilment=SUB"].
        GROUPS "groups": Texts, Optional;
        /// What it may do with other topics.
        DEFAULT_TOPIC "default-topic": OneOf(PERMS), Default("\"DENY\"");
        /// What it may do with other groups.
        DEFAULT_GROUP "default-group": OneOf(PERMS), Default("\"DENY\"");
    }

    /// A topic, created on every broker before the load starts.
    topics "[topics.NAME]" {
        /// Queues on each broker.
        QUEUES "queues": Count(1, 1024), Default("8");
    }

    /// A producer group. Its nodes are called NAME-1, NAME-2, …
    producers "[producers.NAME]" {
        /// How many nodes.
        NODES "nodes": Count(1, 1000), Default("1");
        /// The topic it sends to.
        TOPIC "topic": Text, Required;
        /// Messages due over time, for the whole group. See [load] and its shapes.
        LOAD "load": Special("a table with a shape"), Required;
        /// No more than this many messages altogether. Left out, the load alone decides.
        MESSAGES "messages": Count(1, 1_000_000_000), Optional;
        /// The orders that messages belong to. Left out, they belong to none. See [orders].
        ORDERS "orders": Special("a table"), Optional;
        /// How a message finds its queue: round-robin, or by-order, all messages of one order to
        /// one queue.
        SELECT "select": OneOf(&["round-robin", "by-order"]), Default("\"round-robin\"");
        /// Tags: one of them is drawn for every message. None if left out.
        TAGS "tags": Texts, Optional;
        /// Properties: for each, one of its values is drawn for every message, as in { price =
        /// ["5", "50", ""] }; "" stands for a message without the property.
        PROPERTIES "properties": Special("a table of texts"), Optional;
        /// Size of message bodies: one size, or { from = …, to = …, spread = "even" |
        /// "by-magnitude" }.
        SIZE "size": Special("a size or a table"), Default("\"256B\"");
        /// How it sends: sync waits for the response, async takes it in a callback, oneway has
        /// none, batch packs messages that are due, transaction debits an account in a local
        /// transaction and lets the message be seen if that was committed, request waits for the
        /// reply of whoever consumes it, as long as `timeout` says.
        SEND "send": OneOf(&["sync", "async", "oneway", "batch", "transaction", "request"]),
            Default("\"sync\"");
        /// send = "transaction": what becomes of the local transactions. See [transactions].
        TRANSACTIONS "transactions": Special("a table"), Optional;
        /// Messages of one batch at most.
        BATCH_SIZE "batch-size": Count(1, 1024), Default("32");
        /// Sends of one node that may be in flight; what is due beyond that waits.
        IN_FLIGHT "in-flight": Count(1, 10_000), Default("64");
        /// Time for one send with all its retries.
        TIMEOUT "timeout": Quantity(&DURATIONS, 1_000, 600_000_000), Default("\"3s\"");
        /// Further attempts of the client after a failed one. An attempt that gets no answer uses
        /// up the whole timeout, so that only quick failures are tried again.
        RETRIES "retries": Count(0, 16), Default("2");
        /// How often the application itself sends a message again that was not acknowledged, with
        /// the same number in it.
        RESEND "resend": Count(0, 100), Default("0");
        /// Whether brokers that were slow or failed are avoided for a while.
        AVOID_SLOW_BROKERS "avoid-slow-brokers": Flag, Default("false");
        /// Bodies above this size are compressed.
        COMPRESS_OVER "compress-over": Quantity(&SIZES, 0, 4 << 20), Default("\"4KiB\"");
        /// Delay level of every message; 0 is none.
        DELAY_LEVEL "delay-level": Count(0, 64), Default("0");
        /// The access key that requests are signed with. Left out, they are not signed.
        ACCOUNT "account": Text, Optional;
        /// The secret for it: left out, the account's own.
        SECRET "secret": Text, Optional;
        /// Whether access control must refuse whatever it sends, so that none of it has an effect.
        REFUSED "refused": Flag, Default("false");
        /// When messages ask to be delivered: a duration after they are sent, { from = …, to = … }
        /// to draw it, or { at = … } for one time after the start of the load. At once if left out.
        DELIVER "deliver": Special("a duration or a table"), Optional;
        /// The share of messages with `deliver` that are called back halfway to their time.
        RECALL "recall": Share, Default("0.0");
    }

    /// When messages ask to be delivered: from and to, or at.
    deliver "[deliver]" {
        /// So long after they are sent at least.
        FROM "from": WAIT, Optional;
        /// So long after they are sent at most.
        TO "to": WAIT, Optional;
        /// All at this time after the start of the load.
        AT "at": DURATION, Optional;
    }

    /// The shape of a load: shape, and what that shape takes.
    load "[load]" {
        /// constant, ramp or double-11.
        SHAPE "shape": OneOf(&["constant", "ramp", "double-11"]), Required;
    }

    /// shape = "constant": the same rate all the time.
    load_constant "[load] constant" {
        /// constant
        SHAPE "shape": OneOf(&["constant"]), Required;
        /// The rate.
        RATE_ "rate": RATE, Required;
    }

    /// shape = "ramp": from one rate to another in a straight line, then on at the other.
    load_ramp "[load] ramp" {
        /// ramp
        SHAPE "shape": OneOf(&["ramp"]), Required;
        /// The rate at the start.
        FROM "from": RATE, Default("\"0/s\"");
        /// The rate at the end.
        TO "to": RATE, Required;
        /// How long it takes.
        OVER "over": SOME_DURATION, Required;
    }

    /// shape = "double-11": quiet, a countdown that climbs, a wall at midnight, a long tail.
    load_double_11 "[load] double-11" {
        /// double-11
        SHAPE "shape": OneOf(&["double-11"]), Required;
        /// The rate before the countdown, and that the tail falls back to.
        QUIET "quiet": RATE, Required;
        /// The rate that the countdown climbs to. Left out: five times quiet.
        COUNTDOWN "countdown": RATE, Optional;
        /// How long the countdown climbs.
        COUNTDOWN_LASTS "countdown-lasts": DURATION, Default("\"10s\"");
        /// The rate from midnight on.
        WALL "wall": RATE, Required;
        /// When midnight is.
        AT "at": DURATION, Required;
        /// How long the wall stands before the tail begins.
        WALL_LASTS "wall-lasts": DURATION, Default("\"10s\"");
        /// The tail's rate halves in this time, again and again.
        HALVES_EVERY "halves-every": SOME_DURATION, Default("\"10s\"");
    }

    /// The orders that messages belong to, dealt out among the group's nodes.
    orders "[orders]" {
        /// How many orders there are, for the whole group.
        COUNT "count": Count(1, 10_000_000), Required;
        /// How busy each is: uniform; zipf, the n-th busiest gets one n-th; hot, a few get a fixed
        /// share.
        SPREAD "spread": OneOf(&["uniform", "zipf", "hot"]), Default("\"uniform\"");
        /// spread = "hot": how many orders are hot.
        HOT_ORDERS "hot-orders": Count(1, 10_000_000), Default("10");
        /// spread = "hot": their share of all messages.
        HOT_SHARE "hot-share": Share, Default("0.5");
    }

    /// What becomes of local transactions. Those that are not rolled back are committed.
    transactions "[transactions]" {
        /// The share that is rolled back.
        ROLLBACK "rollback": Share, Default("0.0");
        /// The share of which the producer says at first that it does not know the end.
        UNKNOWN "unknown": Share, Default("0.0");
        /// How often the producers say so, of each of these, when brokers ask; then they tell.
        UNKNOWN_CHECKS "unknown-checks": Count(0, 1000), Default("0");
        /// The share of which the producer tells the broker the end twice.
        TOLD_TWICE "told-twice": Share, Default("0.0");
    }

    /// Sizes that differ.
    size "[size]" {
        /// The least.
        FROM "from": Quantity(&SIZES, 1, 4 << 20), Required;
        /// The most.
        TO "to": Quantity(&SIZES, 1, 4 << 20), Required;
        /// even: every size is as likely; by-magnitude: many small, few large.
        SPREAD "spread": OneOf(&["even", "by-magnitude"]), Default("\"even\"");
    }

    /// A consumer group. Its nodes are called NAME-1, NAME-2, …
    consumers "[consumers.NAME]" {
        /// How many nodes.
        NODES "nodes": Count(1, 1000), Default("1");
        /// What it subscribes to: a topic, a list of topics, or a table from topic to tag
        /// expression, as in { orders = "paid || shipped" }.
        TOPICS "topics": Special("a topic, a list, or a table"), Required;
        /// SQL expressions by topic, as in { orders = "price > 20" }, instead of tags. Brokers are
        /// then configured to filter by properties.
        SQL "sql": Special("a table from topic to text"), Optional;
        /// In other words, for the verdict: which messages the SQL lets through, by the values of
        /// properties, as in { price = ["50"] }, or a list of such tables, one of which must fit.
        WANTS "wants": Special("a table of texts, or a list"), Optional;
        /// How messages reach the listener: concurrent; orderly, queue by queue; simple, there is
        /// none, and the members pop, process and acknowledge; lite-pull, there is none, and the
        /// members poll, process one message after the other, and commit.
        LISTENER "listener": OneOf(&["concurrent", "orderly", "simple", "lite-pull"]),
            Default("\"concurrent\"");
        /// clustering: one member of the group gets a message; broadcasting: every member does.
        MODEL "model": OneOf(&["clustering", "broadcasting"]), Default("\"clustering\"");
        /// Where a group without committed offsets starts: last, at the end of the queue; first.
        START "start": OneOf(&["last", "first"]), Default("\"last\"");
        /// How long one listener call takes: a duration, or { from = …, to = … }.
        TAKES "takes": Special("a duration or a table"), Default("\"0ms\"");
        /// The share of listener calls that fail.
        FAIL_RATE "fail-rate": Share, Default("0.0");
        /// The first deliveries of every message that fail.
        FAIL_FIRST "fail-first": Count(0, 1000), Default("0");
        /// The share of messages that fail at every delivery.
        POISON "poison": Share, Default("0.0");
        /// Redeliveries before a message goes to the dead-letter queue. Left out: 16 with a
        /// concurrent listener, without end with an orderly one.
        MAX_RECONSUME "max-reconsume": Count(0, 10_000), Optional;
        /// Messages of one listener call.
        BATCH_SIZE "batch-size": Count(1, 1024), Default("1");
        /// Messages of one pull. Left out: 32, and 10 with listener = "lite-pull".
        PULL_BATCH_SIZE "pull-batch-size": Count(1, 1024), Optional;
        /// Listener calls of one node that may run at once.
        THREADS "threads": Count(1, 1000), Default("20");
        /// Whether a ledger recognises duplicates by the unique number stored with the business
        /// effect.
        IDEMPOTENT "idempotent": Flag, Default("false");
        /// Whether every message is a request, to be replied to with what it says.
        REPLIES "replies": Flag, Default("false");
        /// The access key that requests are signed with. Left out, they are not signed.
        ACCOUNT "account": Text, Optional;
        /// The secret for it: left out, the account's own.
        SECRET "secret": Text, Optional;
        /// listener = "simple": for how long a received message is hidden from the other members.
        INVISIBLE "invisible": Quantity(&DURATIONS, 10_000_000, 43_200_000_000),
            Default("\"30s\"");
        /// listener = "simple": how long a call waits for messages.
        AWAIT "await": Quantity(&DURATIONS, 1_000_000, 600_000_000), Default("\"5s\"");
        /// listener = "simple": the share of consumed messages that are never acknowledged.
        LOSE_ACKS "lose-acks": Share, Default("0.0");
        /// listener = "simple": the share of listener calls that hide their messages for as long
        /// again, half way.
        EXTEND "extend": Share, Default("0.0");
        /// listener = "simple": whether queues are received in order: a queue gives nothing more
        /// until what it gave is acknowledged or its time is up, and members work through what they
        /// received of a queue message by message.
        IN_ORDER "in-order": Flag, Default("false");
        /// listener = "lite-pull": auto, polling commits every five seconds what was polled before;
        /// manual, members commit whenever they are done with what a poll brought.
        COMMIT "commit": OneOf(&["auto", "manual"]), Default("\"auto\"");
    }

    /// How long one listener call takes.
    takes "[takes]" {
        /// At least.
        FROM "from": DURATION, Required;
        /// At most.
        TO "to": DURATION, Required;
    }

    /// Something that goes wrong at a set time: at, and exactly one of the other keys. Nodes are
    /// named one by one (broker-a, checkout-3), by group (checkout) or by role (brokers,
    /// name-servers, producers, consumers, clients, servers, all).
    faults "[[faults]]" {
        /// When, from the start of the load phase.
        AT "at": DURATION, Required;
        /// Links are down for a moment; bytes arrive afterwards and connections survive.
        NETWORK_FLASH "network-flash": Special("a table"), Optional;
        /// Links are cut.
        PARTITION "partition": Special("a table"), Optional;
        /// Links become slower.
        LATENCY "latency": Special("a table"), Optional;
        /// Links lose segments, which TCP sends again.
        LOSS "loss": Special("a table"), Optional;
        /// Processes are killed; the page cache survives.
        PROCESS_CRASH "process-crash": Special("a table"), Optional;
        /// Machines lose power; what was not flushed may be gone.
        POWER_LOSS "power-loss": Special("a table"), Optional;
        /// Processes are stopped in an orderly manner and started again.
        RESTART "restart": Special("a table"), Optional;
        /// Processes stand still, as in a long garbage collection.
        FREEZE "freeze": Special("a table"), Optional;
        /// What clients report never reaches the broker: consumers, what they have consumed;
        /// producers, how transactions ended.
        LOST_ACK "lost-ack": Special("a table"), Optional;
        /// Messages are stored, but the responses never reach the producers.
        LOST_RESPONSE "lost-response": Special("a table"), Optional;
        /// The wall clock jumps.
        CLOCK_JUMP "clock-jump": Special("a table"), Optional;
        /// The disk becomes slower.
        SLOW_DISK "slow-disk": Special("a table"), Optional;
    }

    /// network-flash: links are down for a moment.
    network_flash "[[faults]] network-flash" {
        /// The two sides, each a name or a list of names: ["producers", "brokers"]. All links if
        /// left out.
        BETWEEN "between": Special("a pair"), Optional;
        /// For how long.
        LASTS "lasts": SOME_DURATION, Required;
    }

    /// partition: links are cut.
    partition "[[faults]] partition" {
        /// The two sides, each a name or a list of names.
        BETWEEN "between": Special("a pair"), Required;
        /// both, or one-way: only what the first side sends to the second is held.
        DIRECTION "direction": OneOf(&["both", "one-way"]), Default("\"both\"");
        /// For how long.
        LASTS "lasts": SOME_DURATION, Required;
    }

    /// latency: links become slower.
    latency "[[faults]] latency" {
        /// The two sides, each a name or a list of names. All links if left out.
        BETWEEN "between": Special("a pair"), Optional;
        /// What is added to every segment.
        ADDS "adds": SOME_DURATION, Required;
        /// Up to this much more, drawn evenly.
        JITTER "jitter": DURATION, Default("\"0ms\"");
        /// For how long.
        LASTS "lasts": SOME_DURATION, Required;
    }

    /// loss: links lose segments, which TCP sends again.
    loss "[[faults]] loss" {
        /// The two sides, each a name or a list of names. All links if left out.
        BETWEEN "between": Special("a pair"), Optional;
        /// The share of segments that is lost.
        SHARE "share": Share, Required;
        /// For how long.
        LASTS "lasts": SOME_DURATION, Required;
    }

    /// process-crash: processes are killed.
    process_crash "[[faults]] process-crash" {
        /// Which.
        NODE "node": Texts, Required;
        /// When they start again. Left out: when the drain phase begins.
        RESTART_AFTER "restart-after": SOME_DURATION, Optional;
    }

    /// power-loss: machines lose power.
    power_loss "[[faults]] power-loss" {
        /// Which servers.
        NODE "node": Texts, Required;
        /// When they start again. Left out: when the drain phase begins.
        RESTART_AFTER "restart-after": SOME_DURATION, Optional;
    }

    /// restart: processes are stopped in an orderly manner and started again.
    restart "[[faults]] restart" {
        /// Which.
        NODE "node": Texts, Required;
        /// When they start again.
        RESTART_AFTER "restart-after": SOME_DURATION, Default("\"1s\"");
    }

    /// freeze: processes stand still while the network goes on.
    freeze "[[faults]] freeze" {
        /// Which.
        NODE "node": Texts, Required;
        /// For how long.
        LASTS "lasts": SOME_DURATION, Required;
    }

    /// lost-ack: offsets, acknowledgements and send-backs of consumers, and producers' ends of
    /// transactions, never reach the broker.
    lost_ack "[[faults]] lost-ack" {
        /// Which consumers or producers.
        NODE "node": Texts, Required;
        /// The share that is lost.
        SHARE "share": Share, Default("1.0");
        /// For how long.
        LASTS "lasts": SOME_DURATION, Required;
    }

    /// lost-response: responses to sends never reach the producers, though the messages are stored.
    lost_response "[[faults]] lost-response" {
        /// Which producers.
        NODE "node": Texts, Required;
        /// The share that is lost.
        SHARE "share": Share, Default("1.0");
        /// For how long.
        LASTS "lasts": SOME_DURATION, Required;
    }

    /// clock-jump: the wall clock jumps and stays there; durations are not affected.
    clock_jump "[[faults]] clock-jump" {
        /// Whose clock.
        NODE "node": Texts, Required;
        /// By how much: "5s", or "-5s" for backwards.
        BY "by": SignedDuration, Required;
    }

    /// slow-disk: every flush takes longer.
    slow_disk "[[faults]] slow-disk" {
        /// Which brokers.
        NODE "node": Texts, Required;
        /// What is added to every flush.
        ADDS "adds": SOME_DURATION, Required;
        /// For how long.
        LASTS "lasts": SOME_DURATION, Required;
    }

    /// Something that an operator does at a set time: at, and exactly one of the other keys.
    actions "[[actions]]" {
        /// When, from the start of the load phase.
        AT "at": DURATION, Required;
        /// A group is put at another time or offset.
        RESET "reset": Special("a table"), Optional;
        /// Messages are looked up by key, unique id and offset id.
        QUERY "query": Special("a table"), Optional;
    }

    /// reset: the offsets of a group are set. Members that run set them themselves, about ten seconds
    /// after they were told; without members they are committed.
    reset "[[actions]] reset" {
        /// The consumer group.
        GROUP "group": Text, Required;
        /// The topic.
        TOPIC "topic": Text, Required;
        /// Where to: a time from the start of the load phase, such as "12s"; begin; end; or a number,
        /// the offset in every queue.
        TO "to": Special("a duration, a word or a number"), Required;
        /// Whether queues are also moved forward. An offset is always set.
        FORCE "force": Flag, Default("true");
    }

    /// query: acknowledged messages are looked up. Every message of the scenario has a key then.
    query "[[actions]] query" {
        /// The topic.
        TOPIC "topic": Text, Required;
        /// How many messages, drawn from all that were acknowledged more than two seconds ago.
        MESSAGES "messages": Count(1, 10_000), Default("100");
    }

    /// What the verdict depends on.
    expect "[expect]" {
        /// Invariants that must be exercised and hold, by id. One that is not exercised fails the
        /// run.
        HOLDS "holds": Texts, Optional;
        /// Invariants whose violations are counted and shown, but do not fail the run.
        COUNTS "counts": Texts, Optional;
        /// What must be met at least, or the run proves nothing: a table from sent-ok, sent-not-ok,
        /// delivered, duplicates, lost or an invariant's id to a number.
        AT_LEAST "at-least": Special("a table"), Optional;
    }
}
