use insta::assert_snapshot;

use super::*;

const SHOP: &str = "[accounts.shop-key]\nsecret = \"shop-secret\"\n";

#[test]
fn a_group_signs_with_the_secret_of_its_account_unless_it_has_another() {
    let with = |keys: &str| {
        let text = LEAST.replace("topic = \"orders\"", &format!("topic = \"orders\"\n{keys}"));
        let scenario = parse(&format!("{text}\n{SHOP}"));
        let credentials = scenario.producers["checkout"].credentials.clone();
        credentials.map(|own| (own.account, own.secret))
    };
    let pair = |account: &str, secret: &str| Some((account.to_owned(), secret.to_owned()));
    assert_eq!(with(""), None);
    assert_eq!(
        with("account = \"shop-key\""),
        pair("shop-key", "shop-secret")
    );
    assert_eq!(
        with("account = \"shop-key\"\nsecret = \"guessed-secret\""),
        pair("shop-key", "guessed-secret")
    );
    assert_eq!(
        with("account = \"stranger\"\nsecret = \"guessed-secret\""),
        pair("stranger", "guessed-secret")
    );
}

#[test]
fn an_account_may_nothing_that_it_is_not_given() {
    let scenario = parse(&format!("{LEAST}\n{SHOP}topics = [\"orders=PUB|SUB\"]"));
    let account = &scenario.accounts["shop-key"];
    assert_eq!(account.topics, ["orders=PUB|SUB"]);
    assert_eq!(
        (&*account.default_topic, &*account.default_group),
        ("DENY", "DENY")
    );
    assert!(!account.admin && account.groups.is_empty());
    assert!(parse(LEAST).accounts.is_empty());
}

#[test]
fn accounts_that_make_no_sense_are_refused() {
    assert_snapshot!(refusal(r#"
[accounts.short]
secret = "tiny"
topics = ["orders", "orders=ALL"]
default-topic = "EVERYTHING"
[consumers.warehouse]
topics = "orders"
account = "shorty"
[consumers.depot]
topics = "orders"
secret = "shop-secret"
"#), @r#"
    10:1 `short` is too short for an access key
        RocketMQ wants more than 6 characters
    11:10 the secret is too short
        RocketMQ wants more than 6 characters
    12:11 `orders` is not of the form name=permission
        a permission is one of DENY, PUB, SUB, PUB|SUB
    12:21 `orders=ALL` is not of the form name=permission
        a permission is one of DENY, PUB, SUB, PUB|SUB
    13:17 `default-topic` cannot be "EVERYTHING"
        it can be: `DENY`, `PUB`, `SUB`, `PUB|SUB`
    16:11 there is no account `shorty`
        did you mean `short`?
    19:10 a secret without an account
        add `account`
    "#);
}
