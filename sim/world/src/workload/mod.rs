//! What clients do in a scenario.
//!
//! The pure parts: load curves ([`load`]), what messages are made of ([`mix`], [`plan`]) and how
//! they look ([`body`]), what listeners make of them ([`behaviour`]), the books that duplicates
//! cannot harm ([`ledger`]), and the accounts that local transactions debit ([`transaction`]). They
//! draw from the seed and from nothing else. The nodes that send and listen are real clients
//! ([`producer`], [`consumer`], [`poller`], [`popper`]) that write down what they see; so does the
//! [`operator`], who looks back at what was sent ([`album`]).

pub mod album;
pub mod behaviour;
pub mod body;
pub mod consumer;
pub mod ledger;
pub mod load;
pub mod mix;
pub mod operator;
pub mod plan;
pub mod poller;
pub mod popper;
pub mod producer;
mod request;
mod timing;
pub mod transaction;
pub mod wants;

use hotfire_client::ClientConfig;

use crate::scenario::Credentials;

/// What all clients of a scenario have in common.
pub(crate) fn client_config(namesrv: &[String], credentials: Option<&Credentials>) -> ClientConfig {
    ClientConfig {
        namesrv_addrs: namesrv.to_vec(),
        credentials: credentials
            .map(|own| hotfire_client::Credentials::new(own.account.as_str(), own.secret.as_str())),
        ..ClientConfig::default()
    }
}
