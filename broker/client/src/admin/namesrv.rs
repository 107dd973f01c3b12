//! Requests to name servers: routes, clusters, keys and values, permissions, configuration.

use std::collections::BTreeMap;

use hotfire_protocol::body::{ClusterInfo, KVTable, TopicList, TopicRouteData};
use hotfire_protocol::header::namesrv::{
    AddWritePermOfBrokerRequestHeader, AddWritePermOfBrokerResponseHeader,
    DeleteKVConfigRequestHeader, GetKVConfigRequestHeader, GetKVConfigResponseHeader,
    GetKVListByNamespaceRequestHeader, GetRouteInfoRequestHeader, PutKVConfigRequestHeader,
    WipeWritePermOfBrokerRequestHeader, WipeWritePermOfBrokerResponseHeader,
};
use hotfire_protocol::header::topic::{
    DeleteTopicFromNamesrvRequestHeader, GetTopicsByClusterRequestHeader,
};
use hotfire_protocol::{RequestCode, ResponseCode};

use crate::instance::malformed;
use crate::{Admin, ClientError};

/// Which topics a list is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicListKind {
    /// All of them.
    All,
    /// The names of clusters and brokers, which are topics too.
    System,
    /// Those of units.
    Unit,
    /// Those that units subscribe to.
    HasUnitSub,
    /// Those that units subscribe to, without those of units.
    HasUnitSubUnUnit,
}

impl TopicListKind {
    fn code(self) -> RequestCode {
        match self {
            Self::All => RequestCode::GET_ALL_TOPIC_LIST_FROM_NAMESERVER,
            Self::System => RequestCode::GET_SYSTEM_TOPIC_LIST_FROM_NS,
            Self::Unit => RequestCode::GET_UNIT_TOPIC_LIST,
            Self::HasUnitSub => RequestCode::GET_HAS_UNIT_SUB_TOPIC_LIST,
            Self::HasUnitSubUnUnit => RequestCode::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST,
        }
    }
}

impl Admin {
    /// Where a topic is (`GET_ROUTEINFO_BY_TOPIC`).
    ///
    /// # Errors
    /// No name server answered, or the topic is not known (TOPIC_NOT_EXIST).
    pub async fn topic_route(&self, topic: &str) -> Result<TopicRouteData, ClientError> {
        let header = GetRouteInfoRequestHeader {
            topic: topic.to_owned(),
            accept_standard_json_only: None,
        };
        let code = RequestCode::GET_ROUTEINFO_BY_TOPIC;
        self.get_from_namesrv(code, &header, TopicRouteData::from_json)
            .await
    }

    /// All broker groups and clusters (`GET_BROKER_CLUSTER_INFO`).
    ///
    /// # Errors
    /// No name server answered.
    pub async fn cluster_info(&self) -> Result<ClusterInfo, ClientError> {
        let code = RequestCode::GET_BROKER_CLUSTER_INFO;
        let request = self.inner.instance.plain_request(code);
        let (addr, response) = self.ask_namesrv(request).await?;
        ClusterInfo::from_json(&response.body).map_err(|error| malformed(&addr, error))
    }

    /// The topics that name servers know (`GET_ALL_TOPIC_LIST_FROM_NAMESERVER` and its likes).
    ///
    /// # Errors
    /// No name server answered.
    pub async fn topic_list(&self, kind: TopicListKind) -> Result<TopicList, ClientError> {
        let request = self.inner.instance.plain_request(kind.code());
        let (addr, response) = self.ask_namesrv(request).await?;
        TopicList::from_json(&response.body).map_err(|error| malformed(&addr, error))
    }

    /// The topics of a cluster (`GET_TOPICS_BY_CLUSTER`).
    ///
    /// # Errors
    /// No name server answered.
    pub async fn topics_by_cluster(&self, cluster: &str) -> Result<TopicList, ClientError> {
        let header = GetTopicsByClusterRequestHeader {
            cluster: cluster.to_owned(),
        };
        let code = RequestCode::GET_TOPICS_BY_CLUSTER;
        self.get_from_namesrv(code, &header, TopicList::from_json)
            .await
    }

    /// Deletes the routes of a topic from all name servers (`DELETE_TOPIC_IN_NAMESRV`). Brokers
    /// that still have it register it again.
    ///
    /// # Errors
    /// A name server refused or did not answer.
    pub async fn delete_topic_in_namesrv(&self, topic: &str) -> Result<(), ClientError> {
        let header = DeleteTopicFromNamesrvRequestHeader {
            topic: topic.to_owned(),
            cluster_name: None,
        };
        self.tell_namesrvs(RequestCode::DELETE_TOPIC_IN_NAMESRV, &header)
            .await
    }

    /// Sets a value at all name servers (`PUT_KV_CONFIG`).
    ///
    /// # Errors
    /// A name server refused or did not answer.
    pub async fn put_kv_config(
        &self,
        namespace: &str,
        key: &str,
        value: &str,
    ) -> Result<(), ClientError> {
        let header = PutKVConfigRequestHeader {
            namespace: namespace.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        };
        self.tell_namesrvs(RequestCode::PUT_KV_CONFIG, &header)
            .await
    }

    /// A value, if there is one (`GET_KV_CONFIG`).
    ///
    /// # Errors
    /// No name server answered.
    pub async fn get_kv_config(
        &self,
        namespace: &str,
        key: &str,
    ) -> Result<Option<String>, ClientError> {
        let header = GetKVConfigRequestHeader {
            namespace: namespace.to_owned(),
            key: key.to_owned(),
        };
        let request = self
            .inner
            .instance
            .request(RequestCode::GET_KV_CONFIG, &header);
        match self.ask_namesrv(request).await {
            Ok((addr, response)) => {
                Self::header::<GetKVConfigResponseHeader>(&addr, &response).map(|found| found.value)
            }
            Err(error) if error.code() == Some(ResponseCode::QUERY_NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes a value at all name servers (`DELETE_KV_CONFIG`).
    ///
    /// # Errors
    /// A name server refused or did not answer.
    pub async fn delete_kv_config(&self, namespace: &str, key: &str) -> Result<(), ClientError> {
        let header = DeleteKVConfigRequestHeader {
            namespace: namespace.to_owned(),
            key: key.to_owned(),
        };
        self.tell_namesrvs(RequestCode::DELETE_KV_CONFIG, &header)
            .await
    }

    /// All keys and values of a namespace; none if it is not there (`GET_KVLIST_BY_NAMESPACE`).
    ///
    /// # Errors
    /// No name server answered.
    pub async fn kv_list(&self, namespace: &str) -> Result<BTreeMap<String, String>, ClientError> {
        let header = GetKVListByNamespaceRequestHeader {
            namespace: namespace.to_owned(),
        };
        let code = RequestCode::GET_KVLIST_BY_NAMESPACE;
        let found = self.get_from_namesrv(code, &header, KVTable::from_json);
        match found.await {
            Ok(found) => Ok(found.table),
            Err(error) if error.code() == Some(ResponseCode::QUERY_NOT_FOUND) => {
                Ok(BTreeMap::new())
            }
            Err(error) => Err(error),
        }
    }

    /// Takes the right to be written to from all topics of a broker group, in the memory of one
    /// name server; returns how many topics that were (`WIPE_WRITE_PERM_OF_BROKER`).
    ///
    /// # Errors
    /// The name server refused or did not answer.
    pub async fn wipe_write_perm(
        &self,
        namesrv_addr: &str,
        broker_name: &str,
    ) -> Result<i32, ClientError> {
        let header = WipeWritePermOfBrokerRequestHeader {
            broker_name: broker_name.to_owned(),
        };
        let code = RequestCode::WIPE_WRITE_PERM_OF_BROKER;
        let response = self.ask(namesrv_addr, code, &header).await?;
        Self::header::<WipeWritePermOfBrokerResponseHeader>(namesrv_addr, &response)
            .map(|wiped| wiped.wipe_topic_count)
    }

    /// Gives the right to be written to back (`ADD_WRITE_PERM_OF_BROKER`).
    ///
    /// # Errors
    /// The name server refused or did not answer.
    pub async fn add_write_perm(
        &self,
        namesrv_addr: &str,
        broker_name: &str,
    ) -> Result<i32, ClientError> {
        let header = AddWritePermOfBrokerRequestHeader {
            broker_name: broker_name.to_owned(),
        };
        let code = RequestCode::ADD_WRITE_PERM_OF_BROKER;
        let response = self.ask(namesrv_addr, code, &header).await?;
        Self::header::<AddWritePermOfBrokerResponseHeader>(namesrv_addr, &response)
            .map(|added| added.add_topic_count)
    }

    /// The settings of a name server, as Java properties (`GET_NAMESRV_CONFIG`).
    ///
    /// # Errors
    /// The name server refused or did not answer.
    pub async fn namesrv_config(&self, namesrv_addr: &str) -> Result<String, ClientError> {
        let code = RequestCode::GET_NAMESRV_CONFIG;
        let response = self.ask_with(namesrv_addr, code, Vec::new()).await?;
        Ok(String::from_utf8_lossy(&response.body).into_owned())
    }

    /// Changes settings of all name servers, given as Java properties (`UPDATE_NAMESRV_CONFIG`).
    ///
    /// # Errors
    /// A name server refused or did not answer.
    pub async fn update_namesrv_config(&self, properties: &str) -> Result<(), ClientError> {
        for addr in self.namesrv_addrs() {
            let body = properties.as_bytes().to_vec();
            self.ask_with(addr, RequestCode::UPDATE_NAMESRV_CONFIG, body)
                .await?;
        }
        Ok(())
    }
}
