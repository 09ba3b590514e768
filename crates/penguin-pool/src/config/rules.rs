//! Rules that join several settings.

use super::{AuthMode, Config, EventStoreKind, Host, Origin, Refusal};

/// KurrentDB's default password, which everybody knows.
const DEFAULT_PASSWORD: &str = "changeit";

/// Checks what no single setting can.
pub(super) fn check(config: &Config) -> Result<(), Refusal> {
    let rules = [
        store_choice,
        plain_and_tls,
        default_password,
        memory_in_public,
        check_in_time,
        one_ring,
        kept_keys,
        certificate_and_key,
        auth_in_public,
        tokens_of_others,
    ];
    let faults: Vec<String> = rules.into_iter().filter_map(|rule| rule(config)).collect();
    if faults.is_empty() { Ok(()) } else { Err(Refusal(faults)) }
}

/// Whoever names a KurrentDB server elsewhere and does not say which store to use would lose events in the wrong one.
fn store_choice(config: &Config) -> Option<String> {
    let settings = &config.settings;
    if config.origin("EVENT_STORE") != Origin::Default {
        return None;
    }
    let elsewhere = |name: &str, host: &Host| {
        format!(
            "{name}: it names another machine ({host}), and EVENT_STORE does not say where events are kept; write \
             EVENT_STORE=embedded to keep them in DATA_DIR here, or EVENT_STORE=kurrentdb to keep them there"
        )
    };
    if let Some(host) = settings.kurrentdb_url.hosts().find(|host| !host.is_loopback()) {
        return Some(elsewhere("KURRENTDB_URL", host));
    }
    let host = settings.kurrentdb_host.as_ref().filter(|host| !host.is_loopback())?;
    Some(elsewhere("KURRENTDB_HOST", host))
}

/// An address that says TLS, and a setting that says that there is none.
fn plain_and_tls(config: &Config) -> Option<String> {
    let settings = &config.settings;
    let contradicts = settings.kurrentdb_url.scheme().eq_ignore_ascii_case("https")
        && !settings.kurrentdb_use_tls
        && config.origin("KURRENTDB_USE_TLS") != Origin::Default;
    contradicts.then(|| {
        format!(
            "KURRENTDB_USE_TLS: false (from {}) contradicts KURRENTDB_URL, which is https (from {}); write true, or an \
             http URL",
            config.origin("KURRENTDB_USE_TLS"),
            config.origin("KURRENTDB_URL")
        )
    })
}

/// Where others can reach the service nobody's password is the one that everybody knows, whichever store keeps the events:
/// what is not used today is used on the day that the settings or the version change.
fn default_password(config: &Config) -> Option<String> {
    if !config.environment.is_public() {
        return None;
    }
    let settings = &config.settings;
    // A connection string says everything: beside its own password the other one is nobody's.
    let in_url = settings.kurrentdb_url.password();
    let said_by_url = settings.event_store == EventStoreKind::Kurrentdb
        && in_url.is_some()
        && config.origin("KURRENTDB_PASSWORD") == Origin::Default;
    let name = if in_url == Some(DEFAULT_PASSWORD) {
        "KURRENTDB_URL"
    } else if !said_by_url && settings.kurrentdb_password.expose() == DEFAULT_PASSWORD {
        "KURRENTDB_PASSWORD"
    } else {
        return None;
    };
    Some(format!(
        "{name}: it holds KurrentDB's default password (from {}), which {} refuses; write a password of your own \
         (in the environment or in .env.local)",
        config.origin(name),
        config.environment.as_str()
    ))
}

/// Mainnet's events are worth keeping.
fn memory_in_public(config: &Config) -> Option<String> {
    let lost = config.environment == super::Environment::Mainnet
        && config.settings.event_store == EventStoreKind::Embedded
        && config.settings.data_dir.path().is_none();
    lost.then(|| {
        format!(
            "DATA_DIR: ':memory:' (from {}) would lose every event at the end, which mainnet refuses; write a \
             directory, such as DATA_DIR=/var/lib/penguin-pool",
            config.origin("DATA_DIR")
        )
    })
}

/// A check that may take as long as the interval would leave no time between two.
fn check_in_time(config: &Config) -> Option<String> {
    let (timeout, interval) = (config.settings.uptime_timeout.get(), config.settings.uptime_interval.get());
    (timeout >= interval).then(|| {
        format!(
            "UPTIME_TIMEOUT: {} ms (from {}) is not shorter than UPTIME_INTERVAL, {} ms (from {}); write less",
            timeout.as_millis(),
            config.origin("UPTIME_TIMEOUT"),
            interval.as_millis(),
            config.origin("UPTIME_INTERVAL")
        )
    })
}

/// Two rings, and nobody could say which of them encrypts.
fn one_ring(config: &Config) -> Option<String> {
    let settings = &config.settings;
    (settings.encryption_key.is_some() && settings.encryption_key_file.is_some())
        .then(|| "ENCRYPTION_KEY: ENCRYPTION_KEY_FILE is set as well; write one of them".to_owned())
}

/// Events that outlive the keys that encrypt them can never be read again.
fn kept_keys(config: &Config) -> Option<String> {
    let settings = &config.settings;
    let encrypts = settings.encryption_key.is_some() || settings.encryption_key_file.is_some();
    let lost = encrypts
        && settings.event_store == EventStoreKind::Kurrentdb
        && settings.data_dir.path().is_none()
        && settings.key_store.is_none();
    lost.then(|| {
        "KEY_STORE: with DATA_DIR=:memory: the keys that encrypt users' data would be lost at the end, and the events in \
         KurrentDB stay; write a file, such as KEY_STORE=/var/lib/penguin-pool/data.keys"
            .to_owned()
    })
}

/// A certificate is of no use without its key, and in plain nobody means to serve who writes one of them.
fn certificate_and_key(config: &Config) -> Option<String> {
    let (name, missing) = match (&config.settings.tls_cert, &config.settings.tls_key) {
        (Some(_), None) => ("TLS_CERT", "TLS_KEY"),
        (None, Some(_)) => ("TLS_KEY", "TLS_CERT"),
        _ => return None,
    };
    Some(format!(
        "{name}: {missing} is not set, and TLS needs both; write {missing} as well, or none of them"
    ))
}

/// Where others than its makers reach it, everybody would be the service itself.
fn auth_in_public(config: &Config) -> Option<String> {
    let open = config.environment.is_public() && config.settings.auth_mode == AuthMode::Off;
    open.then(|| {
        format!(
            "AUTH_MODE: off (from {}) would let everybody do everything, which {} refuses; write AUTH_MODE=required",
            config.origin("AUTH_MODE"),
            config.environment.as_str()
        )
    })
}

/// A key alone does not say whose tokens are meant for this service.
fn tokens_of_others(config: &Config) -> Option<String> {
    let settings = &config.settings;
    let sources = [
        ("JWT_JWKS_URL", settings.jwt_jwks_url.is_some()),
        ("JWT_KEYS_FILE", settings.jwt_keys_file.is_some()),
        ("JWT_KEYS", settings.jwt_keys.is_some()),
        ("JWT_SHARED_SECRET", settings.jwt_shared_secret.is_some()),
    ];
    let (name, _) = sources.into_iter().find(|(_, set)| *set)?;
    let missing = match (&settings.jwt_issuer, &settings.jwt_audience) {
        (None, _) => "JWT_ISSUER",
        (_, None) => "JWT_AUDIENCE",
        _ => return None,
    };
    Some(format!(
        "{name}: {missing} is not set, and without it any token of that key would be believed; write both JWT_ISSUER and JWT_AUDIENCE"
    ))
}
