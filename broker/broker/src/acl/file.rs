//! The YAML files of access control (`plain_acl.yml`).

use hotfire_protocol::body::{DataVersion, PlainAccessConfig};
use serde::{Deserialize, Serialize};

use super::address::AddressPattern;
use super::perm::Perm;
use super::rules::Account;

/// Access keys and secrets must be longer than this (`AclConstants`).
const KEY_MIN: usize = 6;

/// What a file holds. Keys that RocketMQ does not know are ignored, and gone when the broker writes
/// the file, as comments are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PlainAccessData {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub global_white_remote_addresses: Option<Vec<Option<String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accounts: Option<Vec<PlainAccessConfig>>,
    /// The version, in a list of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_version: Option<Vec<DataVersion>>,
}

impl PlainAccessData {
    /// Reads a file.
    ///
    /// # Errors
    /// It is not YAML of this shape. The message quotes nothing: there are secrets in these files.
    pub fn from_yaml(content: &[u8]) -> Result<Self, String> {
        let options = serde_saphyr::options! { with_snippet: false };
        let data: Option<Self> =
            serde_saphyr::from_slice_with_options(content, options).map_err(|error| match error
                .location()
            {
                Some(at) => format!("it is not such a file: line {}", at.line()),
                None => "it is not such a file".to_owned(),
            })?;
        let data = data.unwrap_or_default();
        if data == Self::default() {
            return Err("there is nothing in it".to_owned());
        }
        Ok(data)
    }

    /// The file.
    ///
    /// # Errors
    /// It cannot be written as YAML.
    pub fn to_yaml(&self) -> Result<String, String> {
        serde_saphyr::to_string(self).map_err(|error| error.to_string())
    }

    /// The version; zero if the file has none.
    pub fn version(&self) -> DataVersion {
        let versions = self.data_version.iter().flatten();
        versions.copied().next().unwrap_or_default()
    }

    /// The addresses from which nobody need sign.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        let addresses = self.global_white_remote_addresses.iter().flatten();
        addresses.flatten().map(String::as_str)
    }

    /// The accounts.
    pub fn accounts(&self) -> impl Iterator<Item = &PlainAccessConfig> {
        self.accounts.iter().flatten()
    }
}

/// The name of an account and what it may do.
///
/// # Errors
/// What is wrong with it. Secrets are not quoted.
pub(super) fn account(config: &PlainAccessConfig) -> Result<(String, Account), String> {
    let long_enough = |key: &Option<String>| {
        let key = key.as_deref().unwrap_or_default();
        (key.chars().count() > KEY_MIN).then(|| key.to_owned())
    };
    let Some(access_key) = long_enough(&config.access_key) else {
        let key = config.access_key.as_deref().unwrap_or_default();
        return Err(format!(
            "the accessKey `{key}` must have more than {KEY_MIN} characters"
        ));
    };
    let Some(secret_key) = long_enough(&config.secret_key) else {
        return Err(format!(
            "the secretKey of `{access_key}` must have more than {KEY_MIN} characters"
        ));
    };
    let addresses = config.white_remote_address.as_deref().unwrap_or_default();
    let perm = |text: &Option<String>| text.as_deref().map_or(Perm::DENY, Perm::parse);
    let mut account = Account {
        secret_key,
        addresses: AddressPattern::parse(addresses)?,
        admin: config.admin,
        default_topic_perm: perm(&config.default_topic_perm),
        default_group_perm: perm(&config.default_group_perm),
        perms: None,
    };
    for entry in config.topic_perms.iter().flatten() {
        let (topic, perm) = resource(entry)?;
        account.grant(topic.to_owned(), Perm::parse(perm));
    }
    for entry in config.group_perms.iter().flatten() {
        let (group, perm) = resource(entry)?;
        let group = hotfire_protocol::topic::retry_topic(group);
        account.grant(group, Perm::parse(perm));
    }
    Ok((access_key, account))
}

/// `name=permission`.
pub(super) fn resource(entry: &str) -> Result<(&str, &str), String> {
    let mut items = entry.split('=').filter(|item| !item.is_empty());
    match (items.next(), items.next(), items.next()) {
        (Some(name), Some(perm), None) => Ok((name.trim(), perm.trim())),
        _ => Err(format!(
            "`{entry}` is not of the form name=permission, as in `orders=PUB|SUB`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SAMPLE: &str = "
globalWhiteRemoteAddresses:
  - 10.10.103.*
  - 192.168.0.*

accounts:
  - accessKey: RocketMQ
    secretKey: 12345678
    whiteRemoteAddress:
    admin: false
    defaultTopicPerm: DENY
    defaultGroupPerm: SUB
    topicPerms:
      - topicA=DENY
      - topicB=PUB|SUB
    groupPerms:
      # the group should convert to retry topic
      - groupA=DENY
  - accessKey: rocketmq2
    secretKey: 12345678
    whiteRemoteAddress: 192.168.1.*
    admin: true
";

    #[test]
    fn a_file_of_the_distribution_is_read() {
        let data = PlainAccessData::from_yaml(SAMPLE.as_bytes()).unwrap();
        let addresses: Vec<_> = data.addresses().collect();
        assert_eq!(addresses, ["10.10.103.*", "192.168.0.*"]);
        let accounts: Vec<_> = data
            .accounts()
            .map(|config| account(config).unwrap())
            .collect();
        let [(first, one), (second, two)] = &accounts[..] else {
            panic!("{accounts:?}");
        };
        assert_eq!((first.as_str(), second.as_str()), ("RocketMQ", "rocketmq2"));
        // A number is a text where a text is wanted.
        assert_eq!(one.secret_key, "12345678");
        assert_eq!(one.addresses, AddressPattern::None);
        assert_eq!(one.default_group_perm, Perm::SUB);
        assert_eq!(one.perms.as_ref().map(|perms| perms.len()), Some(3));
        assert!(two.admin && two.perms.is_none());
        assert_eq!(data.version(), DataVersion::default());
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut data = PlainAccessData::from_yaml(SAMPLE.as_bytes()).unwrap();
        data.data_version = Some(vec![DataVersion::default().next(1_700_000_000_000)]);
        let yaml = data.to_yaml().unwrap();
        assert_eq!(PlainAccessData::from_yaml(yaml.as_bytes()).unwrap(), data);
    }

    #[test]
    fn a_file_that_makes_no_sense_is_refused_without_quoting_it() {
        for (text, why) in [
            ("", "there is nothing in it"),
            ("# nothing\n", "there is nothing in it"),
            ("accounts: secret7", "it is not such a file: line 1"),
            ("accounts:\n  - [secret7", "it is not such a file: line 2"),
            (
                "accounts:\n- admin: secret7",
                "it is not such a file: line 2",
            ),
        ] {
            let error = PlainAccessData::from_yaml(text.as_bytes()).unwrap_err();
            assert!(error.starts_with(why), "{text:?}: {error}");
            assert!(!error.contains("secret7"), "{error}");
        }
        assert!(PlainAccessData::from_yaml(&[0xff, 0xfe, 0x00]).is_err());
    }

    #[test]
    fn a_file_that_refers_to_itself_again_and_again_costs_little() {
        let mut text = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for (this, last) in ('b'..='k').zip('a'..) {
            let again = vec![format!("*{last}"); 9].join(",");
            text.push_str(&format!("{this}: &{this} [{again}]\n"));
        }
        text.push_str("accounts: *k\n");
        assert!(PlainAccessData::from_yaml(text.as_bytes()).is_err());
    }

    #[test]
    fn an_account_that_makes_no_sense_is_refused() {
        let good = PlainAccessConfig {
            access_key: Some("RocketMQ".to_owned()),
            secret_key: Some("12345678".to_owned()),
            ..PlainAccessConfig::default()
        };
        assert!(account(&good).is_ok());
        for (bad, why) in [
            (
                PlainAccessConfig {
                    access_key: Some("sixsix".to_owned()),
                    ..good.clone()
                },
                "the accessKey `sixsix` must have more than 6 characters",
            ),
            (
                PlainAccessConfig {
                    secret_key: None,
                    ..good.clone()
                },
                "the secretKey of `RocketMQ` must have more than 6 characters",
            ),
            (
                PlainAccessConfig {
                    topic_perms: Some(vec!["t".to_owned()]),
                    ..good.clone()
                },
                "`t` is not of the form name=permission, as in `orders=PUB|SUB`",
            ),
            (
                PlainAccessConfig {
                    white_remote_address: Some("x".to_owned()),
                    ..good.clone()
                },
                "`x` is not a pattern of addresses: `x` is not an address",
            ),
        ] {
            assert_eq!(account(&bad).unwrap_err(), why);
        }
    }

    proptest! {
        #[test]
        fn any_content_is_read_or_refused(content: Vec<u8>) {
            let _ = PlainAccessData::from_yaml(&content);
        }

        #[test]
        fn a_torn_file_is_read_or_refused(at in 0..SAMPLE.len()) {
            let _ = PlainAccessData::from_yaml(&SAMPLE.as_bytes()[..at]);
        }

        #[test]
        fn any_texts_survive_the_file(key in "\\PC{1,12}", perms in prop::collection::vec("\\PC*", 1..4)) {
            let data = PlainAccessData {
                accounts: Some(vec![PlainAccessConfig {
                    access_key: Some(key),
                    topic_perms: Some(perms),
                    ..PlainAccessConfig::default()
                }]),
                ..PlainAccessData::default()
            };
            let yaml = data.to_yaml().unwrap();
            prop_assert_eq!(PlainAccessData::from_yaml(yaml.as_bytes()).unwrap(), data);
        }
    }
}
