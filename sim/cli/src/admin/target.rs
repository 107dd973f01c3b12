//! Which brokers a command is for.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use hotfire_client::Admin;
use hotfire_protocol::ResponseCode;
use hotfire_protocol::body::{BrokerData, ClusterInfo, TopicRouteData};
use hotfire_protocol::topic::retry_topic;

use super::failure::Failure;

/// The number of a broker group's master.
const MASTER: i64 = 0;

/// One broker, or all masters of a cluster.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Target {
    /// The address of a broker.
    #[arg(short = 'b', long = "brokerAddr", value_name = "HOST:PORT")]
    broker_addr: Option<String>,
    /// All brokers of this cluster.
    #[arg(short = 'c', long = "clusterName", value_name = "CLUSTER")]
    cluster_name: Option<String>,
}

impl Target {
    /// The addresses.
    pub async fn addrs(&self, admin: &Admin) -> Result<Vec<String>, Failure> {
        match (&self.broker_addr, &self.cluster_name) {
            (Some(addr), _) => Ok(vec![addr.clone()]),
            (None, Some(cluster)) => {
                let masters = masters_of_cluster(admin, cluster).await?;
                Ok(masters.into_values().collect())
            }
            (None, None) => Err(Failure::Usage("neither -b nor -c is given".to_owned())),
        }
    }

    /// The addresses, slaves of the cluster included.
    pub async fn addrs_with_slaves(&self, admin: &Admin) -> Result<Vec<String>, Failure> {
        let Some(cluster) = &self.cluster_name else {
            return self.addrs(admin).await;
        };
        let groups = groups_of_cluster(admin, cluster).await?;
        let addrs = groups
            .into_iter()
            .flat_map(|group| group.broker_addrs.into_values());
        Ok(addrs.collect())
    }

    /// Whether a whole cluster is meant.
    pub fn is_cluster(&self) -> bool {
        self.cluster_name.is_some()
    }
}

/// The masters of a cluster, by name of their group.
pub async fn masters_of_cluster(
    admin: &Admin,
    cluster: &str,
) -> Result<BTreeMap<String, String>, Failure> {
    let groups = groups_of_cluster(admin, cluster).await?;
    Ok(masters(groups.into_iter()))
}

/// The broker groups of a cluster.
async fn groups_of_cluster(admin: &Admin, cluster: &str) -> Result<Vec<BrokerData>, Failure> {
    let info = admin.cluster_info().await?;
    let names = check_cluster(&info, cluster)?.clone();
    let groups = info.broker_addr_table.into_values();
    Ok(groups
        .filter(|group| names.contains(&group.broker_name))
        .collect())
}

/// The names of the broker groups of a cluster, which must be there.
pub fn check_cluster<'a>(
    info: &'a ClusterInfo,
    cluster: &str,
) -> Result<&'a BTreeSet<String>, Failure> {
    info.cluster_addr_table.get(cluster).ok_or_else(|| {
        let known: Vec<_> = info.cluster_addr_table.keys().cloned().collect();
        Failure::Missing(format!(
            "there is no cluster `{cluster}`; there are: {}",
            known.join(", ")
        ))
    })
}

/// The masters of all clusters, by name of their group.
pub async fn all_masters(admin: &Admin) -> Result<BTreeMap<String, String>, Failure> {
    let info = admin.cluster_info().await?;
    Ok(masters(info.broker_addr_table.into_values()))
}

/// The masters that have a topic, by name of their group.
pub async fn masters_of_topic(
    admin: &Admin,
    topic: &str,
) -> Result<BTreeMap<String, String>, Failure> {
    let TopicRouteData { broker_datas, .. } = admin.topic_route(topic).await?;
    Ok(masters(broker_datas.into_iter()))
}

/// The masters that may know a group: those with its retry topic, or all if there is none.
pub async fn masters_of_group(
    admin: &Admin,
    group: &str,
) -> Result<BTreeMap<String, String>, Failure> {
    match admin.topic_route(&retry_topic(group)).await {
        Ok(route) => Ok(masters(route.broker_datas.into_iter())),
        Err(error) if error.code() == Some(ResponseCode::TOPIC_NOT_EXIST) => {
            all_masters(admin).await
        }
        Err(error) => Err(error.into()),
    }
}

fn masters(groups: impl Iterator<Item = BrokerData>) -> BTreeMap<String, String> {
    let master = |mut group: BrokerData| {
        let addr = group.broker_addrs.remove(&MASTER)?;
        Some((group.broker_name, addr))
    };
    groups.filter_map(master).collect()
}
