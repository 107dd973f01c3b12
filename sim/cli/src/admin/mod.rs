//! `hotfire admin`: administration of name servers and brokers, Hotfire's or Apache RocketMQ's, with
//! the commands and options of `mqadmin`.

mod acl;
mod broker;
mod failure;
mod group;
mod members;
mod message;
mod offset;
mod report;
mod target;
mod topic;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hotfire_client::{Admin, ClientConfig, Credentials, TlsOptions};
use hotfire_env::{Env, real};

use self::failure::Failure;
use self::report::Report;
use crate::exit::Exit;
use crate::{files, print};

/// What all commands have in common.
#[derive(Debug, Args)]
pub struct AdminArgs {
    #[command(subcommand)]
    command: Command,
    /// Name servers, separated by semicolons.
    #[arg(
        short = 'n',
        long = "namesrvAddr",
        value_name = "HOST:PORT",
        global = true
    )]
    #[arg(env = "NAMESRV_ADDR", default_value = "127.0.0.1:9876")]
    namesrv_addr: String,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    /// The name of the account that requests are signed for.
    #[arg(long, value_name = "KEY", global = true, requires = "secret_key")]
    access_key: Option<String>,
    /// The secret of the account.
    #[arg(long, value_name = "KEY", global = true, requires = "access_key")]
    secret_key: Option<String>,
    /// Encrypt connections; any certificate will do.
    #[arg(long, global = true)]
    tls: bool,
    /// Encrypt connections, and take only certificates of the authorities in this PEM file.
    #[arg(long, value_name = "FILE", global = true)]
    tls_ca: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
#[command(rename_all = "camelCase")]
enum Command {
    /// List the topics that the name servers know.
    TopicList(topic::TopicList),
    /// Show the brokers and queues of a topic.
    TopicRoute(topic::TopicRoute),
    /// Show the clusters of a topic.
    TopicClusterList(topic::Named),
    /// Show the offsets of a topic's queues.
    TopicStatus(topic::Named),
    /// Create or change a topic.
    UpdateTopic(topic::UpdateTopic),
    /// Delete a topic from brokers and name servers.
    DeleteTopic(topic::DeleteTopic),
    /// Show rates and backlogs of topics and their groups.
    StatsAll(topic::StatsAll),
    /// Create or change a consumer group.
    UpdateSubGroup(group::UpdateSubGroup),
    /// Delete a consumer group.
    DeleteSubGroup(group::DeleteSubGroup),
    /// Have a consumer group pull a topic or pop it.
    SetConsumeMode(group::SetConsumeMode),
    /// Show how far consumer groups are.
    ConsumerProgress(group::ConsumerProgress),
    /// Show what the members of a consumer group are doing.
    ConsumerStatus(members::ConsumerStatus),
    /// Show the members and subscriptions of a consumer group.
    ConsumerConnection(members::Group),
    /// Show the members of a producer group.
    ProducerConnection(members::ProducerConnection),
    /// Move a consumer group to a time.
    ResetOffsetByTime(offset::ResetOffsetByTime),
    /// Move a consumer group to the end.
    SkipAccumulatedMessage(offset::GroupTopic),
    /// Copy the offsets of a consumer group to another.
    CloneGroupOffset(offset::CloneGroupOffset),
    /// Show a message by its offset id.
    QueryMsgById(message::QueryById),
    /// Show messages by a key.
    QueryMsgByKey(message::QueryByKey),
    /// Show a message by the id that its sender gave it.
    QueryMsgByUniqueKey(message::QueryByUniqueKey),
    /// Print the messages of a topic.
    PrintMsg(message::Print),
    /// Send a message.
    SendMessage(message::Send),
    /// Read messages of a topic; no offset changes.
    ConsumeMessage(message::Consume),
    /// List clusters and brokers.
    ClusterList(broker::ClusterList),
    /// Show how brokers are and what they have done.
    BrokerStatus(target::Target),
    /// Show how far all groups of a broker are.
    BrokerConsumeStats(broker::ConsumeStats),
    /// Show the settings of brokers.
    GetBrokerConfig(target::Target),
    /// Change a setting of brokers.
    UpdateBrokerConfig(broker::UpdateConfig),
    /// Have the name servers keep producers off a broker.
    WipeWritePerm(broker::Group),
    /// Undo wipeWritePerm.
    AddWritePerm(broker::Group),
    /// Set a value of the name servers.
    UpdateKvConfig(broker::UpdateKv),
    /// Delete a value of the name servers.
    DeleteKvConfig(broker::Key),
    /// Create or change an account of access control.
    UpdateAclConfig(acl::UpdateAclConfig),
    /// Delete an account of access control.
    DeleteAccessConfig(acl::DeleteAccessConfig),
    /// Set the addresses from which nobody need sign.
    UpdateGlobalWhiteAddr(acl::UpdateGlobalWhiteAddr),
    /// Show the versions of the files of access control.
    ClusterAclConfigVersion(target::Target),
    /// Show the accounts of access control, secrets included.
    GetAclConfig(target::Target),
}

/// What commands need beside a connection.
pub struct Session {
    env: Env,
    config: ClientConfig,
    tls_ca: Option<PathBuf>,
    json: bool,
}

impl Session {
    fn show(&self, report: &Report) {
        if self.json {
            print::json(&report.to_json());
        } else {
            print::line(&report.to_text());
        }
    }
}

/// Does what a command line asks for.
pub fn run(args: AdminArgs) -> Result<Exit, String> {
    let session = Session {
        env: real::env(".", None),
        config: config(&args)?,
        tls_ca: args.tls_ca,
        json: args.json,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    Ok(match runtime.block_on(execute(args.command, &session)) {
        Ok(report) => {
            session.show(&report);
            Exit::Pass
        }
        Err(failure) => {
            print::error(&failure.text());
            match failure {
                Failure::Usage(_) => Exit::Usage,
                _ => Exit::Failed,
            }
        }
    })
}

fn config(args: &AdminArgs) -> Result<ClientConfig, String> {
    let keys = args.access_key.as_ref().zip(args.secret_key.as_ref());
    let ca = args.tls_ca.as_deref().map(files::read).transpose()?;
    let tls = args.tls || ca.is_some();
    let addrs = args.namesrv_addr.split(';').map(str::trim);
    Ok(ClientConfig {
        namesrv_addrs: addrs
            .filter(|addr| !addr.is_empty())
            .map(str::to_owned)
            .collect(),
        credentials: keys.map(|(access, secret)| Credentials::new(access, secret)),
        tls: tls.then(|| TlsOptions {
            ca: ca.map(String::into_bytes),
            ..TlsOptions::default()
        }),
        ..ClientConfig::default()
    })
}

async fn execute(command: Command, session: &Session) -> Result<Report, Failure> {
    let config = session.config.clone();
    let admin = Admin::builder(&session.env).client_config(config).start();
    let admin = admin.map_err(|error| match &session.tls_ca {
        Some(path) => Failure::Usage(format!("{}: {error}", path.display())),
        None => error.into(),
    })?;
    let report = answer(command, &admin, session).await;
    admin.shutdown();
    report
}

async fn answer(command: Command, admin: &Admin, session: &Session) -> Result<Report, Failure> {
    match command {
        Command::TopicList(args) => args.run(admin).await,
        Command::TopicRoute(args) => args.run(admin).await,
        Command::TopicClusterList(args) => topic::clusters(args, admin).await,
        Command::TopicStatus(args) => topic::status(args, admin).await,
        Command::UpdateTopic(args) => args.run(admin).await,
        Command::DeleteTopic(args) => args.run(admin).await,
        Command::StatsAll(args) => args.run(admin).await,
        Command::UpdateSubGroup(args) => args.run(admin).await,
        Command::DeleteSubGroup(args) => args.run(admin).await,
        Command::SetConsumeMode(args) => args.run(admin).await,
        Command::ConsumerProgress(args) => args.run(admin).await,
        Command::ConsumerStatus(args) => args.run(admin).await,
        Command::ConsumerConnection(args) => members::consumer_connection(args, admin).await,
        Command::ProducerConnection(args) => args.run(admin).await,
        Command::ResetOffsetByTime(args) => args.run(admin).await,
        Command::SkipAccumulatedMessage(args) => offset::skip_accumulated(args, admin).await,
        Command::CloneGroupOffset(args) => args.run(admin).await,
        Command::QueryMsgById(args) => args.run(admin, session).await,
        Command::QueryMsgByKey(args) => args.run(admin).await,
        Command::QueryMsgByUniqueKey(args) => args.run(admin).await,
        Command::PrintMsg(args) => args.run(admin).await,
        Command::ConsumeMessage(args) => args.run(admin).await,
        Command::ClusterList(args) => args.run(admin, session).await,
        Command::BrokerStatus(args) => broker::status(args, admin).await,
        Command::BrokerConsumeStats(args) => args.run(admin).await,
        Command::GetBrokerConfig(args) => broker::config(args, admin).await,
        Command::UpdateBrokerConfig(args) => args.run(admin).await,
        Command::WipeWritePerm(args) => broker::write_perm(args, admin, false).await,
        Command::AddWritePerm(args) => broker::write_perm(args, admin, true).await,
        Command::UpdateKvConfig(args) => args.run(admin).await,
        Command::DeleteKvConfig(args) => broker::delete_kv(args, admin).await,
        Command::SendMessage(args) => args.run(session).await,
        Command::UpdateAclConfig(args) => args.run(admin).await,
        Command::DeleteAccessConfig(args) => args.run(admin).await,
        Command::UpdateGlobalWhiteAddr(args) => args.run(admin).await,
        Command::ClusterAclConfigVersion(args) => acl::versions(args, admin).await,
        Command::GetAclConfig(args) => acl::config(args, admin).await,
    }
}
