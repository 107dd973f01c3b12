//! Servers that want encryption.

use insta::assert_snapshot;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};

use crate::site::{Site, words};

const SETTINGS: &str = "tls.server.mode=enforcing\ntls.enable=true\n\
                        tls.server.certPath=server.pem\ntls.server.keyPath=server.key\n";

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Servers with a certificate by `ca.pem`, beside which lies the `other.pem` of another authority.
fn site() -> Site {
    let (ca, other) = (authority("ours"), authority("another"));
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &ca).unwrap();
    let files = [
        ("server.pem", &*certificate.pem()),
        ("server.key", &*key.serialize_pem()),
        ("ca.pem", &*ca.pem()),
        ("other.pem", &*other.pem()),
    ];
    Site::start_with(SETTINGS, &files)
}

#[test]
fn who_does_not_encrypt_is_told_to() {
    let site = site();
    for line in ["topicList", "updateTopic -t orders -c DefaultCluster"] {
        let refused = site.refused(&words(line));
        let (what, hint) = refused.trim_end().split_once('\n').unwrap();
        let closed = "the connection to <NAMESRV> closed before the response came";
        assert!(what.starts_with(closed), "{what}");
        assert!(hint.ends_with("try `--tls`."), "{hint}");
    }
}

#[test]
fn who_encrypts_is_served_and_takes_any_certificate() {
    let site = site();
    site.text(&words(
        "updateTopic -t orders -c DefaultCluster -r 1 -w 1 --tls",
    ));
    site.text(&words("sendMessage -t orders -p hello --tls"));
    let printed = site.json(&words("printMsg -t orders --tls"));
    assert_eq!(printed[0]["body"], "hello");
}

#[test]
fn who_names_an_authority_takes_only_what_it_signed() {
    let site = site();
    let (ca, other) = (site.path("ca.pem"), site.path("other.pem"));
    site.text(&words(&format!(
        "updateTopic -t orders -c DefaultCluster --tls-ca {ca}"
    )));
    site.text(&words(&format!(
        "sendMessage -t orders -p hello --tls --tls-ca {ca}"
    )));
    let refused = site.refused(&words(&format!("topicList --tls-ca {other}")));
    assert_snapshot!(refused, @r"
    connect to <NAMESRV> failed: invalid peer certificate: UnknownIssuer
    No authority in the file of `--tls-ca` has signed the server's certificate.
    ");
}

#[test]
fn an_authority_that_cannot_be_read_is_wrong_usage() {
    let site = site();
    for (file, what) in [
        ("none.pem", "cannot read"),
        ("server.key", "there is no certificate in it"),
    ] {
        let path = site.path(file);
        let done = site.run(&["topicList", "--tls-ca", &path]);
        assert_eq!((done.code, done.stdout.as_str()), (254, ""));
        let stderr = done.stderr;
        assert!(stderr.contains(what) && stderr.contains(&path), "{stderr}");
    }
}
