//! The HTTP that hands a registry out.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hotfire_env::{ByteStream, Env, Listener, TaskHandle};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// How many may ask at a time; more wait.
const CONNECTIONS_MAX: usize = 16;
/// How long one who connects may take to ask.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take in all, so that those who do not read their answers give their
/// turns to others.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// Before it is listened on again after the operating system refused a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The format of the answer.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Hands a registry out. Dropping it stops nothing: [`Exporter::shutdown`] does.
pub struct Exporter {
    local: SocketAddr,
    task: Mutex<Option<TaskHandle>>,
}

impl Exporter {
    /// Listens on `address` and answers every GET with what the registry says then.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn start(env: &Env, address: &str, registry: Registry) -> io::Result<Self> {
        let listener = env.network().listen(address).await?;
        let local = listener.local();
        let task = env.spawn("metrics", accept(env.clone(), listener, Arc::new(registry)));
        tracing::info!(%local, "metrics are handed out");
        Ok(Self {
            local,
            task: Mutex::new(Some(task)),
        })
    }

    /// The address that is listened on.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Stops listening. Answers that are under way go out.
    pub fn shutdown(&self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
    }
}

async fn accept(env: Env, listener: Box<dyn Listener>, registry: Arc<Registry>) {
    let turns = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // It is never closed.
        let Ok(turn) = turns.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok(connection) => {
                let (served, registry) = (env.clone(), registry.clone());
                env.spawn("metrics-connection", async move {
                    let peer = connection.peer;
                    let serving = serve(&served, connection.stream, registry);
                    match timeout(CONNECTION_TIMEOUT, serving).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => tracing::debug!(%peer, %error, "no metrics for a peer"),
                        Err(_) => tracing::debug!(%peer, "a peer does not read its metrics"),
                    }
                    drop(turn);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection for metrics");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(
    env: &Env,
    stream: Box<dyn ByteStream>,
    registry: Arc<Registry>,
) -> Result<(), hyper::Error> {
    let answer = service_fn(|request: Request<Incoming>| {
        let registry = registry.clone();
        // There may be many figures.
        let answer = env.compute("metrics", move || answer(&request, &registry));
        async move { Ok::<_, Infallible>(answer.await) }
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer)
        .await
}

fn answer(request: &Request<Incoming>, registry: &Registry) -> Response<Full<Bytes>> {
    let mut text = String::new();
    if request.method() != Method::GET {
        return status(StatusCode::METHOD_NOT_ALLOWED);
    }
    if encode(&mut text, registry).is_err() {
        return status(StatusCode::INTERNAL_SERVER_ERROR);
    }
    let mut response = Response::new(Full::new(Bytes::from(text)));
    let format = hyper::header::HeaderValue::from_static(OPEN_METRICS);
    response.headers_mut().insert(CONTENT_TYPE, format);
    response
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
