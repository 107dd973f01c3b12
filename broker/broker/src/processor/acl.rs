//! The administration of access control (`AdminBrokerProcessor` of 4.9).

use std::collections::BTreeMap;
use std::sync::Arc;

use hotfire_protocol::body::{DataVersion, PlainAccessConfig, fastjson};
use hotfire_protocol::header::acl::{
    CreateAccessConfigRequestHeader, DELETE_ACL_CONFIG_FAILED, DeleteAccessConfigRequestHeader,
    GetBrokerAclConfigResponseHeader, UPDATE_AND_CREATE_ACL_CONFIG_FAILED,
    UPDATE_GLOBAL_WHITE_ADDRS_CONFIG_FAILED, UpdateGlobalWhiteAddrsConfigRequestHeader,
};
use hotfire_protocol::{HeaderError, RemotingCommand, RequestCode, ResponseCode};
use hotfire_remoting::Handled;

use super::{Answer, body};
use crate::acl::{AccessControl, DEFAULT_FILE};
use crate::refusal::Refusal;
use crate::state::State;

/// UPDATE_AND_CREATE_ACL_CONFIG, DELETE_ACL_CONFIG and UPDATE_GLOBAL_WHITE_ADDRS_CONFIG: answered
/// when the change is on the disk and in force.
pub(super) fn change(broker: &Arc<State>, request: RemotingCommand) -> Handled {
    let broker = broker.clone();
    Handled::Later(Box::pin(async move {
        let code = match RequestCode(request.code) {
            RequestCode::UPDATE_AND_CREATE_ACL_CONFIG => UPDATE_AND_CREATE_ACL_CONFIG_FAILED,
            RequestCode::DELETE_ACL_CONFIG => DELETE_ACL_CONFIG_FAILED,
            _ => UPDATE_GLOBAL_WHITE_ADDRS_CONFIG_FAILED,
        };
        let changed = match changed(&broker, &request).await {
            Ok(()) => request.response(ResponseCode::SUCCESS),
            Err(Wrong::Header(error)) => Refusal::from(error).response(&request),
            Err(Wrong::Change(why)) => request.response_error(code, why),
        };
        Some(changed)
    }))
}

/// Why nothing was changed.
enum Wrong {
    Header(HeaderError),
    Change(String),
}

impl From<HeaderError> for Wrong {
    fn from(error: HeaderError) -> Self {
        Self::Header(error)
    }
}

impl From<String> for Wrong {
    fn from(why: String) -> Self {
        Self::Change(why)
    }
}

async fn changed(broker: &State, request: &RemotingCommand) -> Result<(), Wrong> {
    let acl = access_control(broker)?;
    match RequestCode(request.code) {
        RequestCode::UPDATE_AND_CREATE_ACL_CONFIG => {
            let header: CreateAccessConfigRequestHeader = request.header()?;
            acl.update_account(&broker.env, account(header)).await?;
        }
        RequestCode::DELETE_ACL_CONFIG => {
            let header: DeleteAccessConfigRequestHeader = request.header()?;
            acl.delete_account(&broker.env, &header.access_key).await?;
        }
        _ => {
            let header: UpdateGlobalWhiteAddrsConfigRequestHeader = request.header()?;
            let addresses = list(&header.global_white_addrs);
            let path = header.acl_file_full_path.as_deref();
            acl.update_addresses(&broker.env, addresses, path).await?;
        }
    }
    Ok(())
}

/// The account that a header describes; what is empty is not given.
fn account(header: CreateAccessConfigRequestHeader) -> PlainAccessConfig {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let listed = |text: Option<String>| given(text).map(|text| list(&text));
    PlainAccessConfig {
        access_key: given(Some(header.access_key)),
        secret_key: given(header.secret_key),
        white_remote_address: given(header.white_remote_address),
        admin: header.admin,
        default_topic_perm: given(header.default_topic_perm),
        default_group_perm: given(header.default_group_perm),
        topic_perms: listed(header.topic_perms),
        group_perms: listed(header.group_perms),
    }
}

fn list(text: &str) -> Vec<String> {
    let items = text.split(',').map(str::trim);
    items
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

fn access_control(broker: &State) -> Result<&AccessControl, String> {
    let acl = broker.acl.as_ref();
    acl.ok_or_else(|| "access control is off: aclEnable is not set".to_owned())
}

/// GET_BROKER_CLUSTER_ACL_INFO: the versions of the files.
pub(super) fn versions(broker: &State, request: &RemotingCommand) -> Answer {
    let versions = access_control(broker).map_err(off)?.versions();
    let text = |version: &DataVersion| String::from_utf8_lossy(&version.to_json()).into_owned();
    let default = versions.get(DEFAULT_FILE).copied().unwrap_or_default();
    let config = broker.config();
    let header = GetBrokerAclConfigResponseHeader {
        version: text(&default),
        all_acl_file_version: Some(all(&versions)?),
        broker_name: config.broker_name.clone(),
        broker_addr: broker.address().to_string(),
        cluster_name: config.broker_cluster_name.clone(),
    };
    Ok(request.response_with(ResponseCode::SUCCESS, &header))
}

fn all(versions: &BTreeMap<String, DataVersion>) -> Result<String, Refusal> {
    let json = fastjson::to_vec(versions).map_err(|error| off(error.to_string()))?;
    Ok(String::from_utf8_lossy(&json).into_owned())
}

/// GET_BROKER_CLUSTER_ACL_CONFIG: all that is in force, secrets included.
pub(super) fn config(broker: &State, request: &RemotingCommand) -> Answer {
    let acl = access_control(broker).map_err(off)?;
    body(request, acl.config().to_json())
}

fn off(why: String) -> Refusal {
    Refusal::new(ResponseCode::SYSTEM_ERROR, why)
}
