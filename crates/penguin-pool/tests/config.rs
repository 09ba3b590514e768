//! Settings: layers, defaults, refusals, and the texts that follow from the table.
#![expect(clippy::unwrap_used, reason = "a test's helpers may panic")]

use penguin_pool::config::{self, AuthMode, Config, DataDir, Environment, Inputs, Origin};
use std::{collections::BTreeMap, path::Path};

fn with(directory: &Path, variables: &[(&str, &str)]) -> Result<Config, config::Refusal> {
    let variables: BTreeMap<_, _> =
        variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Config::from_inputs(&Inputs { variables, directory: Some(directory.to_owned()) })
}

/// What staging and mainnet do not start without.
const PASSWORD: (&str, &str) = ("KURRENTDB_PASSWORD", "my own");

fn refusal(variables: &[(&str, &str)]) -> String {
    let empty = tempfile::tempdir().unwrap();
    with(empty.path(), variables).unwrap_err().to_string()
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let empty = tempfile::tempdir().unwrap();
    let config = with(empty.path(), &[]).unwrap();
    assert_eq!(config.environment, Environment::Dev);
    assert_eq!(config.settings.host.as_str(), "127.0.0.1");
    assert_eq!(config.settings.http_port, 3001);
    assert_eq!(config.settings.ws_port, 3002);
    assert_eq!(config.settings.kurrentdb_port.0, Some(2113));
    assert_eq!(config.settings.data_dir, DataDir::Directory("./data".into()));
    assert_eq!(config.settings.kurrentdb_url.redacted(), "http://localhost:2113");
    assert_eq!(config.origin("HOST"), Origin::Default);
    assert!(config.warnings.is_empty());
}

#[test]
fn staging_and_mainnet_bind_every_address_and_log_json() {
    let empty = tempfile::tempdir().unwrap();
    for name in ["staging", "mainnet", "production"] {
        let config = with(empty.path(), &[("NODE_ENV", name), PASSWORD]).unwrap();
        assert_eq!(config.settings.host.as_str(), "0.0.0.0", "{name}");
        assert_eq!(config.settings.log_format, config::LogFormat::Json, "{name}");
        assert!(config.settings.allowed_origins.0.is_empty(), "{name}");
    }
}

#[test]
fn the_environment_wins_over_the_local_file_which_wins_over_the_environments_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(".env.local"), "APP_ENV=staging\nHTTP_PORT=2\nWS_PORT=2\n").unwrap();
    std::fs::write(dir.path().join("env.staging"), "HTTP_PORT=3\nWS_PORT=3\nREQUEST_TIMEOUT=3 # ms\n")
        .unwrap();
    std::fs::write(dir.path().join("env.dev"), "REQUEST_TIMEOUT=4\n").unwrap();
    let config = with(dir.path(), &[("HTTP_PORT", "1"), PASSWORD]).unwrap();
    assert_eq!(config.environment, Environment::Staging);
    assert_eq!((config.settings.http_port, config.settings.ws_port), (1, 2));
    assert_eq!(config.settings.request_timeout.get().as_millis(), 3);
    assert_eq!(config.origin("HTTP_PORT"), Origin::Variable);
    assert_eq!(config.origin("WS_PORT"), Origin::File(".env.local".to_owned()));
    assert_eq!(config.origin("REQUEST_TIMEOUT"), Origin::File("env.staging".to_owned()));
}

#[test]
fn a_variable_that_is_set_to_nothing_counts_as_not_set() {
    let empty = tempfile::tempdir().unwrap();
    let config = with(empty.path(), &[("HTTP_PORT", ""), ("EVENT_STORE", " ")]).unwrap();
    assert_eq!(config.settings.http_port, 3001);
    assert_eq!(config.origin("EVENT_STORE"), Origin::Default);
}

#[test]
fn every_fault_is_named_with_what_to_write() {
    let text = refusal(&[("HTTP_PORT", "99999"), ("LOG_LEVEL", "inof"), ("RATE_LIMIT_WINDOW_MS", "0")]);
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        [
            "HTTP_PORT: '99999' (from the environment) is no port; write a port from 0 (any free one) to 65535",
            "LOG_LEVEL: 'inof' (from the environment) is no log level; write error, warn, info, debug, trace or off, \
             and after it exceptions such as penguin_pool=debug, with commas between",
            "RATE_LIMIT_WINDOW_MS: '0' (from the environment) is out of range; write milliseconds from 1 to 86400000",
        ]
    );
}

#[test]
fn each_kind_of_bad_value_names_its_variable() {
    let bad = [
        ("NODE_ENV", "prod"),
        ("HOST", "127.0.0.300"),
        ("HOST", "a b"),
        ("HTTP_PORT", "-1"),
        ("WS_PORT", "x"),
        ("EVENT_STORE", "postgres"),
        ("KURRENTDB_URL", "localhost"),
        ("KURRENTDB_URL", "ftp://localhost"),
        ("KURRENTDB_URL", "http://localhost:99999"),
        ("KURRENTDB_URL", "http://"),
        ("KURRENTDB_PORT", "of"),
        ("KURRENTDB_USE_TLS", "maybe"),
        ("ALLOWED_ORIGINS", "*"),
        ("ALLOWED_ORIGINS", "https://a.example, b.example"),
        ("ALLOWED_ORIGINS", "https://a.example/path"),
        ("LOG_FORMAT", "xml"),
        ("RATE_LIMIT_MAX_REQUESTS", "1.5"),
        ("TRUSTED_PROXIES", "10.0.0.0/33"),
        ("MAX_CONCURRENT_REQUESTS", "0"),
        ("REQUEST_TIMEOUT", "30s"),
        ("SHUTDOWN_DELAY", "soon"),
        ("AUTH_MODE", "on"),
        ("JWT_JWKS_URL", "http://id.example.org/jwks"),
        ("JWT_LIFETIME", "1"),
    ];
    for (name, value) in bad {
        let text = refusal(&[(name, value)]);
        assert!(text.starts_with(&format!("{name}: ")), "{name}={value}: {text}");
        assert_eq!(text.lines().count(), 1, "{name}={value}: {text}");
        assert!(text.contains("; write "), "{name}={value} says what to write: {text}");
    }
}

#[test]
fn who_calls_is_asked_where_others_come_and_cannot_be_left_unasked() {
    let empty = tempfile::tempdir().unwrap();
    let mode = |name| with(empty.path(), &[("NODE_ENV", name), PASSWORD]).unwrap().settings.auth_mode;
    assert_eq!([mode("dev"), mode("test")], [AuthMode::Off; 2]);
    assert_eq!([mode("staging"), mode("mainnet")], [AuthMode::Required; 2]);
    for name in ["staging", "mainnet"] {
        let text = refusal(&[("NODE_ENV", name), PASSWORD, ("AUTH_MODE", "off")]);
        assert!(text.starts_with("AUTH_MODE: off") && text.contains("; write AUTH_MODE=required"), "{text}");
    }
}

#[test]
fn keys_of_others_say_whose_and_for_whom_they_are() {
    for (name, value) in [
        ("JWT_JWKS_URL", "https://id.example.org/jwks"),
        ("JWT_KEYS_FILE", "keys.json"),
        ("JWT_KEYS", "{}"),
        ("JWT_SHARED_SECRET", "0123456789abcdef0123456789abcdef"),
    ] {
        let text = refusal(&[(name, value), ("JWT_AUDIENCE", "penguins")]);
        assert!(text.starts_with(&format!("{name}: JWT_ISSUER is not set")), "{text}");
        let empty = tempfile::tempdir().unwrap();
        let whole = [(name, value), ("JWT_AUDIENCE", "penguins"), ("JWT_ISSUER", "https://id.example.org")];
        with(empty.path(), &whole).unwrap();
    }
}

#[test]
fn contradicting_environments_are_refused() {
    let text = refusal(&[("NODE_ENV", "production"), ("APP_ENV", "staging")]);
    assert_eq!(
        text,
        "APP_ENV: it says staging where NODE_ENV says mainnet; set one of them, or both to the same"
    );
}

#[test]
fn a_store_elsewhere_must_be_chosen() {
    for (name, value) in [
        ("KURRENTDB_URL", "kurrentdb+discover://u:hush@one.example:2113,two.example:2113?tls=true"),
        ("KURRENTDB_HOST", "kurrentdb"),
    ] {
        let text = refusal(&[(name, value)]);
        assert!(text.starts_with(&format!("{name}: it names another machine (")), "{text}");
        assert!(text.contains("EVENT_STORE=embedded") && text.contains("EVENT_STORE=kurrentdb"), "{text}");
        assert!(!text.contains("hush"));
        let empty = tempfile::tempdir().unwrap();
        with(empty.path(), &[(name, value), ("EVENT_STORE", "embedded")]).unwrap();
    }
    let empty = tempfile::tempdir().unwrap();
    for local in ["http://127.8.8.8:2113", "http://[::1]:2113", "esdb://localhost"] {
        with(empty.path(), &[("KURRENTDB_URL", local)]).unwrap();
    }
}

#[test]
fn the_server_is_what_all_settings_together_say() {
    let empty = tempfile::tempdir().unwrap();
    let server = |variables: &[(&str, &str)]| {
        let store = [("EVENT_STORE", "kurrentdb")];
        let server = with(empty.path(), &[&store, variables].concat()).unwrap().kurrentdb();
        let credentials = server.credentials().map(|(name, password)| format!("{name} {password}"));
        assert!(!format!("{server:?}").contains("hush"));
        (server.connection_string().to_owned(), credentials.unwrap_or_default(), server.node().to_owned())
    };
    let said = |connection: &str, credentials: &str, node: &str| {
        (connection.to_owned(), credentials.to_owned(), node.to_owned())
    };
    assert_eq!(
        server(&[]),
        said(
            "kurrentdb://localhost:2113?tls=false&tlsVerifyCert=true",
            "admin changeit",
            "http://localhost:2113"
        )
    );
    assert_eq!(
        server(&[
            ("KURRENTDB_HOST", "db.example.org"),
            ("KURRENTDB_PORT", "2114"),
            ("KURRENTDB_USE_TLS", "true")
        ]),
        said(
            "kurrentdb://db.example.org:2114?tls=true&tlsVerifyCert=true",
            "admin changeit",
            "https://db.example.org:2114"
        )
    );
    let written = [
        ("KURRENTDB_URL", "https://me:hu%40sh@[::1]"),
        ("KURRENTDB_HOST", "localhost"),
        ("KURRENTDB_PORT", "9"),
        ("KURRENTDB_VERIFY_CERT", "false"),
    ];
    assert_eq!(
        server(&written),
        said("kurrentdb://[::1]:2113?tls=true&tlsVerifyCert=false", "me hu@sh", "https://[::1]:2113")
    );
    // A connection string says everything.
    assert_eq!(
        server(&[
            (
                "KURRENTDB_URL",
                "kurrentdb+discover://me:hush@one.example,two.example:9?tls=false&nodePreference=leader"
            ),
            ("KURRENTDB_USE_TLS", "true"),
        ]),
        said(
            "kurrentdb+discover://one.example,two.example:9?tls=false&nodePreference=leader",
            "me hush",
            "http://one.example:2113"
        )
    );
    assert_eq!(
        server(&[("KURRENTDB_URL", "esdb://one.example:7")]),
        said("esdb://one.example:7", "", "https://one.example:7")
    );
    let text = refusal(&[("KURRENTDB_URL", "https://localhost"), ("KURRENTDB_USE_TLS", "false")]);
    assert!(text.starts_with("KURRENTDB_USE_TLS: false (from the environment) contradicts"), "{text}");
}

#[test]
fn a_certificate_is_of_no_use_without_its_key() {
    for (there, missing) in [("TLS_CERT", "TLS_KEY"), ("TLS_KEY", "TLS_CERT")] {
        let text = refusal(&[(there, "/etc/penguin-pool/some.pem")]);
        assert!(text.starts_with(&format!("{there}: {missing} is not set")), "{text}");
    }
    let empty = tempfile::tempdir().unwrap();
    let both = with(empty.path(), &[("TLS_CERT", "cert.pem"), ("TLS_KEY", "key.pem")]).unwrap();
    assert_eq!(both.settings.tls_key.as_deref(), Some("key.pem"));
}

#[test]
fn keys_do_not_end_before_the_events_that_they_encrypt() {
    let key = "07".repeat(32);
    let elsewhere = [("EVENT_STORE", "kurrentdb"), ("DATA_DIR", ":memory:"), ("ENCRYPTION_KEY", &key)];
    assert!(refusal(&elsewhere).starts_with("KEY_STORE: "), "{}", refusal(&elsewhere));
    let directory = tempfile::tempdir().unwrap();
    for good in [&elsewhere[..2], &elsewhere[1..], &[&elsewhere[..], &[("KEY_STORE", "/keys")]].concat()] {
        with(directory.path(), good).unwrap();
    }
}

#[test]
fn staging_and_mainnet_refuse_the_default_password_and_memory_is_not_for_mainnet() {
    let empty = tempfile::tempdir().unwrap();
    with(empty.path(), &[("KURRENTDB_PASSWORD", "changeit")]).unwrap();
    for environment in ["staging", "mainnet"] {
        for password in [&[("KURRENTDB_PASSWORD", "changeit")][..], &[("EVENT_STORE", "embedded")], &[]] {
            let text = refusal(&[&[("NODE_ENV", environment)], password].concat());
            assert!(text.starts_with("KURRENTDB_PASSWORD: it holds KurrentDB's default password"), "{text}");
            assert_eq!(text.lines().count(), 1, "{text}");
        }
        let url = "kurrentdb://admin:changeit@localhost:2113";
        let text = refusal(&[("NODE_ENV", environment), ("KURRENTDB_URL", url), PASSWORD]);
        assert!(text.starts_with("KURRENTDB_URL: it holds KurrentDB's default password"), "{text}");
        with(empty.path(), &[("NODE_ENV", environment), PASSWORD]).unwrap();
        let server = [("NODE_ENV", environment), ("EVENT_STORE", "kurrentdb")];
        assert!(refusal(&server).starts_with("KURRENTDB_PASSWORD: it holds KurrentDB's default password"));
        // Beside a connection string with a password of its own the other one is not used.
        with(empty.path(), &[&server[..], &[("KURRENTDB_URL", "kurrentdb://me:own@localhost")]].concat())
            .unwrap();
    }
    assert!(
        refusal(&[("NODE_ENV", "mainnet"), ("DATA_DIR", ":memory:"), PASSWORD]).starts_with("DATA_DIR: ")
    );
}

#[test]
fn secrets_are_never_shown() {
    let empty = tempfile::tempdir().unwrap();
    let variables =
        [("KURRENTDB_PASSWORD", "hush"), ("KURRENTDB_URL", "http://me:hush@127.0.0.1:2113/?tls=false")];
    let config = with(empty.path(), &variables).unwrap();
    for text in [config.to_text(), config.to_json().to_string(), format!("{config:?}")] {
        assert!(!text.contains("hush"), "{text}");
    }
    assert!(config.to_text().contains("http://127.0.0.1:2113/?tls=false"));
    assert_eq!(config.settings.kurrentdb_url.password(), Some("hush"));
    for bad in ["ftp://me:hush@a", "http://me:hush@a:b", "hush"] {
        assert!(!refusal(&[("KURRENTDB_URL", bad)]).contains("hush"), "{bad}");
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(".env.local"), "HTTP_PORT=1\nKURRENTDB PASSWORD hush\n").unwrap();
    let text = with(dir.path(), &[]).unwrap_err().to_string();
    assert!(text.starts_with(".env.local: line 2 is not of the form NAME=value"), "{text}");
    assert!(!text.contains("hush"), "{text}");
}

#[test]
fn a_name_close_to_one_of_ours_is_warned_about() {
    let empty = tempfile::tempdir().unwrap();
    let variables =
        [("RATE_LIMIT_MAX_REQUEST", "5"), ("HTPP_PORT", "5"), ("HOME", "/root"), ("PATH", "/bin")];
    let config = with(empty.path(), &variables).unwrap();
    assert_eq!(
        config.warnings,
        [
            "HTPP_PORT (from the environment) is no setting and is ignored; did you mean HTTP_PORT?",
            "RATE_LIMIT_MAX_REQUEST (from the environment) is no setting and is ignored; did you mean \
             RATE_LIMIT_MAX_REQUESTS?",
        ]
    );
}

#[test]
fn networks_contain_their_addresses_alone() {
    let empty = tempfile::tempdir().unwrap();
    let config = with(empty.path(), &[("TRUSTED_PROXIES", "10.0.0.0/8, ::1, 0.0.0.0/0")]).unwrap();
    let inside = |i: usize, ip: &str| config.settings.trusted_proxies.0[i].contains(ip.parse().unwrap());
    assert!(inside(0, "10.255.0.1") && inside(0, "::ffff:10.1.1.1") && !inside(0, "11.0.0.1"));
    assert!(inside(1, "::1") && !inside(1, "::2") && !inside(1, "127.0.0.1"));
    assert!(inside(2, "200.1.1.1"));
}

/// The files that ship with the service, at the root of the repository.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

#[test]
fn the_environments_files_are_good() {
    for name in ["dev", "staging", "test", "mainnet"] {
        let config = with(root(), &[("NODE_ENV", name), PASSWORD]).unwrap();
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
        let text = std::fs::read_to_string(root().join(format!("env.{name}"))).unwrap();
        for (key, _) in dotenvy::Iter::new(text.as_bytes()).map(Result::unwrap) {
            assert!(
                config::Settings::TABLE.iter().any(|s| s.name == key),
                "env.{name} sets {key}, which is no setting"
            );
        }
    }
}

#[test]
fn the_readme_and_the_example_say_what_the_table_says() {
    let example = std::fs::read_to_string(root().join(".env.example")).unwrap();
    assert!(example == config::env_example(), "write it anew: penguin-pool config --example > .env.example");
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    assert!(
        readme.contains(&config::markdown_table()),
        "the README's table of settings is not that of `penguin-pool config --markdown`"
    );
}

/// What compose files are made of, as far as ours go.
fn services(file: &str) -> serde_yaml_ng::Value {
    let text = std::fs::read_to_string(root().join("deploy").join(file)).unwrap();
    let mut compose: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text).unwrap();
    compose.apply_merge().unwrap();
    let keys = |value: &serde_yaml_ng::Value| -> Vec<String> {
        let keys = value.as_mapping().into_iter().flat_map(|m| m.keys());
        keys.map(|key| key.as_str().unwrap().to_owned()).collect()
    };
    for key in keys(&compose) {
        assert!(
            ["services", "networks", "volumes"].contains(&&*key) || key.starts_with("x-"),
            "{file}: {key}"
        );
    }
    let known = [
        "build",
        "image",
        "environment",
        "ports",
        "volumes",
        "networks",
        "restart",
        "read_only",
        "cap_drop",
        "security_opt",
        "stop_grace_period",
    ];
    for (name, service) in compose["services"].as_mapping().unwrap() {
        for key in keys(service) {
            assert!(known.contains(&&*key), "{file}: {name:?} has {key}");
        }
        assert_ne!(service.get("build").is_some(), service.get("image").is_some(), "{file}: {name:?}");
        for volume in service["volumes"].as_sequence().unwrap() {
            let (volume, _) = volume.as_str().unwrap().split_once(':').unwrap();
            assert!(keys(&compose["volumes"]).contains(&volume.to_owned()), "{file}: the volume {volume}");
        }
        let networks = service.get("networks").map(|n| match n.as_sequence() {
            Some(names) => names.iter().map(|n| n.as_str().unwrap().to_owned()).collect(),
            None => keys(n),
        });
        for network in networks.unwrap_or_default() {
            assert!(keys(&compose["networks"]).contains(&network), "{file}: the network {network}");
        }
    }
    compose["services"].clone()
}

/// The variables of a service as compose hands them over when nobody sets others than those that must be set.
fn variables(service: &serde_yaml_ng::Value) -> BTreeMap<String, String> {
    let value = |text: &str| match text.strip_prefix("${").and_then(|t| t.strip_suffix('}')) {
        Some(inner) => inner.split_once(":-").map_or("of my own", |(_, default)| default).to_owned(),
        None => text.to_owned(),
    };
    let variables = service["environment"].as_mapping().unwrap().iter();
    variables.map(|(k, v)| (k.as_str().unwrap().to_owned(), value(v.as_str().unwrap()))).collect()
}

#[test]
fn the_compose_files_hold_together_and_start_the_service_that_they_say() {
    for (file, store) in [
        ("compose.yaml", config::EventStoreKind::Embedded),
        ("compose.cluster.yaml", config::EventStoreKind::Kurrentdb),
    ] {
        let services = services(file);
        let variables = variables(&services["penguin-pool"]);
        let known =
            |name: &String| name == "NODE_ENV" || config::Settings::TABLE.iter().any(|s| s.name == name);
        assert!(variables.keys().all(known), "{file}: {variables:?}");
        let config = Config::from_inputs(&Inputs { variables, directory: None }).unwrap();
        assert_eq!(
            (config.environment, config.settings.event_store),
            (Environment::Mainnet, store),
            "{file}"
        );
    }
    // Each node is seeded with the others, under the names that the service asks for.
    let cluster = services("compose.cluster.yaml");
    let url = cluster["penguin-pool"]["environment"]["KURRENTDB_URL"].as_str().unwrap().to_owned();
    let node = |i: u32| variables(&cluster[format!("node{i}")]);
    for i in 1..=3 {
        let own = node(i);
        let others =
            (1..=3).filter(|j| *j != i).map(|j| format!("{}:2113", node(j)["KURRENTDB_REPLICATION_IP"]));
        assert_eq!(own["KURRENTDB_GOSSIP_SEED"], others.collect::<Vec<_>>().join(","));
        assert!(url.contains(&format!("{}:2113", own["KURRENTDB_ADVERTISE_HOST_TO_CLIENT_AS"])), "{url}");
        let address = &cluster[format!("node{i}")]["networks"]["cluster"]["ipv4_address"];
        assert_eq!(address.as_str(), Some(&*own["KURRENTDB_REPLICATION_IP"]));
    }
}
