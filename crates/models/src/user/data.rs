//! What users' data says, by type. Only what is known here is held to rules: other fields are kept as they come.

use crate::DateTime;
use garde::Validate;
use schemars::JsonSchema;
use serde::Deserialize;

/// Declares a type of user data: every field that is left out is not there, and fields that are not known are free.
macro_rules! data {
    ($(#[$attribute:meta])* $name:ident { $($fields:tt)* }) => {
        #[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema, Validate)]
        #[serde(rename_all = "camelCase")]
        $(#[$attribute])*
        pub struct $name { $($fields)* }
    };
}

data! {
    /// Who a user is. Other fields are kept as they come.
    #[schemars(example = serde_json::json!({ "displayName": "Bob", "email": "bob@example.org", "country": "NO" }))]
    UserProfile {
        /// The name that others see.
        #[garde(length(chars, min = 1, max = 100))]
        pub display_name: Option<String>,
        /// The whole name.
        #[garde(length(chars, min = 1, max = 200))]
        pub full_name: Option<String>,
        /// An electronic mail address.
        #[garde(length(chars, max = 254), pattern(r"^[^\x00-\x20@]+@[^\x00-\x20@]+$"))]
        pub email: Option<String>,
        /// A telephone number, with its country's code.
        #[garde(pattern(r"^\+[0-9 ()-]{4,30}$"))]
        pub phone: Option<String>,
        /// Some words about the user.
        #[garde(length(chars, max = 2000))]
        pub bio: Option<String>,
        /// Where a picture of the user is.
        #[garde(length(chars, max = 2048), pattern(r"^https?://[^\x00-\x20]+$"))]
        pub avatar_url: Option<String>,
        /// The country, by its two letters (ISO 3166-1).
        #[garde(pattern(r"^[A-Z]{2}$"))]
        pub country: Option<String>,
        /// The day of birth (RFC 3339).
        #[garde(pattern(r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"))]
        pub date_of_birth: Option<String>,
    }
}

data! {
    /// What a user likes. Other fields are kept as they come.
    #[schemars(example = serde_json::json!({ "language": "en-GB", "currency": "EUR", "notifications": { "email": true } }))]
    UserPreferences {
        /// The language, as a tag (BCP 47).
        #[garde(pattern(r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$"))]
        pub language: Option<String>,
        /// The currency to reckon in.
        #[garde(dive)]
        pub currency: Option<Currency>,
        /// The time zone, by its name (IANA).
        #[garde(pattern(r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$"), length(chars, max = 64))]
        pub time_zone: Option<String>,
        /// How the app looks.
        #[garde(skip)]
        pub theme: Option<Theme>,
        /// What the user wants to be told, and how.
        #[garde(skip)]
        pub notifications: Option<UserNotifications>,
    }
}

data! {
    /// What a user wants to be told, and how.
    UserNotifications {
        /// By electronic mail.
        #[garde(skip)]
        pub email: Option<bool>,
        /// On the user's devices.
        #[garde(skip)]
        pub push: Option<bool>,
        /// By text message.
        #[garde(skip)]
        pub sms: Option<bool>,
        /// Before a loan is due.
        #[garde(skip)]
        pub loan_reminders: Option<bool>,
        /// When an offer fits.
        #[garde(skip)]
        pub new_offers: Option<bool>,
    }
}

data! {
    /// What a user did. Other fields are kept as they come.
    #[schemars(example = serde_json::json!({ "lastSeenAt": "2024-01-15T10:30:00.000Z", "lastAction": "loan-requested" }))]
    UserActivity {
        /// When the user was here last.
        #[garde(skip)]
        pub last_seen_at: Option<DateTime>,
        /// What the user did last.
        #[garde(length(chars, min = 1, max = 200))]
        pub last_action: Option<String>,
        /// What the user did of late.
        #[garde(length(max = 1000), dive)]
        pub recent: Option<Vec<UserAction>>,
    }
}

data! {
    /// Something that a user did.
    UserAction {
        /// What.
        #[garde(length(chars, min = 1, max = 200))]
        pub action: String,
        /// When.
        #[garde(skip)]
        pub at: DateTime,
    }
}

data! {
    /// A loan that a user took. Other fields are kept as they come.
    #[schemars(example = serde_json::json!({ "amount": 250.5, "currency": "EUR", "interestRate": 4.5, "termDays": 90, "status": "active" }))]
    UserLoan {
        /// How much was lent.
        #[garde(range(min = 0.0))]
        pub amount: f64,
        /// In which currency.
        #[garde(dive)]
        pub currency: Currency,
        /// How it stands.
        #[garde(skip)]
        pub status: LoanStatus,
        /// Interest, in percent a year.
        #[garde(range(min = 0.0, max = 1000.0))]
        pub interest_rate: Option<f64>,
        /// For how many days.
        #[garde(range(min = 1, max = 36500))]
        pub term_days: Option<u32>,
        /// Who lends.
        #[garde(length(chars, min = 1, max = 200))]
        pub lender_id: Option<String>,
        /// The offer that led to it.
        #[garde(length(chars, min = 1, max = 200))]
        pub offer_id: Option<String>,
        /// How much was paid back.
        #[garde(range(min = 0.0))]
        pub repaid_amount: Option<f64>,
        /// When it began.
        #[garde(skip)]
        pub started_at: Option<DateTime>,
        /// When it is to be paid back.
        #[garde(skip)]
        pub due_at: Option<DateTime>,
        /// What it is for.
        #[garde(length(chars, max = 2000))]
        pub purpose: Option<String>,
    }
}

data! {
    /// A loan that a user offers. Other fields are kept as they come.
    #[schemars(example = serde_json::json!({ "amount": 1000, "currency": "EUR", "interestRate": 3.9, "maxTermDays": 365, "status": "open" }))]
    UserOffer {
        /// How much is offered.
        #[garde(range(min = 0.0))]
        pub amount: f64,
        /// In which currency.
        #[garde(dive)]
        pub currency: Currency,
        /// How it stands.
        #[garde(skip)]
        pub status: OfferStatus,
        /// Interest, in percent a year.
        #[garde(range(min = 0.0, max = 1000.0))]
        pub interest_rate: Option<f64>,
        /// For how many days at the least.
        #[garde(range(min = 1, max = 36500))]
        pub min_term_days: Option<u32>,
        /// For how many days at the most.
        #[garde(range(min = 1, max = 36500))]
        pub max_term_days: Option<u32>,
        /// Until when it stands.
        #[garde(skip)]
        pub valid_until: Option<DateTime>,
        /// Some words about it.
        #[garde(length(chars, max = 2000))]
        pub description: Option<String>,
    }
}

/// A currency, by its code: 2 to 10 capital letters and digits (ISO 4217's three letters, say).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema, Validate)]
#[serde(transparent)]
#[garde(transparent)]
#[schemars(example = &"EUR")]
pub struct Currency(#[garde(pattern(r"^[A-Z0-9]{2,10}$"))] String);

impl Currency {
    /// The code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Currency {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

/// Declares how something stands, by names that a query can ask for.
macro_rules! words {
    ($(#[$attribute:meta])* $name:ident { $($(#[$about:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($(#[$about])* $variant,)* }

        impl $name {
            /// Its name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(format!("'{text}' is none of {}", [$($word),*].join(", "))),
                }
            }
        }
    };
}

words! {
    /// How the app looks.
    Theme {
        /// Dark on light.
        Light = "light",
        /// Light on dark.
        Dark = "dark",
        /// As the device does.
        System = "system",
    }
}

words! {
    /// How a loan stands.
    LoanStatus {
        /// Asked for.
        Requested = "requested",
        /// Lent, and not yet paid back.
        Active = "active",
        /// Paid back.
        Repaid = "repaid",
        /// Not paid back in time.
        Overdue = "overdue",
        /// Given up as lost.
        Defaulted = "defaulted",
        /// Called off before anything was lent.
        Cancelled = "cancelled",
    }
}

words! {
    /// How an offer stands.
    OfferStatus {
        /// It can be taken.
        Open = "open",
        /// It cannot be taken for now.
        Paused = "paused",
        /// Somebody took it.
        Taken = "taken",
        /// It is over.
        Closed = "closed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn free_fields_stand_beside_those_that_are_known() {
        let loan = json!({ "amount": 1, "currency": "EUR", "status": "active", "pool": { "deep": [1] } });
        let loan: UserLoan = serde_json::from_value(loan).unwrap();
        assert!(loan.validate().is_ok());
        assert_eq!(loan.status, LoanStatus::Active);
    }

    #[test]
    fn what_is_known_keeps_its_rules() {
        let profile = |field: &str, value: &str| {
            let profile: UserProfile = serde_json::from_value(json!({ field: value })).unwrap();
            profile.validate().is_ok()
        };
        assert!(profile("email", "bob@example.org") && !profile("email", "bob"));
        assert!(profile("country", "NO") && !profile("country", "no"));
        assert!(profile("dateOfBirth", "1990-02-28") && !profile("dateOfBirth", "1990-13-01"));
        assert!(profile("avatarUrl", "https://a/b") && !profile("avatarUrl", "javascript:x"));
        let offer = json!({ "amount": -1, "currency": "euro", "status": "open" });
        let offer: UserOffer = serde_json::from_value(offer).unwrap();
        assert_eq!(offer.validate().unwrap_err().iter().count(), 2);
        assert!("lent".parse::<LoanStatus>().unwrap_err().contains("requested, active"));
    }
}
