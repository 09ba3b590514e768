//! `penguin-pool user` and `penguin-pool key`: accounts and API keys, in the store that the settings name.

use super::{Failure, FailureCode, other, print};
use crate::{
    app,
    audit::Audit,
    config::{Config, EventStoreKind},
    security::{
        Identity, SHORTEST_PASSWORD,
        accounts::{Account, AccountError, ApiKey, NewAccount, Scope},
        password, random_password,
    },
    serve::unopenable,
    store::{self, Unopened},
};
use clap::{
    Args, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use event_store::{Clock as _, EventStore, RandomIds, SystemClock, Timestamp};
use event_store_embedded::OpenError;
use models::DateTime;
use secrecy::{ExposeSecret as _, SecretString};
use std::{fmt::Write as _, io::BufRead as _, sync::Arc, time::Duration};

/// Who makes changes from the command line, in the events.
pub(super) const BY: &str = "cli";

/// What to do with accounts.
#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Make an account. Its password is made up and printed, unless it comes on stdin.
    Add {
        /// What it logs in as: 1 to 64 letters, digits and '._-'.
        name: String,
        /// Its name for people.
        #[arg(long, default_value = "")]
        full_name: String,
        /// A role of it, such as admin; may be repeated.
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        #[command(flatten)]
        password: PasswordFrom,
    },
    /// Give an account another password, made up and printed unless it comes on stdin. Its tokens end.
    Passwd {
        /// The account.
        name: String,
        /// Revoke all its API keys too, which stay good otherwise.
        #[arg(long)]
        revoke_keys: bool,
        #[command(flatten)]
        password: PasswordFrom,
    },
    /// Let nobody in with an account until it is enabled again.
    Disable {
        /// The account.
        name: String,
    },
    /// Let an account in again.
    Enable {
        /// The account.
        name: String,
    },
    /// Delete an account, and its API keys.
    Rm {
        /// The account.
        name: String,
    },
    /// List all accounts.
    Ls,
}

/// Where a password comes from.
#[derive(Debug, Args)]
pub(super) struct PasswordFrom {
    /// Take the password from stdin: its first line.
    #[arg(long)]
    password_stdin: bool,
}

/// What to do with API keys.
#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key for an account, and print it: it is kept nowhere, and never shown again.
    Add {
        /// The account that it acts for.
        user: String,
        /// What it is for.
        #[arg(long, default_value = "")]
        label: String,
        /// How much of what the account may do it is good for.
        #[arg(long, value_parser = scopes(), default_value = Scope::Read.as_str())]
        scope: Scope,
        /// For how many days it is good; without end if 0.
        #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u64).range(0..=3650))]
        days: u64,
    },
    /// Revoke a key.
    Rm {
        /// Its id: what stands between 'pp_' and the next '_'.
        id: String,
    },
    /// List all keys.
    Ls,
}

/// The scopes, as the command line writes them.
fn scopes() -> impl TypedValueParser<Value = Scope> {
    PossibleValuesParser::new(Scope::ALL.map(Scope::as_str))
        .map(|text| Scope::ALL.into_iter().find(|scope| scope.as_str() == text).unwrap_or_default())
}

/// The store of the settings, and identity over it. Where a trail is kept, what is done here stands in it too, in a chain
/// of its own.
struct Opened {
    store: Arc<dyn EventStore>,
    identity: Identity,
    audit: Option<Audit>,
}

impl Opened {
    async fn open(config: &Config) -> Result<Self, Failure> {
        let data = &config.settings.data_dir;
        if config.settings.event_store == EventStoreKind::Embedded && data.path().is_none() {
            let message = "DATA_DIR: ':memory:' keeps no accounts; write a directory".to_owned();
            return Err(Failure { code: FailureCode::Data, message });
        }
        let (clock, ids) = (Arc::new(SystemClock), Arc::new(RandomIds));
        let opened = store::open(config, clock.clone(), ids.clone()).await;
        let store = opened.map_err(|e| {
            let in_use = matches!(e, Unopened::Embedded(OpenError::Locked(_)));
            let mut failure = unopenable(data, e);
            if in_use {
                failure.message.push_str(
                    "; or leave it running, and manage accounts at /api/auth/accounts and keys at /api/auth/keys of the service",
                );
            }
            failure
        })?;
        let audit = app::trail(&config.settings, Arc::clone(&store), clock.clone(), ids.clone());
        let identity = app::identity(&config.settings, Arc::clone(&store), clock, ids, audit.clone());
        Ok(Self { store, identity: identity.map_err(other)?, audit })
    }

    async fn close(self) -> Result<(), Failure> {
        drop(self.identity);
        if let Some(audit) = self.audit {
            audit.stop().await;
        }
        self.store.close().await.map_err(other)
    }
}

/// Does something with accounts.
pub(super) async fn user(config: Config, command: UserCommand) -> Result<(), Failure> {
    let opened = Opened::open(&config).await?;
    let done = user_in(&opened.identity, command).await;
    opened.close().await?;
    print(&done?)
}

async fn user_in(identity: &Identity, command: UserCommand) -> Result<String, Failure> {
    let accounts = identity.accounts();
    match command {
        UserCommand::Add { name, full_name, roles, password } => {
            let password = password.take()?;
            let hash = identity.passwords().hash(password.text.clone()).await.map_err(other)?;
            let account = NewAccount { login_name: name.clone(), full_name, roles, hash };
            accounts.create(account, BY).await.map_err(refused)?;
            Ok(format!("The account '{name}' was made\n{}", password.shown()))
        }
        UserCommand::Passwd { name, revoke_keys, password } => {
            let password = password.take()?;
            let hash = identity.passwords().hash(password.text.clone()).await.map_err(other)?;
            let keys = if revoke_keys {
                accounts.set_password_and_revoke_keys(&name, hash, BY).await.map_err(refused)?;
                ", and its API keys are revoked"
            } else {
                accounts.set_password(&name, hash, BY).await.map_err(refused)?;
                ""
            };
            Ok(format!("The account '{name}' has another password{keys}\n{}", password.shown()))
        }
        UserCommand::Disable { name } => {
            accounts.set_enabled(&name, false, BY).await.map_err(refused)?;
            Ok(format!("The account '{name}' is disabled\n"))
        }
        UserCommand::Enable { name } => {
            accounts.set_enabled(&name, true, BY).await.map_err(refused)?;
            Ok(format!("The account '{name}' is enabled\n"))
        }
        UserCommand::Rm { name } => {
            accounts.delete(&name, BY).await.map_err(refused)?;
            Ok(format!("The account '{name}' was deleted\n"))
        }
        UserCommand::Ls => Ok(list_accounts(&accounts.all().await.map_err(other)?)),
    }
}

/// Does something with API keys.
pub(super) async fn key(config: Config, command: KeyCommand) -> Result<(), Failure> {
    let opened = Opened::open(&config).await?;
    let done = key_in(&opened.identity, command).await;
    opened.close().await?;
    print(&done?)
}

async fn key_in(identity: &Identity, command: KeyCommand) -> Result<String, Failure> {
    let accounts = identity.accounts();
    match command {
        KeyCommand::Add { user, label, scope, days } => {
            let good_for = (days > 0).then(|| Duration::from_secs(days * 24 * 60 * 60));
            let key = accounts.create_key(&user, &label, scope, good_for, BY).await.map_err(refused)?;
            Ok(format!("{}\n", key.text.expose_secret()))
        }
        KeyCommand::Rm { id } => {
            accounts.revoke_key(&id, BY).await.map_err(refused)?;
            Ok(format!("The key '{id}' was revoked\n"))
        }
        KeyCommand::Ls => Ok(list_keys(&accounts.all_keys().await.map_err(other)?, SystemClock.now())),
    }
}

/// A password, and whether it was made up here.
struct Taken {
    text: SecretString,
    made_up: bool,
}

impl PasswordFrom {
    fn take(self) -> Result<Taken, Failure> {
        if !self.password_stdin {
            return Ok(Taken { text: random_password().map_err(other)?.into(), made_up: true });
        }
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line)?;
        let text = SecretString::from(line.trim_end_matches(['\r', '\n']));
        match password::fault(&text, SHORTEST_PASSWORD) {
            None => Ok(Taken { text, made_up: false }),
            Some(fault) => Err(other(fault)),
        }
    }
}

impl Taken {
    /// What is printed of it: nothing that the caller knows already.
    fn shown(&self) -> String {
        if self.made_up { format!("password: {}\n", self.text.expose_secret()) } else { String::new() }
    }
}

fn refused(error: AccountError) -> Failure {
    other(error)
}

fn list_accounts(accounts: &[Arc<Account>]) -> String {
    let mut text = String::new();
    for account in accounts {
        let state = if account.disabled { "disabled" } else { "enabled" };
        let Account { login_name, full_name, .. } = &**account;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{login_name}\t{state}\t{}\t{full_name}", account.roles.join(","));
    }
    text
}

fn list_keys(keys: &[Arc<ApiKey>], now: Timestamp) -> String {
    let mut text = String::new();
    for key in keys {
        let ends = match key.expires_at {
            None => "never ends".to_owned(),
            Some(end) if end <= now => "expired".to_owned(),
            Some(end) => format!("until {}", DateTime::from_millis(end.millis())),
        };
        let scope = key.scope.as_str();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}\t{}\t{scope}\t{ends}\t{}", key.id, key.login_name, key.label);
    }
    text
}
