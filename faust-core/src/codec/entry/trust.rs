//! The types whose values are known to be read back from JSON as they were written.

use std::any::type_name;

use crate::codec::record::{PlainDef, models};

/// The degree to which values of a type are known to be read back as they were written. Of the parts of a type, the
/// last one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trust {
    /// Every value is.
    Always,
    /// Every value is, unless it contains a `null` that JSON leaves ambiguous.
    UnlessAmbiguous,
    /// Unknown: each value has to be tried.
    Never,
}

impl Trust {
    /// Returns the trust in a type.
    ///
    /// It follows the type's full name: `Vec<Option<i64>>` has parts that are known. The format of these names is not
    /// guaranteed by Rust. A name in another format is unknown, and then its values are tried.
    pub(super) fn of<T>() -> Self {
        of_name(type_name::<T>(), &mut Vec::new())
    }
}

/// Types without parts whose values are always read back, and that can be keys of a JSON object.
const SIMPLE: [&str; 16] = [
    "alloc::string::String",
    "bool",
    "char",
    "i8",
    "i16",
    "i32",
    "i64",
    "i128",
    "isize",
    "u8",
    "u16",
    "u32",
    "u64",
    "u128",
    "usize",
    "faust_core::time::Timestamp",
];

/// Other types without parts whose values are always read back.
const ALWAYS: [&str; 4] = ["()", "core::time::Duration", "bytes::bytes::Bytes", "faust_core::aggregate::count::Count"];

/// Generic types that consist of values of their parameters. The hasher of a `HashMap` is no part of the format.
const CONTAINERS: [&str; 7] = [
    "alloc::vec::Vec",
    "alloc::boxed::Box",
    "alloc::collections::vec_deque::VecDeque",
    "alloc::collections::btree::set::BTreeSet",
    "std::collections::hash::set::HashSet",
    "faust_core::aggregate::distinct::Distinct",
    "faust_core::aggregate::top::TopN",
];

/// `parents` are the records that contain the type. A record inside itself is unknown: JSON that is nested deeply can
/// be written, but not read.
fn of_name(name: &'static str, parents: &mut Vec<&'static str>) -> Trust {
    if SIMPLE.contains(&name) || ALWAYS.contains(&name) {
        return Trust::Always;
    }
    if matches!(name, "f32" | "f64") {
        return Trust::UnlessAmbiguous;
    }
    if let Some(parts) = inside(name, '(', ')') {
        return of_all(&arguments(parts), parents);
    }
    if let Some(array) = inside(name, '[', ']') {
        return array.rsplit_once("; ").map_or(Trust::Never, |(part, _)| of_name(part, parents));
    }
    match name.split_once('<') {
        Some((generic, rest)) => of_generic(generic, &arguments(rest.strip_suffix('>').unwrap_or_default()), parents),
        None => of_record(name, parents),
    }
}

fn of_generic(generic: &str, arguments: &[&'static str], parents: &mut Vec<&'static str>) -> Trust {
    let Some(first) = arguments.first() else { return Trust::Never };
    match generic {
        "faust_core::aggregate::sum::Sum" | "faust_core::aggregate::average::Average" => Trust::Always,
        "faust_core::aggregate::extremes::Min" | "faust_core::aggregate::extremes::Max" => {
            Trust::UnlessAmbiguous.max(of_name(first, parents))
        }
        "core::option::Option" => Trust::UnlessAmbiguous.max(of_name(first, parents)),
        "alloc::collections::btree::map::BTreeMap" | "std::collections::hash::map::HashMap" => {
            let value = arguments.get(1).filter(|_| SIMPLE.contains(first));
            value.map_or(Trust::Never, |value| of_name(value, parents))
        }
        _ if CONTAINERS.contains(&generic) => of_name(first, parents),
        _ => Trust::Never,
    }
}

fn of_record(name: &'static str, parents: &mut Vec<&'static str>) -> Trust {
    if parents.contains(&name) {
        return Trust::Never;
    }
    let plain = models().into_iter().filter_map(|model| model.plain).map(|plain| plain());
    let named: Vec<PlainDef> = plain.filter(|plain| plain.name == name).collect();
    // Two records in blocks of one function have the same name.
    let [record] = named.as_slice() else { return Trust::Never };
    parents.push(name);
    let trust = of_all(&record.fields, parents);
    parents.pop();
    trust
}

fn of_all(names: &[&'static str], parents: &mut Vec<&'static str>) -> Trust {
    names.iter().map(|name| of_name(name, parents)).max().unwrap_or(Trust::Always)
}

fn inside(name: &'static str, open: char, close: char) -> Option<&'static str> {
    name.strip_prefix(open)?.strip_suffix(close)
}

/// Splits a list of types at its outer commas.
fn arguments(list: &'static str) -> Vec<&'static str> {
    let (mut depth, mut start, mut found) = (0usize, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '<' | '(' | '[' => depth += 1,
            '>' | ')' | ']' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                found.push(list.get(start..at).unwrap_or_default().trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(list.get(start..).unwrap_or_default().trim());
    // The list of a tuple of one type ends with a comma.
    found.retain(|part| !part.is_empty());
    found
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use faust_macros::record;

    use super::*;
    use crate::aggregate::{Average, Count, Distinct, Max, Min, Sum, TopN};

    /// Law: the names of the types for which nothing is to be checked are those that the compiler gives.
    #[test]
    fn common_types_are_known() {
        type Nested = Vec<(String, [Option<i64>; 3], HashMap<u32, Box<bool>>)>;
        let always = [
            Trust::of::<u64>(),
            Trust::of::<String>(),
            Trust::of::<()>(),
            Trust::of::<(u32,)>(),
            Trust::of::<(u32, Vec<String>)>(),
            Trust::of::<BTreeMap<String, [u8; 4]>>(),
            Trust::of::<Count>(),
            Trust::of::<Sum<f64>>(),
            Trust::of::<Average<i64>>(),
            Trust::of::<Distinct<String>>(),
            Trust::of::<TopN<(u32, String), 3>>(),
            Trust::of::<crate::time::Timestamp>(),
            Trust::of::<std::time::Duration>(),
            Trust::of::<bytes::Bytes>(),
        ];
        assert_eq!(always, [Trust::Always; 14]);
        let unless =
            [Trust::of::<f64>(), Trust::of::<Nested>(), Trust::of::<Max<f64>>(), Trust::of::<Option<Min<u8>>>()];
        assert_eq!(unless, [Trust::UnlessAmbiguous; 4]);
    }

    #[record(crate = crate)]
    #[serde(rename_all = "camelCase")]
    struct Visit {
        user_id: u64,
        #[serde(rename = "type")]
        kind: Kind,
        pages: Vec<Kind>,
    }

    #[record(crate = crate)]
    enum Kind {
        Search,
        Page(String),
        Item {
            #[field(default = 3)]
            number: i64,
        },
    }

    #[record(crate = crate)]
    struct Priced {
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        prices: Vec<u64>,
    }

    #[record(crate = crate)]
    struct Optional {
        #[serde(skip_serializing_if = "Option::is_none")]
        visit: Option<Visit>,
        level: f64,
    }

    #[record(crate = crate)]
    struct Defaulted {
        #[serde(skip_serializing_if = "Option::is_none")]
        #[field(default = Some(1))]
        level: Option<u64>,
    }

    #[record(crate = crate)]
    struct Ruled {
        #[field(range = 0..)]
        level: i64,
    }

    #[record(crate = crate)]
    #[serde(tag = "kind")]
    enum WithTag {
        Counts { counts: BTreeMap<u32, u32> },
    }

    #[record(crate = crate)]
    enum Untagged {
        #[serde(untagged)]
        Text(String),
    }

    #[record(crate = crate)]
    struct Flat {
        #[serde(flatten)]
        rest: BTreeMap<String, u32>,
    }

    #[record(crate = crate)]
    struct Tree {
        children: Vec<Tree>,
    }

    #[record(crate = crate)]
    struct Outer {
        inner: Option<Ruled>,
    }

    /// Law: a record is known if all of it is read by serde as serde wrote it.
    #[test]
    fn records_are_known_by_their_parts() {
        assert_eq!([Trust::of::<Visit>(), Trust::of::<Vec<Kind>>()], [Trust::Always; 2]);
        assert_eq!([Trust::of::<Optional>(), Trust::of::<(Option<Visit>, u8)>()], [Trust::UnlessAmbiguous; 2]);
        let never = [
            Trust::of::<Priced>(),
            Trust::of::<Defaulted>(),
            Trust::of::<Ruled>(),
            Trust::of::<WithTag>(),
            Trust::of::<Untagged>(),
            Trust::of::<Flat>(),
            Trust::of::<Tree>(),
            Trust::of::<Outer>(),
        ];
        assert_eq!(never, [Trust::Never; 8]);
    }

    #[test]
    fn other_types_are_unknown() {
        #[allow(dead_code, reason = "only its name is used")]
        struct Own;
        let never = [
            Trust::of::<Own>(),
            Trust::of::<Vec<Own>>(),
            Trust::of::<(u8, Option<Own>)>(),
            Trust::of::<[Own; 2]>(),
            Trust::of::<serde_json::Value>(),
            Trust::of::<BTreeMap<(u8, u8), u8>>(),
            Trust::of::<std::rc::Rc<u8>>(),
        ];
        assert_eq!(never, [Trust::Never; 7]);
    }
}
