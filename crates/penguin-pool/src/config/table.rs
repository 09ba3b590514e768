//! What a setting is, and the macro that turns the table into the struct, the parser and the descriptions.

use super::Environment;

/// One setting, as people read about it.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The variable's name.
    pub name: &'static str,
    /// What it is for, in Markdown.
    pub doc: &'static str,
    /// What holds where nobody says anything.
    pub preset: Preset,
    /// What may be written, in words.
    pub form: fn() -> String,
    /// Whether its value must never be shown.
    pub secret: bool,
}

/// A default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// The same everywhere.
    Always(&'static str),
    /// One value in dev and test, another in staging and mainnet.
    ByReach {
        /// In dev and test.
        local: &'static str,
        /// In staging and mainnet.
        public: &'static str,
    },
    /// None: the setting is empty unless somebody sets it.
    Unset,
}

impl Preset {
    /// The default in an environment; empty for none.
    #[must_use]
    pub const fn text(self, environment: Environment) -> &'static str {
        match self {
            Self::Always(text) => text,
            Self::ByReach { local, public } => {
                if environment.is_public() {
                    public
                } else {
                    local
                }
            }
            Self::Unset => "",
        }
    }
}

/// Writes `Settings`, its `TABLE`, its parser and its rows from one line a setting:
/// `/// what it is for` then `field: Type = "NAME", preset;`.
macro_rules! settings {
    ($( $(#[doc = $doc:literal])+ $field:ident : $type:ty = $name:literal, $preset:expr; )*) => {
        /// The values in force; each field is the setting of the same name in capitals.
        #[derive(Debug, Clone)]
        pub struct Settings {
            $( $(#[doc = $doc])+ pub $field: $type, )*
        }

        impl Settings {
            /// Every setting, in the order in which people read about them.
            pub const TABLE: &'static [Setting] = &[
                $( Setting {
                    name: $name,
                    doc: concat!($($doc),+),
                    preset: $preset,
                    form: <$type as Value>::form,
                    secret: <$type as Value>::SECRET,
                }, )*
            ];

            /// Parses every setting from the layers, and says where each came from; or every fault.
            pub(super) fn read(
                layers: &Layers,
            ) -> Result<(Self, std::collections::BTreeMap<&'static str, Origin>), Vec<String>> {
                let mut origins = std::collections::BTreeMap::new();
                let mut faults = Vec::new();
                $( let $field = layers.read::<$type>($name, $preset, &mut origins, &mut faults); )*
                match ($($field,)*) {
                    ($(Some($field),)*) => Ok((Self { $($field),* }, origins)),
                    _ => Err(faults),
                }
            }

            /// The values in force as text, in the table's order; secrets are masked.
            pub(super) fn shown(&self) -> Vec<(&'static str, String)> {
                vec![$( ($name, self.$field.show()), )*]
            }
        }
    };
}
pub(super) use settings;
