//! Plain and encrypted connections on one port, over real loopback.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use hotfire_env::{Env, real};
use hotfire_protocol::{RemotingCommand, RequestCode, ResponseCode};
use hotfire_remoting::{
    Channel, Client, ClientConfig, Handled, RequestHandler, RpcError, Server, ServerConfig, Tls,
    TlsConnector, TlsMode, TlsOptions, TlsSettings,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    generate_simple_self_signed,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Answers with the body of the request.
struct Echo;

impl RequestHandler for Echo {
    fn handle(&self, _: &Channel, request: RemotingCommand) -> Handled {
        let body = request.body.clone();
        Handled::Reply(request.response(ResponseCode::SUCCESS).with_body(body))
    }
}

/// A server on loopback, with its files.
struct Site {
    env: Env,
    server: Server,
    folder: tempfile::TempDir,
}

impl Site {
    async fn start(settings: TlsSettings, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let env = real::env(folder.path(), Some([127, 0, 0, 1].into()));
        for (name, content) in files {
            env.disk().write(name, content.as_bytes()).unwrap();
        }
        let tls = Tls::load(&env, env.disk(), &settings).unwrap();
        let config = ServerConfig {
            tls: tls.server,
            ..ServerConfig::default()
        };
        let server = Server::bind(&env, "127.0.0.1:0", config, Arc::new(Echo));
        let server = server.await.unwrap();
        Self {
            env,
            server,
            folder,
        }
    }

    /// Says something and hears it again, as a client that was not there before.
    async fn echo(&self, tls: Option<&TlsOptions>) -> Result<(), RpcError> {
        self.echo_of(tls, "127.0.0.1", 10).await
    }

    async fn echo_of(
        &self,
        tls: Option<&TlsOptions>,
        host: &str,
        size: usize,
    ) -> Result<(), RpcError> {
        let config = ClientConfig {
            tls: tls.map(|options| TlsConnector::new(&self.env, options).unwrap()),
            ..ClientConfig::default()
        };
        let client = Client::new(&self.env, config, None);
        let address = format!("{host}:{}", self.server.local().port());
        let body: Vec<u8> = (0..size).map(|at| at as u8).collect();
        let request = RemotingCommand::request(RequestCode::HEART_BEAT).with_body(body.clone());
        let response = client.invoke(&address, request, TIMEOUT).await?;
        assert_eq!(response.body, body);
        client.shutdown();
        Ok(())
    }
}

fn settings(mode: TlsMode) -> TlsSettings {
    TlsSettings {
        mode,
        cert_path: Some("server.pem".to_owned()),
        key_path: Some("/server.key".to_owned()),
        ..TlsSettings::default()
    }
}

/// A certificate that nobody signed but itself, and its key.
fn self_signed(name: &str) -> (String, String) {
    let made = generate_simple_self_signed([name.to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn signed_by(ca: &CertifiedIssuer<'static, KeyPair>, name: &str) -> (String, String) {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::ServerAuth,
    ];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, ca).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn trusting(pem: &str) -> TlsOptions {
    TlsOptions {
        ca: Some(pem.as_bytes().to_vec()),
        ..TlsOptions::default()
    }
}

#[tokio::test]
async fn a_permissive_server_takes_both_kinds_on_one_port() {
    let (pem, key) = self_signed("localhost");
    let files = [("server.pem", &*pem), ("server.key", &*key)];
    let site = Site::start(settings(TlsMode::Permissive), &files).await;
    site.echo(None).await.unwrap();
    let options = TlsOptions::default();
    site.echo(Some(&options)).await.unwrap();
    let megabytes = site.echo_of(Some(&options), "127.0.0.1", 3 << 20);
    megabytes.await.unwrap();
}

#[tokio::test]
async fn a_server_in_test_mode_makes_itself_a_certificate() {
    let site = Site::start(TlsSettings::default(), &[]).await;
    site.echo(None).await.unwrap();
    site.echo(Some(&TlsOptions::default())).await.unwrap();
}

#[tokio::test]
async fn an_enforcing_server_refuses_plain_connections() {
    let (pem, key) = self_signed("localhost");
    let files = [("server.pem", &*pem), ("server.key", &*key)];
    let site = Site::start(settings(TlsMode::Enforcing), &files).await;
    assert!(site.echo(None).await.is_err());
    site.echo(Some(&TlsOptions::default())).await.unwrap();
}

#[tokio::test]
async fn a_server_without_tls_refuses_encrypted_connections() {
    let site = Site::start(settings(TlsMode::Disabled), &[]).await;
    assert!(site.echo(Some(&TlsOptions::default())).await.is_err());
    site.echo(None).await.unwrap();
}

#[tokio::test]
async fn a_client_that_trusts_somebody_refuses_others() {
    let ca = authority();
    let (pem, key) = signed_by(&ca, "127.0.0.1");
    let files = [("server.pem", &*pem), ("server.key", &*key)];
    let site = Site::start(settings(TlsMode::Enforcing), &files).await;
    site.echo(Some(&trusting(&ca.pem()))).await.unwrap();
    let stranger = authority();
    let refused = site
        .echo(Some(&trusting(&stranger.pem())))
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("invalid peer certificate"),
        "{refused}"
    );
}

#[tokio::test]
async fn the_name_in_a_certificate_counts_only_if_asked_for() {
    let ca = authority();
    let (pem, key) = signed_by(&ca, "broker.example");
    let files = [("server.pem", &*pem), ("server.key", &*key)];
    let site = Site::start(settings(TlsMode::Enforcing), &files).await;
    let mut options = trusting(&ca.pem());
    site.echo(Some(&options)).await.unwrap();
    options.check_name = true;
    let refused = site.echo(Some(&options)).await.unwrap_err();
    assert!(refused.to_string().contains("127.0.0.1"), "{refused}");
}

#[tokio::test]
async fn a_server_can_ask_for_the_clients_certificate() {
    let ca = authority();
    let (pem, key) = signed_by(&ca, "server");
    let trust = ca.pem();
    let files = [
        ("server.pem", &*pem),
        ("server.key", &*key),
        ("ca.pem", &*trust),
    ];
    let settings = TlsSettings {
        client_auth: hotfire_remoting::ClientAuth::Require,
        auth_client: true,
        trust_cert_path: Some("ca.pem".to_owned()),
        ..settings(TlsMode::Enforcing)
    };
    let site = Site::start(settings, &files).await;
    assert!(site.echo(Some(&TlsOptions::default())).await.is_err());
    let (pem, key) = signed_by(&ca, "client");
    let known = TlsOptions {
        identity: Some((pem.into_bytes(), key.into_bytes())),
        ..TlsOptions::default()
    };
    site.echo(Some(&known)).await.unwrap();
    let (pem, key) = signed_by(&authority(), "client");
    let stranger = TlsOptions {
        identity: Some((pem.into_bytes(), key.into_bytes())),
        ..TlsOptions::default()
    };
    assert!(site.echo(Some(&stranger)).await.is_err());
}

/// Connects until the server shows a certificate of this authority: it looks at its files every
/// half second.
async fn until_trusted(site: &Site, ca: &str) {
    let options = trusting(ca);
    let trusted = async {
        while site.echo(Some(&options)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, trusted).await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_changes_is_taken_up_and_a_bad_one_is_not() {
    let (first, second) = (authority(), authority());
    let (pem, key) = signed_by(&first, "server");
    let files = [("server.pem", &*pem), ("server.key", &*key)];
    let site = Site::start(settings(TlsMode::Enforcing), &files).await;
    site.echo(Some(&trusting(&first.pem()))).await.unwrap();
    let replace = |pem: &str, key: &str| {
        site.env.disk().write("server.pem", pem.as_bytes()).unwrap();
        site.env.disk().write("server.key", key.as_bytes()).unwrap();
    };
    let (pem, key) = signed_by(&second, "server");
    replace(&pem, &key);
    until_trusted(&site, &second.pem()).await;
    // A key that is not the certificate's, and no certificate at all.
    for bad in [self_signed("x").0.as_str(), "garbage", ""] {
        replace(bad, &key);
        tokio::time::sleep(Duration::from_millis(600)).await;
        site.echo(Some(&trusting(&second.pem()))).await.unwrap();
    }
    let (pem, key) = signed_by(&first, "server");
    replace(&pem, &key);
    until_trusted(&site, &first.pem()).await;
    assert!(site.folder.path().exists());
}

#[tokio::test]
async fn garbage_hurts_nobody() {
    let (pem, key) = self_signed("localhost");
    let files = [("server.pem", &*pem), ("server.key", &*key)];
    let site = Site::start(settings(TlsMode::Permissive), &files).await;
    let address = site.server.local().to_string();
    for garbage in [
        // A handshake that is none, one that is cut off, one of a protocol of long ago, a frame
        // that is too long, and nothing.
        &[0x16; 600][..],
        &[0x16, 3, 1, 0, 200, 1, 0],
        &[0x16, 2, 0, 0, 4, 1, 2, 3, 4],
        &[0x17, 3, 3, 0, 4, 1, 2, 3, 4],
        &[],
    ] {
        let mut raw = site.env.network().connect(&address).await.unwrap();
        raw.stream.write_all(garbage).await.unwrap();
        raw.stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        // An alert or nothing; then the end.
        let read = raw.stream.read_to_end(&mut rest);
        let _ = tokio::time::timeout(TIMEOUT, read).await.unwrap();
        assert!(rest.len() < 100);
    }
    site.echo(None).await.unwrap();
    site.echo(Some(&TlsOptions::default())).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_never_ends_is_cut_off() {
    let site = Site::start(TlsSettings::default(), &[]).await;
    let address = site.server.local().to_string();
    let mut raw = site.env.network().connect(&address).await.unwrap();
    raw.stream.write_all(&[0x16, 3, 1]).await.unwrap();
    let mut rest = Vec::new();
    let _ = raw.stream.read_to_end(&mut rest).await;
    assert_eq!(site.server.channels(), []);
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let env = real::env(folder.path(), None);
    let why = |settings: &TlsSettings| {
        let error = Tls::load(&env, env.disk(), settings).unwrap_err();
        error.to_string()
    };
    let missing = why(&settings(TlsMode::Permissive));
    assert!(missing.starts_with("server.pem: "), "{missing}");
    let (pem, key) = self_signed("localhost");
    env.disk().write("server.pem", pem.as_bytes()).unwrap();
    env.disk().write("server.key", b"garbage").unwrap();
    let garbage = why(&settings(TlsMode::Permissive));
    assert!(
        garbage.starts_with("/server.key: there is no private key"),
        "{garbage}"
    );
    env.disk().write("server.key", key.as_bytes()).unwrap();
    let unchecked = TlsSettings {
        client_auth: hotfire_remoting::ClientAuth::Require,
        ..settings(TlsMode::Permissive)
    };
    assert!(why(&unchecked).contains("tls.server.trustCertPath"));
    let half = TlsSettings {
        key_path: None,
        ..settings(TlsMode::Permissive)
    };
    assert!(why(&half).contains("belong together"));
    let bare = TlsSettings {
        test_mode: false,
        ..TlsSettings::default()
    };
    assert!(why(&bare).contains("are not set"));
    let blind = TlsSettings {
        enable: true,
        auth_server: true,
        ..TlsSettings::default()
    };
    assert!(why(&blind).contains("tls.client.trustCertPath"));
}

/// Why a server with these files cannot be set up.
fn refusal(certificate: &str, key: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let env = real::env(folder.path(), None);
    env.disk()
        .write("server.pem", certificate.as_bytes())
        .unwrap();
    env.disk().write("server.key", key.as_bytes()).unwrap();
    let settings = settings(TlsMode::Enforcing);
    Tls::load(&env, env.disk(), &settings)
        .unwrap_err()
        .to_string()
}

#[test]
fn a_certificate_of_version_1_is_refused_by_the_name_of_its_file_and_with_what_helps() {
    let certificate = include_str!("fixtures/version-1.pem");
    let error = refusal(certificate, include_str!("fixtures/version-1.key"));
    assert!(error.starts_with("server.pem: "), "{error}");
    assert!(
        error.contains("version 1") && error.contains("-extfile"),
        "{error}"
    );
}

#[test]
fn a_key_of_another_certificate_is_refused_by_the_names_of_both_files() {
    let ((certificate, _), (_, key)) = (self_signed("localhost"), self_signed("localhost"));
    let error = refusal(&certificate, &key);
    assert!(
        error.starts_with("server.pem with /server.key: "),
        "{error}"
    );
}
