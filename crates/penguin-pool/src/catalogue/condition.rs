//! Conditions on events' data. Numbers are compared as the decimals that they are, however many digits they have.

use super::{CatalogueError, Condition, Operator, Result, content};
use serde_json::value::RawValue;
use std::{borrow::Cow, cmp::Ordering};

/// A condition made ready.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    path: Vec<String>,
    op: Operator,
    value: String,
}

/// Makes conditions ready.
///
/// # Errors
/// [`CatalogueError::Invalid`] naming the first that makes no sense.
pub(super) fn ready(conditions: &[Condition]) -> Result<Vec<Ready>> {
    conditions.iter().enumerate().map(|(index, condition)| one(index, condition)).collect()
}

fn one(index: usize, condition: &Condition) -> Result<Ready> {
    let path = content::pointer(&condition.path).ok_or_else(|| {
        CatalogueError::invalid(
            format!("where.{index}.path"),
            "must be a JSON Pointer: empty, or steps that each begin with '/'",
        )
    })?;
    let invalid = |message: &str| Err(CatalogueError::invalid(format!("where.{index}.value"), message));
    let value = condition.value.as_deref().map(|value| value.get().trim());
    let kind = value.and_then(|value| value.bytes().next());
    match condition.op {
        Operator::Exists if !matches!(value, None | Some("true" | "false")) => {
            return invalid("must be true or false for 'exists'");
        }
        Operator::Exists => {}
        _ if value.is_none() => return invalid("is needed by this operator"),
        Operator::Lt | Operator::Lte | Operator::Gt | Operator::Gte
            if !matches!(kind, Some(b'"' | b'-' | b'0'..=b'9')) =>
        {
            return invalid("must be a number or a text for this operator");
        }
        _ => {}
    }
    Ok(Ready { path, op: condition.op, value: value.unwrap_or("true").to_owned() })
}

impl Ready {
    /// Whether sound JSON data fulfils it.
    pub(super) fn holds(&self, data: &str) -> bool {
        let found = content::find(data, &self.path);
        let Some(found) = found.as_deref() else {
            return self.op == Operator::Ne || (self.op == Operator::Exists && self.value == "false");
        };
        let order =
            |wanted: &[Ordering]| compare(found, &self.value).is_some_and(|order| wanted.contains(&order));
        match self.op {
            Operator::Eq => same(found, &self.value),
            Operator::Ne => !same(found, &self.value),
            Operator::Lt => order(&[Ordering::Less]),
            Operator::Lte => order(&[Ordering::Less, Ordering::Equal]),
            Operator::Gt => order(&[Ordering::Greater]),
            Operator::Gte => order(&[Ordering::Greater, Ordering::Equal]),
            Operator::Exists => self.value == "true",
            Operator::Contains => match found.as_bytes().first() {
                Some(b'[') => content::elements(found).into_iter().any(|element| same(element, &self.value)),
                Some(b'"') if self.value.starts_with('"') => {
                    text(found).zip(text(&self.value)).is_some_and(|(all, part)| all.contains(part.as_ref()))
                }
                _ => false,
            },
        }
    }
}

/// Whether two pieces of JSON say the same.
fn same(a: &str, b: &str) -> bool {
    let kind = |json: &str| match json.as_bytes().first() {
        Some(b'-' | b'0'..=b'9') => b'0',
        Some(first) => *first,
        None => 0,
    };
    if kind(a) != kind(b) {
        return false;
    }
    match kind(a) {
        b'0' | b'"' => compare(a, b) == Some(Ordering::Equal),
        b'[' => {
            let (a, b) = (content::elements(a), content::elements(b));
            a.len() == b.len() && a.into_iter().zip(b).all(|(a, b)| same(a, b))
        }
        b'{' => {
            let (a, b) = (content::members(a), content::members(b));
            a.len() == b.len()
                && a.iter()
                    .all(|(key, a)| b.get(key).map(|b| RawValue::get(b)).is_some_and(|b| same(a.get(), b)))
        }
        _ => a == b,
    }
}

/// The order of two numbers or of two texts; nothing for anything else.
fn compare(a: &str, b: &str) -> Option<Ordering> {
    let is_number = |json: &str| matches!(json.as_bytes().first(), Some(b'-' | b'0'..=b'9'));
    match (is_number(a), is_number(b)) {
        (true, true) => Some(Decimal::of(a).cmp(&Decimal::of(b))),
        (false, false) => Some(text(a)?.cmp(&text(b)?)),
        _ => None,
    }
}

fn text(json: &str) -> Option<Cow<'_, str>> {
    if !json.starts_with('"') {
        return None;
    }
    // Borrowed where there is no escape in it.
    match serde_json::from_str::<&str>(json) {
        Ok(text) => Some(Cow::Borrowed(text)),
        Err(_) => serde_json::from_str::<String>(json).ok().map(Cow::Owned),
    }
}

/// A JSON number: `0.d₁d₂d₃… × 10^exponent`, negative or not. Zero has no digits.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    exponent: i128,
    digits: Vec<u8>,
}

impl Decimal {
    fn of(json: &str) -> Self {
        let (negative, rest) = json.strip_prefix('-').map_or((false, json), |rest| (true, rest));
        let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let zeros = digits.iter().take_while(|d| **d == b'0').count();
        let end = digits.len() - digits.iter().rev().take_while(|d| **d == b'0').count();
        if zeros >= end {
            return Self { negative: false, exponent: 0, digits: Vec::new() };
        }
        // An exponent that fits no i64 is as good as endless; its sign alone matters.
        let said =
            exponent.parse::<i64>().unwrap_or(if exponent.starts_with('-') { i64::MIN } else { i64::MAX });
        let point = whole.len() as i128 - zeros as i128;
        Self { negative, exponent: i128::from(said) + point, digits: digits[zeros..end].to_vec() }
    }

    fn sign(&self) -> i8 {
        match (self.digits.is_empty(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let size = || self.exponent.cmp(&other.exponent).then_with(|| self.digits.cmp(&other.digits));
        self.sign().cmp(&other.sign()).then_with(|| if self.negative { size().reverse() } else { size() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn holds(op: Operator, path: &str, value: &str, data: &str) -> bool {
        let value = Some(RawValue::from_string(value.to_owned()).unwrap());
        ready(&[Condition { path: path.to_owned(), op, value }]).unwrap()[0].holds(data)
    }

    #[test]
    fn numbers_are_compared_to_the_last_digit() {
        let data = r#"{"n":9007199254740993,"m":1.0e2,"z":-0.0,"big":1e400}"#;
        assert!(holds(Operator::Eq, "/n", "9007199254740993", data));
        assert!(!holds(Operator::Eq, "/n", "9007199254740992", data));
        assert!(holds(Operator::Gt, "/n", "9007199254740992.9999", data));
        assert!(holds(Operator::Eq, "/m", "100", data));
        assert!(holds(Operator::Eq, "/z", "0", data));
        assert!(holds(Operator::Gt, "/big", "1e399", data));
        assert!(holds(Operator::Lt, "/z", "0.0000001", data));
    }

    #[test]
    fn what_is_not_there_is_only_not_equal() {
        assert!(holds(Operator::Ne, "/x", "1", "{}"));
        assert!(holds(Operator::Exists, "/x", "false", "{}"));
        assert!(holds(Operator::Exists, "/x", "true", r#"{"x":null}"#));
        for op in [Operator::Eq, Operator::Lt, Operator::Lte, Operator::Gt, Operator::Gte, Operator::Contains]
        {
            assert!(!holds(op, "/x", "1", "{}"), "{op:?}");
        }
    }

    #[test]
    fn values_are_the_same_by_what_they_say() {
        assert!(holds(Operator::Eq, "", r#"{"b":[1.0,"\u0061"],"a":null}"#, r#"{"a":null,"b":[1,"a"]}"#));
        assert!(!holds(Operator::Eq, "/a", r#""1""#, r#"{"a":1}"#));
        assert!(holds(Operator::Contains, "/t", "2.0", r#"{"t":[1,2]}"#));
        assert!(holds(Operator::Contains, "/t", r#""eng""#, r#"{"t":"pengu\u0069n"}"#));
        assert!(holds(Operator::Lt, "/t", r#""b""#, r#"{"t":"a"}"#));
        assert!(!holds(Operator::Lt, "/t", "5", r#"{"t":"a"}"#));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let refused = |op, path: &str, value: Option<&str>| {
            let value = value.map(|v| RawValue::from_string(v.to_owned()).unwrap());
            match ready(&[Condition { path: path.to_owned(), op, value }]) {
                Err(CatalogueError::Invalid { path, .. }) => path,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(refused(Operator::Eq, "x", Some("1")), "where.0.path");
        assert_eq!(refused(Operator::Eq, "/x", None), "where.0.value");
        assert_eq!(refused(Operator::Lt, "/x", Some("true")), "where.0.value");
        assert_eq!(refused(Operator::Exists, "/x", Some("1")), "where.0.value");
    }

    proptest! {
        #[test]
        fn decimals_are_ordered_as_the_integers_they_are(a: i64, b: i64, zeros in 0_usize..4, shift in 0_u32..6) {
            let scaled = |n: i64| format!("{n}{}.{}", "0".repeat(shift as usize), "0".repeat(zeros + 1));
            prop_assert_eq!(compare(&scaled(a), &format!("{b}e{shift}")), Some(a.cmp(&b)));
        }
    }
}
