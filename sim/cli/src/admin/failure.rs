//! Why a command failed, and what to do about it.

use hotfire_client::{ClientError, SendError};
use hotfire_protocol::ResponseCode;
use hotfire_remoting::RpcError;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// A server could not be reached, or said no.
    Server(ClientError),
    /// A message could not be sent, or nobody knows whether it was.
    Send(SendError),
    /// A server said no, with a code that only this command understands.
    Refused(String),
    /// What was asked for is not there.
    Missing(String),
    /// An argument makes no sense.
    Usage(String),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Invalid(what) => Self::Usage(what),
            error => Self::Server(error),
        }
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        match error.source {
            ClientError::Invalid(what) => Self::Usage(what),
            _ => Self::Send(error),
        }
    }
}

impl Failure {
    /// What went wrong, and what may help.
    pub fn text(&self) -> String {
        match self {
            Self::Refused(what) | Self::Missing(what) | Self::Usage(what) => what.clone(),
            Self::Server(error) => with_hint(error.to_string(), error),
            Self::Send(error) => with_hint(error.to_string(), &error.source),
        }
    }
}

fn with_hint(text: String, error: &ClientError) -> String {
    match hint(error) {
        Some(hint) => format!("{text}\n{hint}"),
        None => text,
    }
}

fn hint(error: &ClientError) -> Option<&'static str> {
    match error {
        ClientError::Rpc(RpcError::Connect { source, .. })
            if source.to_string().contains("certificate") =>
        {
            Some("No authority in the file of `--tls-ca` has signed the server's certificate.")
        }
        ClientError::Rpc(RpcError::Closed { .. }) => {
            Some("So does a server that wants encryption of one who does not encrypt: try `--tls`.")
        }
        ClientError::Rpc(RpcError::Connect { .. }) => Some(
            "Is a server running there? `-n HOST:PORT` or NAMESRV_ADDR names another name server.",
        ),
        ClientError::Rpc(RpcError::Timeout { .. }) => Some(
            "The server did not answer in time. One that wants encryption waits for it: try `--tls`.",
        ),
        ClientError::NoRoute { reason, .. } if reason.contains("TOPIC_NOT_EXIST") => {
            Some("`topicList` shows the topics there are.")
        }
        ClientError::NoRoute { reason, .. } if reason.contains("can be written") => {
            Some("`addWritePerm` and `updateTopic -p 6` let producers write.")
        }
        ClientError::NoRoute { .. } => Some(
            "Is a name server running there? `-n HOST:PORT` or NAMESRV_ADDR names another one; \
             one that wants encryption needs `--tls`.",
        ),
        ClientError::NoBroker(_) => Some("`clusterList` shows the brokers there are."),
        ClientError::Response { code, remark, .. } => of_code(*code, remark),
        _ => None,
    }
}

fn of_code(code: ResponseCode, remark: &str) -> Option<&'static str> {
    Some(match code {
        ResponseCode::TOPIC_NOT_EXIST => "`topicList` shows the topics there are.",
        ResponseCode::CONSUMER_NOT_ONLINE => "No member of the group is connected.",
        ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST => "`consumerProgress` shows the groups.",
        ResponseCode::REQUEST_CODE_NOT_SUPPORTED => {
            "The server does not know the request: it is older, or newer, than the command."
        }
        ResponseCode::NO_PERMISSION => {
            "If the server checks access, `--access-key` and `--secret-key` say who you are."
        }
        _ if remark.contains("AclException") => of_access(remark),
        _ => return None,
    })
}

/// What to do about a refusal by access control; its remarks are those of 4.9.
fn of_access(remark: &str) -> &'static str {
    if remark.contains("Check signature failed") {
        "There is no account of the name that `--access-key` gave, or `--secret-key` is not its secret."
    } else if remark.contains("No acl config for") {
        "There is no account of the name that `--access-key` gave."
    } else if remark.contains("Need admin permission") {
        "Only administrators may do this: accounts with `admin: true`."
    } else if remark.contains("No accessKey") {
        "The server checks access: `--access-key` and `--secret-key` say who you are."
    } else {
        "The account may not do this; `updateAclConfig` changes what it may."
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_server_code_and_what_to_do() {
        let failure = Failure::from(ClientError::Response {
            addr: "10.0.0.1:10911".to_owned(),
            code: ResponseCode::TOPIC_NOT_EXIST,
            remark: "topic[t] not exist".to_owned(),
        });
        assert_eq!(
            failure.text(),
            "10.0.0.1:10911 answered TOPIC_NOT_EXIST(17): topic[t] not exist\n\
             `topicList` shows the topics there are."
        );
    }
}
