//! What each request code is: who may send it, and how it is served.
//!
//! A code without an entry is unknown.

use std::sync::Arc;

use hotfire_env::BoxFuture;
use hotfire_protocol::{RemotingCommand, RequestCode};
use hotfire_remoting::Channel;

use super::{Answer, Processor};

/// Who may send a request, if the name server authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Anybody, signed or not.
    Anybody,
    /// Brokers, who tell of themselves.
    Broker,
    /// Administrators, who change something.
    Administrator,
}

/// How a request is served, which is a matter of what it can cost. None waits for anything else to
/// happen.
#[derive(Clone, Copy)]
pub(super) enum Serve {
    /// At once: it costs next to nothing.
    Now(fn(&Processor, &Channel, &RemotingCommand) -> Answer),
    /// At once if its body has no more than [`SMALL`] bytes, else like those that are computed: it
    /// costs as much as its body is long.
    ByBody(fn(&Processor, &Channel, &RemotingCommand) -> Answer),
    /// Where computing holds up nobody: it costs as much as a table is long.
    Computed(fn(&Processor, &Channel, &RemotingCommand) -> Answer),
    /// When the disk has it.
    Written(fn(Arc<Processor>, RemotingCommand) -> BoxFuture<'static, Answer>),
}

/// A request code.
pub(super) struct Request {
    code: RequestCode,
    pub(super) access: Access,
    pub(super) serve: Serve,
}

const fn request(code: RequestCode, access: Access, serve: Serve) -> Request {
    Request {
        code,
        access,
        serve,
    }
}

/// Bodies up to this length take less time to read than to carry elsewhere.
pub(super) const SMALL: usize = 1 << 10;

/// The entry of a code.
pub(super) fn of(code: RequestCode) -> Option<&'static Request> {
    REQUESTS.iter().find(|request| request.code == code)
}

/// All of them, the most frequent first.
static REQUESTS: [Request; 22] = {
    use Access::{Administrator, Anybody, Broker};
    use Serve::{ByBody, Computed, Now, Written};
    type P = Processor;
    type C = RequestCode;
    [
        request(C::GET_ROUTEINFO_BY_TOPIC, Anybody, Now(P::route)),
        request(C::REGISTER_BROKER, Broker, ByBody(P::register)),
        request(C::QUERY_DATA_VERSION, Broker, ByBody(P::query_data_version)),
        request(C::BROKER_HEARTBEAT, Broker, Now(P::heartbeat)),
        request(C::UNREGISTER_BROKER, Broker, Now(P::unregister)),
        request(
            C::REGISTER_TOPIC_IN_NAMESRV,
            Broker,
            ByBody(P::register_topic),
        ),
        request(
            C::GET_BROKER_CLUSTER_INFO,
            Anybody,
            Computed(P::cluster_info),
        ),
        request(
            C::GET_TOPICS_BY_CLUSTER,
            Anybody,
            Computed(P::topics_by_cluster),
        ),
        request(
            C::GET_ALL_TOPIC_LIST_FROM_NAMESERVER,
            Anybody,
            Computed(P::all_topics),
        ),
        request(
            C::GET_SYSTEM_TOPIC_LIST_FROM_NS,
            Anybody,
            Computed(P::system_topics),
        ),
        request(C::GET_UNIT_TOPIC_LIST, Anybody, Computed(P::unit_topics)),
        request(
            C::GET_HAS_UNIT_SUB_TOPIC_LIST,
            Anybody,
            Computed(P::has_unit_sub_topics),
        ),
        request(
            C::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST,
            Anybody,
            Computed(P::has_unit_sub_ununit_topics),
        ),
        request(C::GET_KV_CONFIG, Anybody, Now(P::get_kv)),
        request(C::GET_KVLIST_BY_NAMESPACE, Anybody, Computed(P::list_kv)),
        request(C::PUT_KV_CONFIG, Administrator, Written(P::put_kv)),
        request(C::DELETE_KV_CONFIG, Administrator, Written(P::delete_kv)),
        request(
            C::WIPE_WRITE_PERM_OF_BROKER,
            Administrator,
            Computed(P::wipe_write_perm),
        ),
        request(
            C::ADD_WRITE_PERM_OF_BROKER,
            Administrator,
            Computed(P::add_write_perm),
        ),
        request(
            C::DELETE_TOPIC_IN_NAMESRV,
            Administrator,
            Now(P::delete_topic),
        ),
        request(C::GET_NAMESRV_CONFIG, Anybody, Now(P::show_config)),
        request(
            C::UPDATE_NAMESRV_CONFIG,
            Administrator,
            Written(P::update_config),
        ),
    ]
};
