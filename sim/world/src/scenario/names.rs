//! The names that a scenario declares, and what a name in a fault stands for.

use indexmap::IndexMap;

use super::problem::{Problems, suggest};
use super::sheet::At;
use super::topology::{ROLES, Role, broker_name, member_name, name_server_name};

/// Everything that faults can name.
#[derive(Debug, Default)]
pub(super) struct Names {
    nodes: IndexMap<String, Role>,
    /// Groups and roles, with their members.
    sets: IndexMap<String, Vec<String>>,
    /// Whether some count or group could not be read, so that a name may well exist.
    pub unsure: bool,
}

impl Names {
    /// Declares the servers. `None` is a count that could not be read.
    pub fn declare_servers(&mut self, name_servers: Option<u32>, broker_groups: Option<u32>) {
        self.unsure |= name_servers.is_none() || broker_groups.is_none();
        for index in 0..name_servers.unwrap_or(0) {
            self.nodes.insert(name_server_name(index), Role::NameServer);
        }
        for index in 0..broker_groups.unwrap_or(0) {
            self.nodes.insert(broker_name(index), Role::Broker);
        }
    }

    /// Declares a group of clients; false if the name is taken by something else.
    pub fn declare_group(&mut self, group: &str, role: Role, nodes: Option<u32>) -> bool {
        self.unsure |= nodes.is_none();
        let members: Vec<String> = (0..nodes.unwrap_or(0))
            .map(|index| member_name(group, index))
            .collect();
        let free = |name: &str| {
            !self.nodes.contains_key(name)
                && !self.sets.contains_key(name)
                && ROLES.iter().all(|(known, _)| *known != name)
        };
        if !free(group) || !members.iter().all(|member| free(member)) {
            return false;
        }
        self.nodes
            .extend(members.iter().map(|member| (member.clone(), role)));
        self.sets.insert(group.to_owned(), members);
        true
    }

    /// Declares the roles, once everything else is known.
    pub fn declare_roles(&mut self) {
        for (name, roles) in ROLES {
            let members = self.nodes.iter().filter(|(_, role)| roles.contains(role));
            let members = members.map(|(name, _)| name.clone()).collect();
            self.sets.insert((*name).to_owned(), members);
        }
    }

    /// The nodes that names stand for, each once, in the order of the cluster. Reports names that
    /// nobody has, and nodes that are not of an allowed role.
    pub fn resolve(
        &self,
        problems: &Problems,
        names: &[At<String>],
        allowed: &[Role],
        what: &str,
    ) -> Vec<String> {
        let mut chosen: Vec<&str> = Vec::new();
        for At { value: name, span } in names {
            let members: Vec<&str> = match (self.nodes.get_key_value(name), self.sets.get(name)) {
                (Some((node, _)), _) => vec![node],
                (None, Some(members)) => members.iter().map(String::as_str).collect(),
                (None, None) => {
                    if !self.unsure {
                        let known = self.sets.keys().chain(self.nodes.keys());
                        let help = suggest(name, known.map(String::as_str), "there are");
                        problems.add(span.clone(), format!("there is no node `{name}`"), help);
                    }
                    continue;
                }
            };
            let fits = |node: &&str| self.nodes.get(*node).is_some_and(|r| allowed.contains(r));
            if members.is_empty() && !self.unsure {
                let message = format!("there are no {name} in this scenario");
                problems.add(span.clone(), message, None);
            } else if !members.iter().any(fits) && !self.unsure {
                let message = format!("{what} cannot strike `{name}`");
                problems.add(span.clone(), message, possible(allowed));
            }
            chosen.extend(members.into_iter().filter(fits));
        }
        let chosen = self
            .nodes
            .keys()
            .filter(|node| chosen.contains(&node.as_str()));
        chosen.cloned().collect()
    }
}

fn possible(allowed: &[Role]) -> Option<String> {
    let role = |role: &Role| match role {
        Role::NameServer => "name servers",
        Role::Broker => "brokers",
        Role::Producer => "producers",
        Role::Consumer => "consumers",
    };
    let roles: Vec<&str> = allowed.iter().map(role).collect();
    Some(format!("it strikes {}", roles.join(", ")))
}

/// Whether RocketMQ takes a topic or group name (`Validators`, `TopicValidator`): letters, digits,
/// `_`, `-`, `%` and `|`, at most 127 of them.
pub(super) fn is_valid(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '%' | '|');
    !name.is_empty() && name.len() <= 127 && name.chars().all(fits)
}
