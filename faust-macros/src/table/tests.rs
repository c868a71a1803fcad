//! What `#[table]` accepts and what it refuses by itself.

use syn::parse_quote;

use super::*;

/// The law: this is the one thing told, or nothing when it is empty.
fn check(attribute: Attribute, expected: &str) {
    let mut faults = Faults::default();
    TableDecl::parse(&attribute, &mut faults);
    let text = faults.emit().to_string();
    assert!(text.contains(expected) && text.is_empty() == expected.is_empty(), "{text}");
    assert!(text.matches("compile_error").count() <= 1, "{text}");
}

#[test]
fn right_tables_leave_no_fault() {
    check(parse_quote!(#[table]), "");
    check(parse_quote!(#[table()]), "");
    check(parse_quote!(#[table(name = "a.b-c_1", default = f(1), help = "x", partition_by_source)]), "");
    check(parse_quote!(#[table(changelog_topic = LOG, key_codec = "json", value_codec = "binary|json")]), "");
    check(parse_quote!(#[table(window = tumbling("1ms"), expires = "0s", relative_to = stream)]), "");
    check(parse_quote!(#[table(window = hopping("10s", "10s"), relative_to = now)]), "");
    check(parse_quote!(#[table(window = hopping("1m", "7s"), relative_to = field(clicks::Click::at))]), "");
}

#[test]
fn options_are_checked_where_they_stand() {
    check(parse_quote!(#[table("counts")]), "takes its options by name: `name = \\\"counts\\\"`");
    check(parse_quote!(#[table = "counts"]), "takes its options in parentheses");
    check(parse_quote!(#[table(nome = "x")]), "has no option `nome`");
    check(parse_quote!(#[table(name = "a b")]), "contains ' '; Kafka takes");
    check(parse_quote!(#[table(name = COUNTS)]), "`name` must be a string literal");
    check(parse_quote!(#[table(changelog_topic = "a/b")]), "topic `a/b` contains '/'");
    check(parse_quote!(#[table(default)]), "`default` needs a value");
    check(parse_quote!(#[table(partition_by_source = true)]), "takes no value");
    check(parse_quote!(#[table(help = "")]), "`help` is empty");
}

#[test]
fn windows_are_checked_where_they_stand() {
    check(parse_quote!(#[table(window)]), "`window` needs a value");
    check(parse_quote!(#[table(window = "10s")]), "a window is `tumbling");
    check(parse_quote!(#[table(window = sliding("10s"))]), "a window is `tumbling");
    check(parse_quote!(#[table(window = tumbling)]), "`tumbling` takes its size");
    check(parse_quote!(#[table(window = tumbling())]), "`tumbling` takes its size");
    check(parse_quote!(#[table(window = hopping("10s"))]), "`hopping` takes its size and its step");
    check(parse_quote!(#[table(window = tumbling(10))]), "a duration is a string literal");
    check(parse_quote!(#[table(window = tumbling("10"))]), "`10` is no duration");
    check(parse_quote!(#[table(window = tumbling("10us"))]), "`10us` is finer than time is kept");
    check(parse_quote!(#[table(window = tumbling("0s"))]), "a size of nothing");
    check(parse_quote!(#[table(window = hopping("10s", "0s"))]), "a step of nothing");
    check(parse_quote!(#[table(window = hopping("10s", "1m"))]), "events between two windows would be in none");
    check(parse_quote!(#[table(expires = "1h")]), "`expires` is about windows");
    check(parse_quote!(#[table(relative_to = now)]), "`relative_to` is about windows");
    check(parse_quote!(#[table(window = tumbling("10s"), expires = 3)]), "a duration is a string literal");
    check(parse_quote!(#[table(window = tumbling("10s"), relative_to = then)]), "is `stream`, `now` or");
    check(parse_quote!(#[table(window = tumbling("10s"), relative_to = field)]), "is `stream`, `now` or");
    check(parse_quote!(#[table(window = tumbling("10s"), relative_to = field(at))]), "names a record and its field");
    check(parse_quote!(#[table(window = tumbling("10s"), relative_to = field())]), "names a record and its field");
}
