//! What goes wrong, and when.

use std::time::Duration;

use toml_edit::{Item, TableLike, Value};

use super::Run;
use super::fault::{Action, Fault, Links};
use super::keys::{self, Key, Section, faults as fault_keys, top};
use super::names::Names;
use super::sheet::{At, Sheet};
use super::topology::Role;
use super::units::show;

const EVERYBODY: &[Role] = &[
    Role::NameServer,
    Role::Broker,
    Role::Producer,
    Role::Consumer,
];
const SERVERS: &[Role] = &[Role::NameServer, Role::Broker];

pub(super) fn faults(file: &Sheet<'_>, names: &Names, run: &Run) -> Vec<Fault> {
    let Some(item) = file.item(&top::FAULTS) else {
        return Vec::new();
    };
    let mut faults = Vec::new();
    let mut outages = Vec::new();
    for (table, span) in entries(file, &top::FAULTS, item) {
        let sheet = Sheet::open(file.problems, table, span, &keys::faults::SECTION);
        let reader = Reader { names, run, sheet };
        faults.extend(reader.fault(&mut outages));
    }
    faults.sort_by_key(|fault| fault.at);
    faults
}

pub(super) type Entry<'a> = (&'a dyn TableLike, std::ops::Range<usize>);

/// The tables of an array of tables.
pub(super) fn entries<'a>(file: &Sheet<'a>, key: &Key, item: &'a Item) -> Vec<Entry<'a>> {
    match item {
        Item::ArrayOfTables(tables) => tables
            .iter()
            .map(|table| (table as &dyn TableLike, table.span().unwrap_or_default()))
            .collect(),
        Item::Value(Value::Array(list)) if list.iter().all(Value::is_inline_table) => list
            .iter()
            .filter_map(|value| {
                let table = value.as_inline_table()?;
                Some((table as &dyn TableLike, value.span().unwrap_or_default()))
            })
            .collect(),
        _ => {
            let name = key.name;
            let span = file.key_span(name).unwrap_or_default();
            let help = format!("write every entry as [[{name}]] with its keys below");
            let message = format!("`{name}` must be an array of tables");
            file.problems.add(span, message, Some(help));
            Vec::new()
        }
    }
}

/// When a node is not there.
struct Outage {
    node: String,
    from: Duration,
    to: Duration,
}

struct Reader<'a> {
    names: &'a Names,
    run: &'a Run,
    sheet: Sheet<'a>,
}

impl Reader<'_> {
    fn fault(&self, outages: &mut Vec<Outage>) -> Option<Fault> {
        let at = self.sheet.duration(&fault_keys::AT);
        if let Some(at) = &at {
            self.within(at, Duration::ZERO, "the fault strikes");
        }
        let (key, section) = self.kind()?;
        let sheet = self.sheet.table(key, section)?;
        let time = at.as_ref().map(|at| at.value).unwrap_or_default();
        let one = One {
            reader: self,
            sheet,
            at: time,
        };
        let (action, text) = one.read(key)?;
        let nodes = match &action {
            Action::ProcessCrash { nodes, .. }
            | Action::PowerLoss { nodes, .. }
            | Action::Restart { nodes, .. } => nodes.as_slice(),
            _ => &[],
        };
        if at.is_some() {
            self.check_outage(nodes, time, action.lasts(), &one.sheet, outages);
        }
        Some(Fault {
            at: time,
            action,
            text,
        })
    }

    /// The one key beside `at`.
    fn kind(&self) -> Option<(&'static Key, &'static Section)> {
        let given: Vec<_> = KINDS
            .iter()
            .filter(|(key, _)| self.sheet.table.contains_key(key.name))
            .collect();
        match given.as_slice() {
            [(key, section)] => Some((key, section)),
            [] => {
                let unknown = self.sheet.table.len()
                    > usize::from(self.sheet.table.contains_key(fault_keys::AT.name));
                // An unknown key is reported already, and is most likely the kind misspelt.
                if !unknown {
                    let kinds: Vec<String> = KINDS
                        .iter()
                        .map(|(key, _)| format!("`{}`", key.name))
                        .collect();
                    let help = format!("add one of {}", kinds.join(", "));
                    let message = "the fault does not say what goes wrong";
                    self.sheet
                        .problems
                        .add(self.sheet.span.clone(), message, Some(help));
                }
                None
            }
            [_, (second, _), ..] => {
                let span = self
                    .sheet
                    .key_span(second.name)
                    .unwrap_or(self.sheet.span.clone());
                let message = "one [[faults]] entry holds one fault";
                let help = format!("put `{}` into an entry of its own", second.name);
                self.sheet.problems.add(span, message, Some(help));
                None
            }
        }
    }

    /// Reports what does not happen within the load phase.
    fn within(&self, at: &At<Duration>, after: Duration, what: &str) {
        let (when, end) = (at.value.saturating_add(after), self.run.duration);
        // A fault may strike up to the end, and what lasts may last up to it.
        let late = if after.is_zero() {
            when >= end
        } else {
            when > end
        };
        if late && !end.is_zero() {
            let message = format!("{what} at {}, after the load phase", show(when));
            let help = format!(
                "the load phase ends at {} and everything is healed then: raise `duration` in \
                 [run]",
                show(end)
            );
            self.sheet
                .problems
                .add(at.span.clone(), message, Some(help));
        }
    }

    fn check_outage(
        &self,
        nodes: &[String],
        from: Duration,
        lasts: Option<Duration>,
        sheet: &Sheet<'_>,
        outages: &mut Vec<Outage>,
    ) {
        let to = lasts.map_or(self.run.duration, |lasts| from.saturating_add(lasts));
        for node in nodes {
            let overlap = outages
                .iter()
                .find(|o| o.node == *node && o.from < to && from < o.to);
            if let Some(Outage { from, to, .. }) = overlap {
                let message = format!(
                    "`{node}` is down from {} to {} already",
                    show(*from),
                    show(*to)
                );
                sheet.problems.add(sheet.span.clone(), message, None);
            }
            outages.push(Outage {
                node: node.clone(),
                from,
                to,
            });
        }
    }
}

/// The kinds of faults, with the section that describes each.
static KINDS: [(&Key, &Section); 12] = [
    (&fault_keys::NETWORK_FLASH, &keys::network_flash::SECTION),
    (&fault_keys::PARTITION, &keys::partition::SECTION),
    (&fault_keys::LATENCY, &keys::latency::SECTION),
    (&fault_keys::LOSS, &keys::loss::SECTION),
    (&fault_keys::PROCESS_CRASH, &keys::process_crash::SECTION),
    (&fault_keys::POWER_LOSS, &keys::power_loss::SECTION),
    (&fault_keys::RESTART, &keys::restart::SECTION),
    (&fault_keys::FREEZE, &keys::freeze::SECTION),
    (&fault_keys::LOST_ACK, &keys::lost_ack::SECTION),
    (&fault_keys::LOST_RESPONSE, &keys::lost_response::SECTION),
    (&fault_keys::CLOCK_JUMP, &keys::clock_jump::SECTION),
    (&fault_keys::SLOW_DISK, &keys::slow_disk::SECTION),
];

/// The table of one fault.
struct One<'a> {
    reader: &'a Reader<'a>,
    sheet: Sheet<'a>,
    at: Duration,
}

impl One<'_> {
    fn read(&self, key: &Key) -> Option<(Action, String)> {
        match key.name {
            "network-flash" | "partition" | "latency" | "loss" => self.link_fault(key.name),
            "process-crash" | "power-loss" | "restart" => self.outage(key.name),
            _ => self.node_fault(key.name),
        }
    }

    fn link_fault(&self, kind: &str) -> Option<(Action, String)> {
        let (links, between) = self.links(kind)?;
        let lasts = self.lasts()?;
        let action = match kind {
            "network-flash" => Action::NetworkFlash { links, lasts },
            "partition" => Action::Partition {
                links,
                one_way: self.sheet.one_of(&keys::partition::DIRECTION) == Some("one-way"),
                lasts,
            },
            "latency" => Action::Latency {
                links,
                adds: self.duration(&keys::latency::ADDS),
                jitter: self.duration(&keys::latency::JITTER),
                lasts,
            },
            _ => Action::Loss {
                links,
                share: self.share(&keys::loss::SHARE),
                lasts,
            },
        };
        let way = match &action {
            Action::Partition { one_way: true, .. } => " (one way)",
            _ => "",
        };
        Some((action, format!("{kind} {between}{way} for {}", show(lasts))))
    }

    fn outage(&self, kind: &str) -> Option<(Action, String)> {
        let allowed = if kind == "power-loss" {
            SERVERS
        } else {
            EVERYBODY
        };
        let (nodes, of) = self.nodes(kind, allowed)?;
        let after = self.ends(&keys::process_crash::RESTART_AFTER, "it starts again");
        let (action, back) = match (kind, after) {
            ("restart", after) => {
                // The key of `restart` has a default of its own.
                let after = after.unwrap_or_else(|| self.duration(&keys::restart::RESTART_AFTER));
                (
                    Action::Restart {
                        nodes,
                        restart_after: after,
                    },
                    Some(after),
                )
            }
            ("power-loss", restart_after) => (
                Action::PowerLoss {
                    nodes,
                    restart_after,
                },
                after,
            ),
            (_, restart_after) => (
                Action::ProcessCrash {
                    nodes,
                    restart_after,
                },
                after,
            ),
        };
        let back = back.map_or("in the drain phase".to_owned(), |b| {
            format!("after {}", show(b))
        });
        Some((action, format!("{kind} of {of}, back {back}")))
    }

    fn node_fault(&self, kind: &str) -> Option<(Action, String)> {
        let allowed: &[Role] = match kind {
            "lost-ack" => &[Role::Consumer, Role::Producer],
            "lost-response" => &[Role::Producer],
            "slow-disk" => &[Role::Broker],
            _ => EVERYBODY,
        };
        let (nodes, of) = self.nodes(kind, allowed)?;
        if kind == "clock-jump" {
            let by_ms = self.sheet.signed_ms(&keys::clock_jump::BY)?.value;
            let text = format!("clock-jump of {of} by {by_ms}ms");
            return Some((Action::ClockJump { nodes, by_ms }, text));
        }
        let lasts = self.lasts()?;
        let share = |key| self.share(key);
        let action = match kind {
            "freeze" => Action::Freeze { nodes, lasts },
            "lost-ack" => Action::LostAck {
                nodes,
                share: share(&keys::lost_ack::SHARE),
                lasts,
            },
            "lost-response" => Action::LostResponse {
                nodes,
                share: share(&keys::lost_response::SHARE),
                lasts,
            },
            _ => Action::SlowDisk {
                nodes,
                adds: self.duration(&keys::slow_disk::ADDS),
                lasts,
            },
        };
        Some((action, format!("{kind} of {of} for {}", show(lasts))))
    }

    /// The nodes of `node`, and how the script calls them.
    fn nodes(&self, kind: &str, allowed: &[Role]) -> Option<(Vec<String>, String)> {
        let texts = self.sheet.texts(&keys::freeze::NODE);
        let nodes = self
            .reader
            .names
            .resolve(self.sheet.problems, &texts, allowed, kind);
        let of: Vec<&str> = texts.iter().map(|at| at.value.as_str()).collect();
        (!nodes.is_empty()).then(|| (nodes, of.join(", ")))
    }

    /// The links of `between`, and how the script calls them.
    fn links(&self, kind: &str) -> Option<(Links, String)> {
        let key = if kind == "partition" {
            &keys::partition::BETWEEN
        } else {
            &keys::network_flash::BETWEEN
        };
        let problems = self.sheet.problems;
        let side =
            |texts: &[At<String>]| self.reader.names.resolve(problems, texts, EVERYBODY, kind);
        let call = |texts: &[At<String>]| {
            let names: Vec<&str> = texts.iter().map(|at| at.value.as_str()).collect();
            names.join("+")
        };
        let Some(item) = self.sheet.item(key) else {
            if kind == "partition" {
                return None;
            }
            let all = [At {
                value: "all".to_owned(),
                span: self.sheet.span.clone(),
            }];
            let (from, to) = (side(&all), side(&all));
            return Some((Links { from, to }, "on all links".to_owned()));
        };
        let span = item.span().unwrap_or_default();
        let pair: Vec<&Value> = item
            .as_array()
            .map(|list| list.iter().collect())
            .unwrap_or_default();
        let [from, to] = pair.as_slice() else {
            let help = "for example between = [\"producers\", \"brokers\"]".to_owned();
            problems.add(span, "`between` takes exactly two sides", Some(help));
            return None;
        };
        let sides = [from, to].map(|v| self.sheet.texts_of("between", Some(v), v.span()));
        let [from, to] = sides.each_ref().map(|texts| side(texts));
        if from.is_empty() || to.is_empty() {
            return None;
        }
        if from.len() == 1 && from == to {
            problems.add(span, "there is no link between a node and itself", None);
        }
        let text = format!("between {} and {}", call(&sides[0]), call(&sides[1]));
        Some((Links { from, to }, text))
    }

    fn lasts(&self) -> Option<Duration> {
        self.ends(&keys::freeze::LASTS, "it ends")
    }

    /// A duration that must end within the load phase.
    fn ends(&self, key: &Key, what: &str) -> Option<Duration> {
        let after = self.sheet.duration(key)?;
        let end = At {
            value: after.value,
            span: after.span,
        };
        self.reader
            .within(&end, self.at.max(Duration::from_micros(1)), what);
        Some(end.value)
    }

    fn duration(&self, key: &Key) -> Duration {
        self.sheet
            .duration(key)
            .map(|at| at.value)
            .unwrap_or_default()
    }

    fn share(&self, key: &Key) -> f64 {
        self.sheet.share(key).map_or(0.0, |at| at.value)
    }
}
