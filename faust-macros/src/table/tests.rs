//! Tests of the rules of `#[table]` that do not depend on the argument.

use syn::parse_quote;

use super::*;

/// Asserts that `expected` is the only error, or that there is none if it is empty.
fn check(attribute: Attribute, expected: &str) {
    let mut faults = Faults::default();
    TableDecl::parse(&attribute, &mut faults);
    let text = faults.emit().to_string();
    assert!(text.contains(expected) && text.is_empty() == expected.is_empty(), "{text}");
    assert!(text.matches("compile_error").count() <= 1, "{text}");
}

#[test]
fn valid_tables_are_accepted() {
    check(parse_quote!(#[table]), "");
    check(parse_quote!(#[table()]), "");
    check(parse_quote!(#[table(name = "a.b-c_1", default = f(1), help = "x", partition_by_source)]), "");
    check(parse_quote!(#[table(changelog_topic = LOG, key_codec = "json", value_codec = "binary|json")]), "");
    check(parse_quote!(#[table(window = tumbling("1ms"), expires = "0s", relative_to = stream)]), "");
    check(parse_quote!(#[table(window = hopping("10s", "10s"), relative_to = now)]), "");
    check(parse_quote!(#[table(window = hopping("1m", "7s"), relative_to = field(clicks::Click::at))]), "");
}

#[test]
fn options_are_validated() {
    check(parse_quote!(#[table("counts")]), "must be named: `name = \\\"counts\\\"`");
    check(parse_quote!(#[table = "counts"]), "takes its options in parentheses");
    check(parse_quote!(#[table(nome = "x")]), "has no option `nome`");
    check(parse_quote!(#[table(name = "a b")]), "contains ' '; Kafka allows only");
    check(parse_quote!(#[table(name = COUNTS)]), "`name` must be a string literal");
    check(parse_quote!(#[table(changelog_topic = "a/b")]), "topic name `a/b` contains '/'");
    check(parse_quote!(#[table(default)]), "`default` needs a value");
    check(parse_quote!(#[table(partition_by_source = true)]), "does not take a value");
    check(parse_quote!(#[table(help = "")]), "`help` is empty");
}

#[test]
fn window_options_are_validated() {
    check(parse_quote!(#[table(window)]), "`window` needs a value");
    check(parse_quote!(#[table(window = "10s")]), "`window` must be `tumbling");
    check(parse_quote!(#[table(window = sliding("10s"))]), "`window` must be `tumbling");
    check(parse_quote!(#[table(window = tumbling)]), "`tumbling` takes one argument");
    check(parse_quote!(#[table(window = tumbling())]), "`tumbling` takes one argument");
    check(parse_quote!(#[table(window = hopping("10s"))]), "`hopping` takes two arguments");
    check(parse_quote!(#[table(window = tumbling(10))]), "a duration must be a string literal");
    check(parse_quote!(#[table(window = tumbling("10"))]), "`10` is not a duration");
    check(parse_quote!(#[table(window = tumbling("10us"))]), "`10us` is more precise than a millisecond");
    check(parse_quote!(#[table(window = tumbling("0s"))]), "the size of a window must be greater than zero");
    check(parse_quote!(#[table(window = hopping("10s", "0s"))]), "the step of a window must be greater than zero");
    check(parse_quote!(#[table(window = hopping("10s", "1m"))]), "events between two windows would belong to none");
    check(parse_quote!(#[table(expires = "1h")]), "`expires` requires a windowed table");
    check(parse_quote!(#[table(relative_to = now)]), "`relative_to` requires a windowed table");
    check(parse_quote!(#[table(window = tumbling("10s"), expires = 3)]), "a duration must be a string literal");
    check(parse_quote!(#[table(window = tumbling("10s"), relative_to = then)]), "must be `stream`, `now` or");
    check(parse_quote!(#[table(window = tumbling("10s"), relative_to = field)]), "must be `stream`, `now` or");
    check(
        parse_quote!(#[table(window = tumbling("10s"), relative_to = field(at))]),
        "takes the path of a record field",
    );
    check(parse_quote!(#[table(window = tumbling("10s"), relative_to = field())]), "takes the path of a record field");
}
