use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hotfire_check::history::{FaultKind, How};

use super::frames;
use crate::scenario::fault::{Action, Fault, Links};
use crate::seams::disk::DiskDisturbance;
use crate::seams::net::Disturbance;
use crate::seams::{NodeId, TraceKind, Universe};

/// What a nemesis did, in the order in which it did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incident {
    /// A fault began: its number in the scenario.
    Began(u32),
    /// A fault ended: its number in the scenario.
    Ended(u32),
    /// A process is asked to stop, and is to do so before its [`Incident::Down`].
    Stopping(NodeId),
    /// A process, or the machine that it ran on, is down.
    Down(NodeId, How),
    /// A machine is ready for its process to be started again.
    Up(NodeId),
    /// A wall clock was set: it is this many milliseconds ahead of true time from now on.
    ClockSet(NodeId, i64),
}

/// The kind under which the history knows a fault.
pub fn kind(action: &Action) -> FaultKind {
    match action {
        Action::NetworkFlash { .. } => FaultKind::Flash,
        Action::Partition { .. } => FaultKind::Partition,
        Action::Latency { .. } => FaultKind::Latency,
        Action::Loss { .. } => FaultKind::Loss,
        Action::ProcessCrash { .. } => FaultKind::ProcessCrash,
        Action::PowerLoss { .. } => FaultKind::PowerLoss,
        Action::Restart { .. } => FaultKind::Restart,
        Action::Freeze { .. } => FaultKind::Freeze,
        Action::LostAck { .. } => FaultKind::LostAck,
        Action::LostResponse { .. } => FaultKind::LostResponse,
        Action::ClockJump { .. } => FaultKind::Clock,
        Action::SlowDisk { .. } => FaultKind::Disk,
    }
}

/// The names of the nodes that a fault is about, each once.
pub fn nodes(action: &Action) -> Vec<&str> {
    match action {
        Action::NetworkFlash { links, .. }
        | Action::Partition { links, .. }
        | Action::Latency { links, .. }
        | Action::Loss { links, .. } => {
            let both = links.from.iter().chain(&links.to);
            both.map(String::as_str)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect()
        }
        Action::ProcessCrash { nodes, .. }
        | Action::PowerLoss { nodes, .. }
        | Action::Restart { nodes, .. }
        | Action::Freeze { nodes, .. }
        | Action::LostAck { nodes, .. }
        | Action::LostResponse { nodes, .. }
        | Action::ClockJump { nodes, .. }
        | Action::SlowDisk { nodes, .. } => nodes.iter().map(String::as_str).collect(),
    }
}

/// Does what a scenario says goes wrong, when it says so.
pub struct Nemesis {
    universe: Arc<Universe>,
    faults: Vec<Fault>,
    /// What is still to be done, by time; what ends comes before what begins at the same time.
    agenda: BTreeSet<(Duration, Turn, usize)>,
    /// Nodes that are down, or about to be.
    down: BTreeSet<NodeId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    End,
    Begin,
}

impl Nemesis {
    /// A nemesis for faults whose times count from `origin`, in simulated time.
    pub fn new(universe: Arc<Universe>, faults: &[Fault], origin: Duration) -> Self {
        let begins = faults.iter().enumerate();
        Self {
            universe,
            agenda: begins
                .map(|(index, fault)| (origin + fault.at, Turn::Begin, index))
                .collect(),
            faults: faults.to_vec(),
            down: BTreeSet::new(),
        }
    }

    /// When there is something to do next.
    pub fn next(&self) -> Option<Duration> {
        self.agenda.first().map(|(at, ..)| *at)
    }

    /// Does all that is due now.
    pub fn act(&mut self, report: &mut dyn FnMut(Incident)) {
        let now = self.universe.now();
        while let Some(&item) = self.agenda.first().filter(|(at, ..)| *at <= now) {
            self.agenda.remove(&item);
            let (_, turn, index) = item;
            match turn {
                Turn::Begin => self.begin(index, now, report),
                Turn::End => self.end(index, report),
            }
        }
    }

    /// Ends whatever is going on and strikes no more.
    pub fn heal(&mut self, report: &mut dyn FnMut(Incident)) {
        let agenda = std::mem::take(&mut self.agenda);
        for (_, _, index) in agenda.into_iter().filter(|(_, turn, _)| *turn == Turn::End) {
            self.end(index, report);
        }
        for node in std::mem::take(&mut self.down) {
            self.start(node, report);
        }
    }

    fn begin(&mut self, index: usize, now: Duration, report: &mut dyn FnMut(Incident)) {
        let fault = self.faults[index].clone();
        self.note(index, Turn::Begin);
        report(Incident::Began(number(index)));
        self.strike(index, &fault.action, report);
        match fault.action.lasts() {
            Some(lasts) => {
                self.agenda.insert((now + lasts, Turn::End, index));
            }
            // A jump is over at once; a node that stays down is down until all is healed.
            None => report(Incident::Ended(number(index))),
        }
    }

    fn strike(&mut self, index: usize, action: &Action, report: &mut dyn FnMut(Incident)) {
        let fault = number(index);
        match action {
            Action::NetworkFlash { links, .. } => {
                self.disturb(fault, links, false, Disturbance::Down)
            }
            Action::Partition { links, one_way, .. } => {
                self.disturb(fault, links, *one_way, Disturbance::Down);
            }
            Action::Latency {
                links,
                adds,
                jitter,
                ..
            } => {
                let (adds, jitter) = (*adds, *jitter);
                self.disturb(fault, links, false, Disturbance::Slow { adds, jitter });
            }
            Action::Loss { links, share, .. } => {
                self.disturb(fault, links, false, Disturbance::Lossy(*share));
            }
            Action::ProcessCrash { nodes, .. } => self.bring_down(nodes, How::Kill, report),
            Action::PowerLoss { nodes, .. } => self.bring_down(nodes, How::PowerLoss, report),
            Action::Restart { nodes, .. } => {
                for node in self.find(nodes) {
                    if self.down.insert(node) {
                        report(Incident::Stopping(node));
                    }
                }
            }
            Action::Freeze { nodes, .. } => {
                for node in self.find(nodes) {
                    self.universe.freeze(node);
                }
            }
            Action::LostAck { nodes, share, .. } => {
                let filter = frames::lost_ack(fault, self.find(nodes), *share);
                self.universe.add_filter(fault, filter);
            }
            Action::LostResponse { nodes, share, .. } => {
                let filter = frames::lost_response(fault, self.find(nodes), *share);
                self.universe.add_filter(fault, filter);
            }
            Action::ClockJump { nodes, by_ms } => {
                for node in self.find(nodes) {
                    let ahead_ms = self.universe.jump_clock(node, *by_ms);
                    report(Incident::ClockSet(node, ahead_ms));
                }
            }
            Action::SlowDisk { nodes, adds, .. } => {
                for node in self.find(nodes) {
                    let disk = self.universe.disk(node);
                    disk.disturb(fault, DiskDisturbance::Slow(*adds));
                }
            }
        }
    }

    fn end(&mut self, index: usize, report: &mut dyn FnMut(Incident)) {
        let fault = number(index);
        let action = self.faults[index].action.clone();
        self.note(index, Turn::End);
        match &action {
            Action::NetworkFlash { links, .. }
            | Action::Partition { links, .. }
            | Action::Latency { links, .. }
            | Action::Loss { links, .. } => {
                for (from, to) in self.pairs(links, false) {
                    self.universe.relieve(from, to, fault);
                }
            }
            Action::Restart { nodes, .. }
            | Action::ProcessCrash { nodes, .. }
            | Action::PowerLoss { nodes, .. } => {
                for node in self.find(nodes) {
                    if self.down.remove(&node) {
                        if matches!(action, Action::Restart { .. }) {
                            self.universe.kill(node);
                            report(Incident::Down(node, How::Stop));
                        }
                        self.start(node, report);
                    }
                }
            }
            Action::Freeze { nodes, .. } => {
                for node in self.find(nodes) {
                    self.universe.thaw(node);
                }
            }
            Action::LostAck { .. } | Action::LostResponse { .. } => {
                self.universe.remove_filter(fault);
            }
            Action::SlowDisk { nodes, .. } => {
                for node in self.find(nodes) {
                    self.universe.disk(node).relieve(fault);
                }
            }
            Action::ClockJump { .. } => {}
        }
        report(Incident::Ended(fault));
    }

    fn bring_down(&mut self, nodes: &[String], how: How, report: &mut dyn FnMut(Incident)) {
        for node in self.find(nodes) {
            if !self.down.insert(node) {
                continue;
            }
            match how {
                How::PowerLoss => self.universe.cut_power(node),
                How::Kill | How::Stop => self.universe.kill(node),
            }
            report(Incident::Down(node, how));
        }
    }

    fn start(&mut self, node: NodeId, report: &mut dyn FnMut(Incident)) {
        self.universe.power_on(node);
        report(Incident::Up(node));
    }

    fn disturb(&self, fault: u32, links: &Links, one_way: bool, disturbance: Disturbance) {
        for (from, to) in self.pairs(links, one_way) {
            self.universe.disturb(from, to, fault, disturbance);
        }
    }

    /// The directed links between two sets of nodes, each once.
    fn pairs(&self, links: &Links, one_way: bool) -> BTreeSet<(NodeId, NodeId)> {
        let (from, to) = (self.find(&links.from), self.find(&links.to));
        let mut pairs = BTreeSet::new();
        for &a in &from {
            for &b in to.iter().filter(|b| **b != a) {
                pairs.insert((a, b));
                if !one_way {
                    pairs.insert((b, a));
                }
            }
        }
        pairs
    }

    fn find(&self, names: &[String]) -> Vec<NodeId> {
        // The scenario was checked: its faults name its own nodes.
        names
            .iter()
            .filter_map(|name| self.universe.find(name))
            .collect()
    }

    fn note(&self, index: usize, turn: Turn) {
        let trace = self.universe.trace();
        trace.note(TraceKind::Fault, index as u64, turn as u64);
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seams::stage::{Actor, Stage};

    fn fault(at: u64, action: Action) -> Fault {
        Fault {
            at: Duration::from_millis(at),
            action,
            text: String::new(),
        }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn links() -> Links {
        Links {
            from: names(&["client"]),
            to: names(&["server"]),
        }
    }

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// What happened when, in milliseconds.
    type Incidents = Vec<(u64, Incident)>;

    /// Runs until a time, with faults, and starts an echo server whenever the server is up.
    fn run(stage: &mut Stage, nemesis: &mut Nemesis, until: u64) -> Incidents {
        let mut incidents = Vec::new();
        while stage.universe.now() < MS(until) {
            let now = stage.universe.now().as_millis() as u64;
            let mut reported = Vec::new();
            nemesis.act(&mut |incident| reported.push(incident));
            for incident in reported {
                if let Incident::Up(node) = incident {
                    stage.boot(node, |actor| actor.echo(9000));
                }
                incidents.push((now, incident));
            }
            stage.run_until(now + 1);
        }
        incidents
    }

    async fn ask(actor: Actor) {
        loop {
            let connected = actor.env.network().connect("server:9000").await;
            let Ok(mut connection) = connected else {
                actor.say("refused");
                actor.sleep(100).await;
                continue;
            };
            for _ in 0..5 {
                actor.exchange(&mut connection, "answer").await;
                actor.sleep(100).await;
            }
        }
    }

    fn asked(action: Action, until: u64) -> (Incidents, Vec<(u64, String)>) {
        let mut stage = Stage::new();
        stage.boot(stage.server, |actor| actor.echo(9000));
        stage.run_until(2);
        stage.boot(stage.client, ask);
        let faults = [fault(248, action)];
        let mut nemesis = Nemesis::new(stage.universe.clone(), &faults, MS(2));
        let incidents = run(&mut stage, &mut nemesis, until);
        (incidents, stage.log.lines())
    }

    #[test]
    fn a_flash_begins_and_ends_at_its_times() {
        let lasts = MS(300);
        let links = links();
        let (incidents, answers) = asked(Action::NetworkFlash { links, lasts }, 1000);
        let expected = [(250, Incident::Began(0)), (550, Incident::Ended(0))];
        assert_eq!(incidents, expected);
        assert!(
            answers.iter().all(|(at, _)| !(251..550).contains(at)),
            "{answers:?}"
        );
        assert!(answers.iter().any(|(at, _)| *at > 550));
    }

    #[test]
    fn a_crashed_process_is_down_until_its_restart() {
        let nodes = names(&["server"]);
        let restart_after = Some(MS(500));
        let crash = Action::ProcessCrash {
            nodes,
            restart_after,
        };
        let (incidents, answers) = asked(crash, 1500);
        let server = incidents.iter().find_map(|(_, incident)| match incident {
            Incident::Up(node) => Some(*node),
            _ => None,
        });
        let server = server.unwrap();
        let expected = [
            (250, Incident::Began(0)),
            (250, Incident::Down(server, How::Kill)),
            (750, Incident::Up(server)),
            (750, Incident::Ended(0)),
        ];
        assert_eq!(incidents, expected);
        assert!(answers.iter().any(|(_, what)| what == "refused"));
        assert_eq!(answers.last().unwrap().1, "answer");
    }

    #[test]
    fn healing_ends_everything_and_starts_what_is_down() {
        let mut stage = Stage::new();
        let nodes = names(&["server"]);
        let faults = [
            fault(
                10,
                Action::PowerLoss {
                    nodes,
                    restart_after: None,
                },
            ),
            fault(
                20,
                Action::NetworkFlash {
                    links: links(),
                    lasts: MS(10_000),
                },
            ),
            fault(
                5000,
                Action::Freeze {
                    nodes: names(&["client"]),
                    lasts: MS(10_000),
                },
            ),
        ];
        let mut nemesis = Nemesis::new(stage.universe.clone(), &faults, MS(0));
        let incidents = run(&mut stage, &mut nemesis, 100);
        assert_eq!(incidents.len(), 4);
        let mut healed = Vec::new();
        nemesis.heal(&mut |incident| healed.push(incident));
        assert_eq!(healed, [Incident::Ended(1), Incident::Up(stage.server)]);
        assert_eq!(nemesis.next(), None);
        stage.boot(stage.server, |actor| actor.echo(9000));
        stage.run_until(105);
        stage.boot(stage.client, ask);
        stage.run_until(150);
        assert!(stage.log.when("answer").is_some());
    }

    #[test]
    fn the_fault_of_a_link_is_about_both_its_ends() {
        let flash = Action::NetworkFlash {
            links: links(),
            lasts: MS(1),
        };
        assert_eq!(nodes(&flash), ["client", "server"]);
        assert_eq!(kind(&flash), FaultKind::Flash);
    }
}
