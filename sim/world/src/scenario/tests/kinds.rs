use insta::assert_snapshot;

use super::*;

#[test]
fn members_that_poll_are_read() {
    let text = format!(
        "{LEAST}[consumers.audit]\ntopics = \"orders\"\nlistener = \"lite-pull\"\n\
         commit = \"manual\""
    );
    let audit = &parse(&text).consumers["audit"];
    assert_eq!(audit.listener, Listener::LitePull);
    assert_eq!((audit.commit, audit.pull_batch_size), (Commit::Manual, 10));
}

#[test]
fn members_that_pop_in_order_may_give_up_if_they_pop_one_by_one() {
    let text = format!(
        "{LEAST}[consumers.ship]\ntopics = \"orders\"\nlistener = \"simple\"\n\
         in-order = true\nmax-reconsume = 2\npull-batch-size = 1"
    );
    assert!(parse(&text).consumers["ship"].pops.in_order);
}

#[test]
fn what_members_that_poll_do_not_know_is_refused() {
    assert_snapshot!(refusal(r#"
[consumers.audit]
topics = { orders = "paid" }
listener = "lite-pull"
batch-size = 4
fail-rate = 0.1
in-order = true
replies = true
"#), @r#"
    11:1 with a filter, members that poll never commit the end of a queue
        subscribe to whole topics
    13:1 `batch-size` means nothing to members that poll, and take one message after the other
        leave it out
    14:1 `fail-rate` means nothing to members that poll: RocketMQ brings them no message again
        leave it out
    15:1 `in-order` means nothing without listener = "simple"
        add listener = "simple", or leave it out
    16:1 `replies` means nothing to members that poll: nothing but a listener replies
        leave it out
    "#);
}

#[test]
fn what_members_that_pop_do_not_know_is_refused() {
    assert_snapshot!(refusal(r#"
[consumers.ship]
topics = "orders"
listener = "simple"
model = "broadcasting"
in-order = true
batch-size = 4
commit = "auto"
poison = 0.1
"#), @r#"
    13:1 members that pop share the messages
        use model = "clustering"
    14:1 what is received behind a message that keeps failing is given up with it
        add pull-batch-size = 1
    15:1 `batch-size` means nothing where messages are received in order
        leave it out
    16:1 `commit` means nothing without listener = "lite-pull"
        add listener = "lite-pull", or leave it out
    "#);
}
