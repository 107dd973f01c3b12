use super::*;

#[test]
fn sql_is_read_with_what_it_means_in_other_words() {
    let text = format!(
        "{LEAST}properties = {{ price = [\"5\", \"\"] }}\n[consumers.c]\ntopics = \"orders\"\n\
         sql = {{ orders = \"price IS NULL\" }}\nwants = [{{ price = \"\" }}]\n"
    );
    let scenario = parse(&text);
    let group = &scenario.consumers["c"];
    assert_eq!(group.sql["orders"], "price IS NULL");
    assert_eq!(group.wants[0]["price"], [""]);
    assert_eq!(
        scenario.producers["checkout"].properties["price"],
        ["5", ""]
    );
}

#[track_caller]
fn refused(more: &str, reason: &str) {
    let said = refusal(more);
    assert!(said.contains(reason), "{said}");
}

#[test]
fn a_filter_that_makes_no_sense_is_refused() {
    let group = |more: &str| format!("[consumers.c]\ntopics = \"orders\"\n{more}");
    let broken = group("sql = { orders = \"price > AND\" }\nwants = { price = \"5\" }");
    refused(
        &broken,
        "12:18 the expression cannot be read: Encountered \" \"AND\"",
    );
    let elsewhere = group("sql = { other = \"a = 1\" }\nwants = { a = \"1\" }");
    refused(&elsewhere, "12:1 the group does not subscribe to `other`");
    refused(
        &group("sql = { orders = \"a = 1\" }"),
        "`sql` and `wants` need each other",
    );
    refused(
        &group("sql = 5\nwants = { a = \"1\" }"),
        "`sql` must be a table",
    );
}

#[test]
fn properties_need_names_and_values() {
    refused(
        "properties = { KEYS = [\"a\"] }",
        "`KEYS` cannot be the name of a property",
    );
    refused(
        "properties = { a-b = [\"a\"] }",
        "`a-b` cannot be the name of a property",
    );
    refused("properties = { a = [] }", "the property `a` has no value");
}
