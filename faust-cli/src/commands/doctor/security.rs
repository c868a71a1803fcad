//! The check of the connection's security: what the settings ask for, and what this build supports.

use std::fs::File;
use std::path::PathBuf;

use faust_core::config::Settings;

use super::check::Check;

/// Checks the security settings. `features` are those of the build of librdkafka.
pub(super) fn checks(settings: &Settings, features: &[String]) -> Vec<Check> {
    let protocol = set(settings, &["security.protocol"], settings.broker_security_protocol.as_str());
    let mechanism = set(settings, &["sasl.mechanism", "sasl.mechanisms"], &settings.broker_sasl_mechanism);
    let (is_encrypted, has_sasl) = (protocol.ends_with("ssl"), protocol.starts_with("sasl"));
    let has = |feature: &str| features.iter().any(|name| name == feature);
    let mut missing = Vec::new();
    if is_encrypted && !has("ssl") {
        missing.push(("TLS", "ssl"));
    }
    let of_mechanism = match mechanism.to_ascii_uppercase().as_str() {
        "PLAIN" => ("sasl_plain", "ssl"),
        "GSSAPI" => ("sasl_gssapi", "gssapi"),
        "OAUTHBEARER" => ("sasl_oauthbearer", "ssl"),
        _ => ("sasl_scram", "ssl"),
    };
    if has_sasl && !has(of_mechanism.0) {
        missing.push((mechanism.as_str(), of_mechanism.1));
    }
    let fails = missing.iter().map(|(what, feature)| {
        let fix = match *feature {
            "gssapi" => "depend on `rdkafka` with its feature `gssapi` as well".to_owned(),
            feature => format!("build with `--features {feature}`"),
        };
        let text = format!(
            "the settings ask for {what} (`broker_security_protocol` is `{protocol}`), which this build does not support: {fix}"
        );
        Check::fail("security", text)
    });
    let mut checks: Vec<_> = fails.chain(if is_encrypted { unreadable(settings) } else { Vec::new() }).collect();
    if checks.is_empty() {
        let tls = if has("ssl") { "supports TLS" } else { "has no TLS; `--features ssl` adds it" };
        checks.push(Check::ok("security", format!("the protocol is `{protocol}`; this build {tls}")));
    }
    checks
}

/// Returns the value that librdkafka gets: that under its own name, if it is set.
fn set(settings: &Settings, names: &[&str], setting: &str) -> String {
    let own = names.iter().find_map(|name| settings.kafka.get(*name));
    own.map_or(setting, String::as_str).to_ascii_lowercase()
}

/// Returns a failure for each certificate or key that cannot be read.
fn unreadable(settings: &Settings) -> Vec<Check> {
    let files: [(&str, &Option<PathBuf>); 3] = [
        ("broker_ssl_ca", &settings.broker_ssl_ca),
        ("broker_ssl_certificate", &settings.broker_ssl_certificate),
        ("broker_ssl_key", &settings.broker_ssl_key),
    ];
    let fault = |(name, file): (&str, &Option<PathBuf>)| {
        let file = file.as_ref()?;
        let error = File::open(file).err()?;
        Some(Check::fail("security", format!("`{name}` cannot be read: `{}`: {error}", file.display())))
    };
    files.into_iter().filter_map(fault).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use faust_core::config::Layers;

    use super::*;

    fn texts(given: &[(&str, &str)], features: &[&str]) -> Vec<String> {
        let mut layers = Layers::default();
        for (name, value) in given {
            layers.builder(*name, value);
        }
        let features: Vec<_> = features.iter().map(|name| (*name).to_owned()).collect();
        let checks = checks(&layers.resolve("shop").unwrap().settings, &features).into_iter();
        checks.map(|check| format!("{:?} {}", check.state, check.text)).collect()
    }

    #[test]
    fn a_build_without_the_features_that_the_settings_need_fails() {
        let plain = ["sasl", "sasl_plain"];
        assert!(texts(&[], &plain)[0].starts_with("Ok"), "{:?}", texts(&[], &plain));
        let user = [("broker_username", "me"), ("broker_password", "x")];
        let with = |given: &[(&str, &str)], features: &[&str]| texts(&[&user, given].concat(), features);
        let scram =
            with(&[("broker_security_protocol", "sasl_ssl"), ("broker_sasl_mechanism", "SCRAM-SHA-256")], &plain);
        assert!(scram.len() == 2 && scram.iter().all(|text| text.contains("--features ssl")), "{scram:?}");
        assert!(with(&[("broker_security_protocol", "sasl_plaintext")], &plain)[0].starts_with("Ok"));
        let by_own_name = texts(&[("kafka.security.protocol", "SSL")], &plain);
        assert!(by_own_name[0].starts_with("Fail") && by_own_name[0].contains("TLS"), "{by_own_name:?}");
    }

    #[test]
    fn a_certificate_that_cannot_be_read_fails() {
        let with = |file: &str| texts(&[("broker_security_protocol", "ssl"), ("broker_ssl_ca", file)], &["ssl"]);
        let missing = with("/none/ca.pem");
        assert!(missing.len() == 1 && missing[0].starts_with("Fail `broker_ssl_ca` cannot be read"), "{missing:?}");
        let present = tempfile::NamedTempFile::new().unwrap();
        assert!(with(&present.path().display().to_string())[0].starts_with("Ok"));
    }
}
