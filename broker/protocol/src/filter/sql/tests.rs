use super::*;

fn sql(expression: &str) -> Sql {
    Sql::parse(expression).unwrap_or_else(|error| panic!("{expression}: {error}"))
}

/// Properties as `name=value` with commas in between.
fn truth(expression: &str, properties: &str) -> Result<Option<bool>, EvaluationError> {
    let properties = properties
        .split(',')
        .filter_map(|entry| entry.split_once('='));
    let sql = sql(expression);
    let found: Vec<_> = properties.collect();
    sql.evaluate(found.iter().copied())
}

#[track_caller]
fn is(expression: &str, properties: &str, expected: impl Into<Option<bool>>) {
    assert_eq!(
        truth(expression, properties),
        Ok(expected.into()),
        "{expression} of {properties}"
    );
}

#[track_caller]
fn fails(expression: &str, properties: &str) {
    assert!(
        truth(expression, properties).is_err(),
        "{expression} of {properties}"
    );
}

fn refusal(expression: &str) -> SqlError {
    Sql::parse(expression).expect_err(expression)
}

fn place(expression: &str) -> (u32, u32) {
    let SqlError { line, column, .. } = refusal(expression);
    (line, column)
}

#[test]
fn numbers_are_compared_as_numbers() {
    is("price > 20", "price=100", true);
    is("price > 20", "price=20", false);
    is("price >= 20 AND price <= 20", "price=20", true);
    is("price < 2.5", "price=2.25", true);
    is("20 < price", "price=100", true);
    is("price = 1E2", "price=100", true);
    is("price > -1", "price=0", true);
    is("price <> 5", "price=05", false);
    is("price = +5", "price=5", true);
}

#[test]
fn a_number_sets_the_type_that_a_property_must_have() {
    is("a > 5.0", "a= 6.5d ", true);
    is("a > 5000000000", "a=6000000000", true);
    fails("a > 5", "a=6000000000");
    fails("a > 5", "a=6.0");
    fails("a > 5", "a= 6");
    fails("a = 5", "a=five");
    fails("a <> 5", "a=five");
}

#[test]
fn an_error_in_an_evaluated_branch_hides_the_other_branches() {
    fails("a > 5 OR b = 'x'", "a=five,b=x");
    fails("NOT (a > 5)", "a=five");
    is("b = 'x' OR a > 5", "a=five,b=x", true);
    is("b = 'y' AND a > 5", "a=five,b=x", false);
    assert!(!sql("a > 5 OR TRUE").matches([("a", "five")]));
}

#[test]
fn properties_are_ordered_among_each_other_only_as_numbers() {
    is("a > b", "a=10,b=9", true);
    is("a > b", "a=1e1,b=9.5", true);
    fails("a > b", "a=y,b=x");
    is("a = b", "a=x,b=x", true);
    is("a = b", "a=10,b=1e1", false);
}

#[test]
fn a_missing_property_makes_comparisons_unknown() {
    for expression in [
        "a > 5",
        "5 < a",
        "a = 5",
        "a <> 5",
        "a = 'x'",
        "a IN ('x')",
        "a NOT IN ('x')",
    ] {
        is(expression, "", None);
        is(&format!("NOT ({expression})"), "", None);
    }
    is("a BETWEEN 1 AND 5", "", None);
    is("a NOT BETWEEN 1 AND 5", "", None);
    is("a = TRUE", "", None);
}

#[test]
fn a_missing_property_on_the_right_is_unequal() {
    is("5 = a", "", false);
    is("5 <> a", "", true);
    is("b = a", "b=x", false);
    is("b = a", "", true);
}

#[test]
fn unknown_truth_is_decided_by_the_other_side_or_stays() {
    is("a > 5 OR b = 1", "b=1", true);
    is("a > 5 AND b = 1", "b=2", false);
    is("a > 5 OR b = 1", "b=2", None);
    is("a > 5 AND b = 1", "b=1", None);
    is("NULL AND TRUE", "", None);
    is("NULL OR NOT NULL", "", None);
}

#[test]
fn null_can_be_asked_for() {
    is("a IS NULL", "", true);
    is("a IS NULL", "a=x", false);
    is("a IS NOT NULL", "a=x", true);
    is("a is not null", "", false);
    is("NULL IS NULL", "", true);
    is("(a > 5) IS NULL", "", true);
}

#[test]
fn between_includes_its_ends() {
    for (value, within) in [
        ("0", false),
        ("1", true),
        ("3", true),
        ("5", true),
        ("6", false),
    ] {
        is("a BETWEEN 1 AND 5", &format!("a={value}"), within);
        is("a NOT BETWEEN 1 AND 5", &format!("a={value}"), !within);
    }
    is("a BETWEEN 1 AND 5 AND b = 'x'", "a=2,b=x", true);
    is("a NOT BETWEEN 5 AND 1", "a=3", true);
    is("a BETWEEN -5 AND -10", "a=-7", false);
    is("3 BETWEEN low AND high", "low=1,high=5", true);
    fails("a BETWEEN low AND high", "a=x,low=1,high=5");
}

#[test]
fn lists_hold_texts() {
    is("a IN ('x', 'it''s', '')", "a=it's", true);
    is("a IN ('x', 'y')", "a=z", false);
    is("a NOT IN ('x', 'y')", "a=z", true);
    is("a IN ('1')", "a=01", false);
}

#[test]
fn texts_are_searched() {
    is("a CONTAINS 'bc'", "a=abcd", true);
    is("a NOT CONTAINS 'bc'", "a=abcd", false);
    is("a STARTSWITH 'ab' AND a ENDSWITH 'cd'", "a=abcd", true);
    is(
        "a not startswith 'b' AND a NOT ENDSWITH 'c'",
        "a=abcd",
        true,
    );
    is("'abc' CONTAINS 'b'", "", true);
    is("5 CONTAINS '5' OR 5 NOT CONTAINS '6'", "", false);
}

#[test]
fn searching_for_nothing_or_in_nothing_is_false_either_way() {
    for expression in [
        "a CONTAINS ''",
        "a NOT CONTAINS ''",
        "b CONTAINS 'x'",
        "b NOT CONTAINS 'x'",
    ] {
        is(expression, "a=abcd", false);
    }
}

#[test]
fn truths_are_compared_with_texts_on_their_left_only() {
    is("flag = TRUE", "flag=True", true);
    is("flag <> TRUE", "flag=yes", true);
    is("flag = FALSE", "flag=yes", true);
    fails("TRUE = flag", "flag=true");
    is("(a > 1) = TRUE", "a=2", true);
    is("5 = TRUE", "", false);
    fails("a = b = c", "a=x,b=x,c=true");
}

#[test]
fn a_property_alone_is_never_true() {
    is("flag", "flag=true", false);
    is("NOT flag", "flag=true", true);
    is("flag OR a = 1", "flag=true,a=1", true);
    is("flag", "", None);
}

#[test]
fn only_written_numbers_can_be_negated() {
    is("a = - -5", "a=5", true);
    is("a = - 'x'", "a=x", false);
    is("-a = -5", "a=5", None);
    is("a = -2147483648", "a=-2147483648", true);
}

#[test]
fn words_and_names_and_space() {
    is("a=1 And NoT (b=2)", "a=1,b=1", true);
    is("$x_1 = 'v'", "$x_1=v", true);
    is("A = 1", "a=1", None);
    is("a -- of the sender\n = /* any ** thing */ 1", "a=1", true);
    is("a\t=\r\n1", "a=1", true);
    is("a=1L or a=.5 or a=5. or a=00.5", "a=1", true);
}

#[test]
fn and_binds_closer_than_or_and_not_closest() {
    is("a = 1 OR b = 1 AND c = 1", "a=1,b=2,c=2", true);
    is("(a = 1 OR b = 1) AND c = 1", "a=1,b=2,c=2", false);
    is("NOT a = 1", "a=2", false);
    is("NOT (a = 1)", "a=1", false);
    is("a > 1 = TRUE", "a=2", true);
}

#[test]
fn what_follows_a_complete_expression_is_not_looked_at() {
    is("a = 1 b = 2", "a=1,b=1", true);
    is("a = 1)", "a=1", true);
    is("a = 007", "a=0", true);
    is("a = 1 -- without a new line", "a=1", true);
}

#[test]
fn of_several_properties_of_one_name_the_last_counts() {
    is("a = 1", "a=2,a=1", true);
}

#[test]
fn wrong_expressions_are_refused_in_the_words_of_javacc() {
    assert_eq!(
        refusal("a > > 1").remark(),
        "org.apache.rocketmq.filter.parser.ParseException: Encountered \" \">\" \"> \"\" at line 1, \
         column 5.\nWas expecting one of:\n    \"NOT\" ...\n    \"TRUE\" ...\n    \"FALSE\" ...\n    \
         \"NULL\" ...\n    <DECIMAL_LITERAL> ...\n    <FLOATING_POINT_LITERAL> ...\n    \
         <STRING_LITERAL> ...\n    <ID> ...\n    \"(\" ...\n    \"-\" ...\n    "
    );
    assert_eq!(
        refusal("a IN ('x'").to_string(),
        "Encountered \"<EOF>\" at line 1, column 9.\nWas expecting one of:\n    \",\" ...\n    \
         \")\" ...\n    "
    );
    assert_eq!(
        refusal("a = #1").remark(),
        "org.apache.rocketmq.filter.parser.TokenMgrError: Lexical error at line 1, column 5.  \
         Encountered: \"#\" (35), after : \"\""
    );
    assert_eq!(
        refusal("a = 'x").to_string(),
        "Lexical error at line 1, column 7.  Encountered: <EOF> after : \"\\'x\""
    );
}

#[test]
fn refusals_name_line_and_column() {
    for (expression, expected) in [
        ("", (0, 0)),
        ("a =", (1, 3)),
        ("a = 1 AND\n  b ! 2", (2, 5)),
        ("a = 1\r\nOR b = )", (2, 8)),
        ("\ta = = 1", (1, 13)),
        ("a = '中文' OR 文 = 1", (1, 13)),
        ("a IS 5", (1, 6)),
        ("a NOT 5", (1, 7)),
        ("(a = 1", (1, 6)),
        ("a BETWEEN 1 OR 2", (1, 13)),
        ("a IN (1)", (1, 7)),
        ("a CONTAINS b", (1, 12)),
        ("a = . 5", (1, 6)),
        ("a = 1 OR /* open", (1, 17)),
    ] {
        assert_eq!(
            place(expression),
            expected,
            "{expression:?}: {}",
            refusal(expression)
        );
    }
}

#[test]
fn what_is_well_formed_may_still_make_no_sense() {
    for (expression, column, reason) in [
        ("5", 1, "will not result in a boolean"),
        ("a = 1 OR 'x'", 10, "will not result in a boolean"),
        ("NOT 'x'", 5, "will not result in a boolean"),
        ("-a", 1, "will not result in a boolean"),
        ("a > 'x'", 5, "Value ''x'' cannot be compared"),
        ("TRUE < a", 1, "Value 'TRUE' cannot be compared"),
        ("(a = 1) > 5", 2, "cannot be compared"),
        ("a > 1 > 2", 1, "cannot be compared"),
        ("a = NULL", 5, "'NULL' cannot be compared"),
        ("TRUE = 'x'", 8, "'TRUE' cannot be compared with ''x''"),
        ("a BETWEEN 5 AND 1", 11, "must less than or equal"),
        ("a BETWEEN 'a' AND 'b'", 11, "cannot be compared"),
        ("5 IN ('5')", 1, "Expected a property for In"),
        ("a = 9223372036854775808", 5, "is greater than"),
        ("a = 1E400", 5, "is greater than"),
        ("a = 0.0", 5, "is less than"),
    ] {
        let error = refusal(expression);
        assert_eq!(
            (error.line, error.column),
            (1, column),
            "{expression}: {error}"
        );
        assert!(error.to_string().contains(reason), "{expression}: {error}");
    }
}

#[test]
fn hostile_expressions_are_refused_instead_of_overflowing_the_stack() {
    let many = |text: &str| text.repeat(MAX_LENGTH / 8);
    for expression in [many("("), many("NOT "), many("- "), many("+ "), many("(a=")] {
        let error = refusal(expression.get(..MAX_LENGTH / 8).unwrap());
        assert!(matches!(error.kind, SqlErrorKind::Limit(_)), "{error}");
    }
    for chain in [" = a", " IS NULL", " CONTAINS 'x'"] {
        let error = refusal(&format!("a{}", chain.repeat(1000)));
        assert!(matches!(error.kind, SqlErrorKind::Limit(_)), "{error}");
    }
    let error = refusal(&"a".repeat(MAX_LENGTH + 1));
    assert!(matches!(error.kind, SqlErrorKind::Limit(_)), "{error}");
}

#[test]
fn long_chains_are_fine() {
    let terms = vec!["a = 1"; 5000].join(" OR ");
    is(&terms, "a=2", false);
    is(&terms, "a=1", true);
    let nested = format!("{}a = 1{}", "(".repeat(90), ")".repeat(90));
    is(&nested, "a=1", true);
}
