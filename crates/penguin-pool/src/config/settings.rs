//! The table of settings.

use super::{
    layers::{Layers, Origin},
    table::{Preset, Setting, settings},
    value::{
        AuthMode, DataDir, EventStoreKind, Host, KeysUrl, LogFilter, LogFormat, Millis, Number, OptionalPort,
        Origins, Proxies, Secret, StoreUrl, Targets, Value,
    },
};

settings! {
    /// The address that the service binds: an IP address or a host name.
    host: Host = "HOST", Preset::ByReach { local: "127.0.0.1", public: "0.0.0.0" };
    /// The port of the HTTP API. 0 takes a free one.
    http_port: u16 = "HTTP_PORT", Preset::Always("3001");
    /// The second port of sockets; they are served on `HTTP_PORT` too. 0 takes a free one.
    ws_port: u16 = "WS_PORT", Preset::Always("3002");
    /// The file of the certificate, in PEM and followed by those that vouch for it, that makes every port speak TLS: HTTP,
    /// sockets and KurrentDB's protocol. `TLS_KEY` belongs to it. Both files are looked at again every ten seconds.
    tls_cert: Option<String> = "TLS_CERT", Preset::Unset;
    /// The file of that certificate's private key, in PEM and not encrypted.
    tls_key: Option<String> = "TLS_KEY", Preset::Unset;
    /// Where events are kept: `embedded` (in `DATA_DIR`) or `kurrentdb` (a server or cluster).
    event_store: EventStoreKind = "EVENT_STORE", Preset::Always("embedded");
    /// The directory of the embedded store, and of the read models, which can be made anew on either store. `:memory:` keeps
    /// everything in memory and loses it at the end.
    data_dir: DataDir = "DATA_DIR", Preset::Always("./data");
    /// The KurrentDB server: `http://host:port`, or a `kurrentdb://` or `kurrentdb+discover://` connection string,
    /// which then says everything.
    kurrentdb_url: StoreUrl = "KURRENTDB_URL", Preset::Always("http://localhost:2113");
    /// The KurrentDB server's host, where `KURRENTDB_URL` is not set; its port is `KURRENTDB_PORT` then.
    kurrentdb_host: Option<Host> = "KURRENTDB_HOST", Preset::Unset;
    /// The address that the embedded store's KurrentDB protocol binds; `HOST` unless set. With `AUTH_MODE=off` whoever
    /// reaches it is let in.
    kurrentdb_listen: Option<Host> = "KURRENTDB_LISTEN", Preset::Unset;
    /// The port of KurrentDB's protocol (gRPC and HTTP) over the embedded store, or `off`; beside `KURRENTDB_HOST` the port of
    /// the server. With `AUTH_MODE=required` its clients need an account.
    kurrentdb_port: OptionalPort = "KURRENTDB_PORT", Preset::Always("2113");
    /// The user that KurrentDB knows this service as, unless a connection string says.
    kurrentdb_username: String = "KURRENTDB_USERNAME", Preset::Always("admin");
    /// That user's password. Staging and mainnet refuse KurrentDB's default one.
    kurrentdb_password: Secret = "KURRENTDB_PASSWORD", Preset::Always("changeit");
    /// Whether KurrentDB is reached by TLS.
    kurrentdb_use_tls: bool = "KURRENTDB_USE_TLS", Preset::Always("false");
    /// Whether KurrentDB's certificate is verified.
    kurrentdb_verify_cert: bool = "KURRENTDB_VERIFY_CERT", Preset::Always("true");
    /// The web origins that browsers may call from, separated by commas.
    allowed_origins: Origins = "ALLOWED_ORIGINS",
        Preset::ByReach { local: "http://localhost:3000,http://localhost:5173", public: "" };
    /// Whether callers must say who they are: `off` (everybody is the service itself) or `required`, which staging and
    /// mainnet do not let be turned off.
    auth_mode: AuthMode = "AUTH_MODE", Preset::ByReach { local: "off", public: "required" };
    /// Who issues the tokens (JSON Web Tokens) that are believed beside this service's own: their `iss`.
    jwt_issuer: Option<String> = "JWT_ISSUER", Preset::Unset;
    /// For whom those tokens must be: their `aud`.
    jwt_audience: Option<String> = "JWT_AUDIENCE", Preset::Unset;
    /// The address of the issuer's JSON Web Key Set. It is asked again every ten minutes, and for a key that is not known.
    jwt_jwks_url: Option<KeysUrl> = "JWT_JWKS_URL", Preset::Unset;
    /// A file of the issuer's keys: a JSON Web Key Set, or PEM public keys. It is read again when it changes.
    jwt_keys_file: Option<String> = "JWT_KEYS_FILE", Preset::Unset;
    /// The issuer's keys themselves: a JSON Web Key Set, or a PEM public key.
    jwt_keys: Option<Secret> = "JWT_KEYS", Preset::Unset;
    /// A secret of at least 32 bytes that is shared with the issuer, for HS256.
    jwt_shared_secret: Option<Secret> = "JWT_SHARED_SECRET", Preset::Unset;
    /// What this service signs its own tokens with, at least 32 bytes: the same for all instances. Without it, each
    /// process makes one up, and a restart ends all tokens.
    jwt_signing_secret: Option<Secret> = "JWT_SIGNING_SECRET", Preset::Unset;
    /// For how long this service's own tokens are good, in milliseconds.
    jwt_lifetime: Millis<60_000, 2_592_000_000> = "JWT_LIFETIME", Preset::Always("3600000");
    /// The key that encrypts users' data: 32 bytes as 64 hexadecimal digits or as base64. Of several, with commas between, the
    /// first encrypts and all decrypt. Without one, users' data is kept in plain.
    encryption_key: Option<Secret> = "ENCRYPTION_KEY", Preset::Unset;
    /// A file of such keys, in place of `ENCRYPTION_KEY`.
    encryption_key_file: Option<String> = "ENCRYPTION_KEY_FILE", Preset::Unset;
    /// The file that keeps each user's own key, wrapped by `ENCRYPTION_KEY`: back it up, and not together with the events.
    /// `DATA_DIR` with `.keys` behind it unless set.
    key_store: Option<String> = "KEY_STORE", Preset::Unset;
    /// Whether everything that callers do is written down, in the stream `system-audit`. Where callers must say who they are,
    /// what cannot be written down is refused.
    audit: bool = "AUDIT", Preset::ByReach { local: "false", public: "true" };
    /// What is logged: a level, and after it exceptions by module, such as `info,penguin_pool=debug`.
    log_level: LogFilter = "LOG_LEVEL", Preset::Always("info");
    /// How it is logged.
    log_format: LogFormat = "LOG_FORMAT", Preset::ByReach { local: "pretty", public: "json" };
    /// The time in which one caller has `RATE_LIMIT_MAX_REQUESTS` requests, in milliseconds.
    rate_limit_window_ms: Millis<1, 86_400_000> = "RATE_LIMIT_WINDOW_MS", Preset::Always("60000");
    /// How many requests one caller has in a window: whoever says who they are, and else an address. They come back evenly
    /// over it. 0 lifts the limit. Health and metrics are exempt.
    rate_limit_max_requests: Number<0, 1_000_000_000> = "RATE_LIMIT_MAX_REQUESTS", Preset::Always("6000");
    /// How many times in a window one address may try to log in: have a token given to it, or a password checked. 0 lifts the
    /// limit.
    rate_limit_max_logins: Number<0, 1_000_000_000> = "RATE_LIMIT_MAX_LOGINS", Preset::Always("20");
    /// How many calls one caller has in a window on the port of KurrentDB's protocol: gRPC calls, each counted once however
    /// many messages it has, and requests to the node's HTTP interface. 0 is no limit: clients that append one event a call
    /// make thousands a second.
    rate_limit_max_calls: Number<0, 1_000_000_000> = "RATE_LIMIT_MAX_CALLS", Preset::Always("0");
    /// The addresses of reverse proxies whose `X-Forwarded-For` is believed (addresses or networks such as
    /// `10.0.0.0/8`, separated by commas). Without it all callers behind a proxy share one rate limit, and one share of what one
    /// network may hold.
    trusted_proxies: Proxies = "TRUSTED_PROXIES", Preset::Unset;
    /// How many requests are worked on at once; more are refused with 429.
    max_concurrent_requests: Number<1, 1_000_000> = "MAX_CONCURRENT_REQUESTS", Preset::Always("1024");
    /// How many feeds (subscriptions over SSE) are open at once; more are refused with 429. Where callers must say who they
    /// are, one of them has half at most.
    max_subscriptions: Number<0, 1_000_000> = "MAX_SUBSCRIPTIONS", Preset::Always("1000");
    /// How many sockets are open at once (Socket.IO's connections and plain WebSockets); more are refused with 429. Where
    /// callers must say who they are, those who did not (yet) have half of them at most, a tenth from one network; one who
    /// did has a quarter.
    max_sockets: Number<0, 1_000_000> = "MAX_SOCKETS", Preset::Always("10000");
    /// How many subscriptions run over sockets at once, 64 of them over one socket; more are refused. Where callers
    /// must say who they are, one of them has half at most.
    max_socket_subscriptions: Number<0, 1_000_000> = "MAX_SOCKET_SUBSCRIPTIONS", Preset::Always("10000");
    /// How long a request may take, in milliseconds, before it is answered with 504. Feeds are exempt.
    request_timeout: Millis<1, 3_600_000> = "REQUEST_TIMEOUT", Preset::Always("30000");
    /// How long the service goes on serving after it was told to stop, with readiness failing, so that load balancers
    /// send nothing new; in milliseconds.
    shutdown_delay: Millis<0, 600_000> = "SHUTDOWN_DELAY", Preset::ByReach { local: "0", public: "2000" };
    /// How long running requests may take to finish after that, in milliseconds; then they are cut off.
    shutdown_timeout: Millis<0, 3_600_000> = "SHUTDOWN_TIMEOUT", Preset::Always("35000");
    /// Whether this process watches services and records their uptime. Without it, it tells what others record.
    uptime_watch: bool = "UPTIME_WATCH", Preset::Always("true");
    /// Further services to watch, as `name=address` with commas between: `explorer=https://explorer.example.org/health#204`
    /// (the status that is right after `#`; any of 200 to 299 without), `node=tcp://10.0.0.5:4001`, or
    /// `store=kurrentdb://10.0.0.6:2113?tls=false` (asked by gRPC whether its cluster has a leader; with TLS unless told
    /// otherwise, and `tlsVerifyCert=false` for a certificate that nobody vouches for).
    uptime_services: Targets = "UPTIME_SERVICES", Preset::Unset;
    /// How often each service is checked, in milliseconds.
    uptime_interval: Millis<1000, 60_000> = "UPTIME_INTERVAL", Preset::Always("30000");
    /// How long one check may take, in milliseconds; shorter than `UPTIME_INTERVAL`.
    uptime_timeout: Millis<10, 30_000> = "UPTIME_TIMEOUT", Preset::Always("5000");
    /// How many checks in a row must fail (or be slow) until a service is down (or degraded), timed from the first.
    uptime_failures: Number<1, 100> = "UPTIME_FAILURES", Preset::Always("2");
    /// How many checks in a row must succeed until a service is up again, timed from the first.
    uptime_successes: Number<1, 100> = "UPTIME_SUCCESSES", Preset::Always("2");
    /// For how many days the history of services is kept.
    uptime_max_age_days: Number<1, 36_500> = "UPTIME_MAX_AGE_DAYS", Preset::Always("400");
}
