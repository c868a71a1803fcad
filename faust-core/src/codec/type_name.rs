//! Names of types without the paths of their modules.

/// Returns a type's full name, or a text with such names, without paths: `alloc::vec::Vec<shop::Click>` becomes
/// `Vec<Click>`.
pub(crate) fn without_paths(name: &str) -> String {
    let parts = name.split_inclusive(['<', '>', ',', ' ', '(', ')', '[', ']', ';', '&']);
    parts.map(|part| part.rsplit("::").next().unwrap_or(part)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_left_out_everywhere() {
        for (full, short) in [
            ("u8", "u8"),
            ("alloc::vec::Vec<shop::Click>", "Vec<Click>"),
            ("(a::B, [c::D; 3], &e::F)", "(B, [D; 3], &F)"),
            ("alloc::string::String by raw -> a::B by binary|json", "String by raw -> B by binary|json"),
        ] {
            assert_eq!(without_paths(full), short);
        }
    }
}
