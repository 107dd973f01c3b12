//! How requests of administrators travel.

use std::time::Duration;

use hotfire_protocol::body::JsonError;
use hotfire_protocol::{Header, RemotingCommand, RequestCode};

use crate::instance::{malformed, read, refusal};
use crate::{Admin, ClientError};

/// How long a request may take that changes something, or that a broker passes on to a client.
pub(super) const LONG: Duration = Duration::from_secs(15);

/// Reads a body.
pub(super) type Read<T> = fn(&[u8]) -> Result<T, JsonError>;

impl Admin {
    /// Asks a broker or name server with a header.
    pub(super) async fn ask(
        &self,
        addr: &str,
        code: RequestCode,
        header: &impl Header,
    ) -> Result<RemotingCommand, ClientError> {
        let instance = &self.inner.instance;
        let request = instance.request(code, header);
        instance.call(addr, request, LONG).await
    }

    /// Asks with a body, or with nothing at all.
    pub(super) async fn ask_with(
        &self,
        addr: &str,
        code: RequestCode,
        body: Vec<u8>,
    ) -> Result<RemotingCommand, ClientError> {
        let instance = &self.inner.instance;
        let request = instance.plain_request(code).with_body(body);
        instance.call(addr, request, LONG).await
    }

    /// Asks for a JSON body.
    pub(super) async fn get<T>(
        &self,
        addr: &str,
        code: RequestCode,
        header: &impl Header,
        from_json: Read<T>,
    ) -> Result<T, ClientError> {
        let response = self.ask(addr, code, header).await?;
        from_json(&response.body).map_err(|error| malformed(addr, error))
    }

    /// Asks for a JSON body without a header.
    pub(super) async fn get_plain<T>(
        &self,
        addr: &str,
        code: RequestCode,
        from_json: Read<T>,
    ) -> Result<T, ClientError> {
        let response = self.ask_with(addr, code, Vec::new()).await?;
        from_json(&response.body).map_err(|error| malformed(addr, error))
    }

    /// Asks one name server: the next if one cannot be reached.
    pub(super) async fn ask_namesrv(
        &self,
        request: RemotingCommand,
    ) -> Result<(String, RemotingCommand), ClientError> {
        let instance = &self.inner.instance;
        let (addr, response) = instance.invoke_namesrv(request).await?;
        if response.is_success() {
            Ok((addr, response))
        } else {
            Err(refusal(&addr, response))
        }
    }

    /// Asks one name server for a JSON body.
    pub(super) async fn get_from_namesrv<T>(
        &self,
        code: RequestCode,
        header: &impl Header,
        from_json: Read<T>,
    ) -> Result<T, ClientError> {
        let request = self.inner.instance.request(code, header);
        let (addr, response) = self.ask_namesrv(request).await?;
        from_json(&response.body).map_err(|error| malformed(&addr, error))
    }

    /// Tells every name server: they do not tell each other.
    ///
    /// # Errors
    /// The last of those that failed; the others have done it.
    pub(super) async fn tell_namesrvs(
        &self,
        code: RequestCode,
        header: &impl Header,
    ) -> Result<(), ClientError> {
        let mut failed = None;
        for addr in self.namesrv_addrs() {
            if let Err(error) = self.ask(addr, code, header).await {
                failed = Some(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// The name servers that this client was given.
    pub fn namesrv_addrs(&self) -> &[String] {
        &self.inner.instance.config.namesrv_addrs
    }

    /// The header of an answer.
    pub(super) fn header<H: Header>(
        addr: &str,
        response: &RemotingCommand,
    ) -> Result<H, ClientError> {
        read(addr, response)
    }
}
