use hotfire_protocol::body::*;

/// The lines of a file in any order, without the commas that depend on it.
fn lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text
        .lines()
        .map(|line| line.trim_end_matches(','))
        .collect();
    lines.sort_unstable();
    lines
}

macro_rules! written_as_java {
    ($type:ty, $file:literal) => {
        let text = include_str!(concat!("../fixtures/config/", $file));
        let value: $type = fastjson::from_slice(text.as_bytes()).unwrap();
        let written = String::from_utf8(fastjson::to_pretty_vec(&value).unwrap()).unwrap();
        assert_eq!(lines(&written), lines(text));
        assert_eq!(written.len(), text.len());
    };
}

#[test]
fn topics_are_written_as_java_writes_them() {
    written_as_java!(TopicConfigSerializeWrapper, "topics.json");
}

#[test]
fn groups_are_written_as_java_writes_them() {
    written_as_java!(SubscriptionGroupWrapper, "subscriptionGroup.json");
}

#[test]
fn consumer_offsets_are_written_as_java_writes_them() {
    written_as_java!(ConsumerOffsetSerializeWrapper, "consumerOffset.json");
}

#[test]
fn delay_offsets_are_written_letter_by_letter_as_java_writes_them() {
    let text = include_bytes!("../fixtures/config/delayOffset.json");
    let offsets: DelayOffsetSerializeWrapper = fastjson::from_slice(text).unwrap();
    assert_eq!(fastjson::to_pretty_vec(&offsets).unwrap(), text);
}
