//! Signatures of requests (`AclClientRPCHook`, `AclUtils`).
//!
//! A signed request carries its sender's access key and an HMAC-SHA1, by the secret key, of the
//! values of all its fields, in the order of their names, and of its body. Code, opaque, flag and
//! the names of the fields are not covered: who can change a request on its way can make another
//! one of it that has the same values.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::{ExtFields, RemotingCommand};

/// The field with the access key (`SessionCredentials.ACCESS_KEY`).
pub const ACCESS_KEY: &str = "AccessKey";
/// The field with the signature (`SessionCredentials.SIGNATURE`).
pub const SIGNATURE: &str = "Signature";
/// The field with the token of temporary credentials (`SessionCredentials.SECURITY_TOKEN`).
pub const SECURITY_TOKEN: &str = "SecurityToken";

/// Adds the access key, the token if there is one, and the signature. Signing again replaces them.
pub fn sign(
    request: &mut RemotingCommand,
    access_key: &str,
    secret_key: &str,
    security_token: Option<&str>,
) {
    request.ext.set(ACCESS_KEY, access_key);
    if let Some(token) = security_token {
        request.ext.set(SECURITY_TOKEN, token);
    }
    let signature = signature(secret_key, &request.ext, &request.body, &[]);
    request.ext.set(SIGNATURE, signature);
}

/// The signature of these fields and this body, in Base64. The signature field itself and the
/// fields in `without` do not count.
pub fn signature(secret_key: &str, ext: &ExtFields, body: &[u8], without: &[&str]) -> String {
    let mac = digest(secret_key, ext, body, without).finalize();
    STANDARD.encode(mac.into_bytes())
}

/// Whether `claimed` is the signature of these fields and this body. Takes the same time for every
/// wrong signature.
pub fn verify(
    claimed: &str,
    secret_key: &str,
    ext: &ExtFields,
    body: &[u8],
    without: &[&str],
) -> bool {
    // Java compares the Base64 texts; other spellings of the same bytes are no signatures.
    let Ok(bytes) = STANDARD.decode(claimed) else {
        return false;
    };
    digest(secret_key, ext, body, without)
        .verify_slice(&bytes)
        .is_ok()
}

fn digest(secret_key: &str, ext: &ExtFields, body: &[u8], without: &[&str]) -> Hmac<Sha1> {
    let mut fields: Vec<_> = ext
        .iter()
        .filter(|(name, _)| *name != SIGNATURE && !without.contains(name))
        .collect();
    // Java orders strings by UTF-16 units. Where a name comes twice, the last one counts.
    fields.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha1>::new_from_slice(secret_key.as_bytes()).expect("any length");
    for (at, (name, value)) in fields.iter().enumerate() {
        if fields.get(at + 1).is_none_or(|(next, _)| next != name) {
            mac.update(value.as_bytes());
        }
    }
    mac.update(body);
    mac
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::RequestCode;

    const SECRET: &str = "12345678";

    fn request() -> RemotingCommand {
        let mut request = RemotingCommand::request(RequestCode::SEND_MESSAGE_V2);
        // Not in the order of the names.
        request.ext = [("e", "0"), ("b", "TopicTest"), ("a", "PG")]
            .into_iter()
            .collect();
        request.with_body("hello")
    }

    #[test]
    fn a_signature_is_that_of_rocketmq() {
        let mut request = request();
        sign(&mut request, "rocketmq2", SECRET, None);
        assert_eq!(request.ext.get(ACCESS_KEY), Some("rocketmq2"));
        assert_eq!(
            request.ext.get(SIGNATURE),
            Some("6+wOR23boFnBCMxTiFYndx/kULU=")
        );
    }

    #[test]
    fn signing_again_gives_the_same() {
        let mut once = request();
        sign(&mut once, "rocketmq2", SECRET, Some("token"));
        let mut twice = once.clone();
        sign(&mut twice, "rocketmq2", SECRET, Some("token"));
        assert_eq!(once, twice);
        assert_eq!(once.ext.get(SECURITY_TOKEN), Some("token"));
    }

    #[test]
    fn fields_that_are_left_out_do_not_count() {
        let mut request = request();
        sign(&mut request, "rocketmq2", SECRET, None);
        let claimed = request.ext.get(SIGNATURE).map(str::to_owned).unwrap();
        request.ext.set("_UNIQUE_KEY_QUERY", "true");
        let (ext, body) = (&request.ext, &request.body);
        assert!(!verify(&claimed, SECRET, ext, body, &[]));
        assert!(verify(&claimed, SECRET, ext, body, &["_UNIQUE_KEY_QUERY"]));
    }

    #[test]
    fn what_is_not_base64_is_no_signature() {
        let request = request();
        for claimed in ["", "?", "6+wOR23boFnBCMxTiFYndx/kULU", "6+wO"] {
            assert!(!verify(claimed, SECRET, &request.ext, &request.body, &[]));
        }
    }

    fn fields() -> impl Strategy<Value = Vec<(String, String)>> {
        prop::collection::vec(("[a-zA-Z_é\u{ff5e}😀]{1,6}", "\\PC{0,12}"), 1..8)
    }

    proptest! {
        #[test]
        fn a_signed_request_verifies_in_any_order_of_its_fields(
            fields in fields(), body: Vec<u8>, secret in "\\PC{1,70}",
        ) {
            let mut request = RemotingCommand::request(RequestCode::HEART_BEAT).with_body(body);
            request.ext = fields.into_iter().collect();
            sign(&mut request, "someone", &secret, None);
            let claimed = request.ext.get(SIGNATURE).unwrap_or_default();
            let mut turned: Vec<_> = request.ext.iter().collect();
            turned.reverse();
            let turned = turned
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            prop_assert!(verify(claimed, &secret, &turned, &request.body, &[]));
        }

        #[test]
        fn a_changed_value_or_body_or_secret_breaks_the_signature(
            fields in fields(), body: Vec<u8>, which: prop::sample::Index, what in 0..3,
        ) {
            let mut request = RemotingCommand::request(RequestCode::HEART_BEAT).with_body(body);
            request.ext = fields.into_iter().collect();
            sign(&mut request, "someone", SECRET, None);
            let claimed = request.ext.get(SIGNATURE).unwrap_or_default().to_owned();
            let mut body = request.body.to_vec();
            let mut secret = SECRET.to_owned();
            match what {
                0 => {
                    let names: Vec<_> = request.ext.iter().map(|(name, _)| name.to_owned()).collect();
                    let name = which.get(&names).clone();
                    prop_assume!(name != SIGNATURE);
                    let value = format!("{}x", request.ext.get(&name).unwrap_or_default());
                    // The values are joined without separators: only a text that differs counts.
                    request.ext.set(name, value);
                }
                1 => body.push(0),
                _ => secret.push('x'),
            }
            prop_assert!(!verify(&claimed, &secret, &request.ext, &body, &[]));
        }
    }
}
