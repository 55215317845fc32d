//! Owns numbers as people write them: with currency or percent signs, with spaces of many kinds between groups,
//! negative ones in parentheses or with the minus behind them. What is left is a number for [`crate::domain::decimal`].
//!
//! The currency signs are those of the Unicode category Sc.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How negative numbers are written, besides a minus in front.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Negative {
    /// In no other way.
    #[default]
    Leading,
    /// With the minus behind: `12.50-`.
    Trailing,
    /// In parentheses, as bookkeepers do: `(12.50)`.
    Parentheses,
}

/// What stands around a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Nothing.
    None,
    /// A percent sign.
    Percent,
    /// The sign, the code or the short name of a currency, or nothing.
    Currency,
}

/// How a text holds a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NumberText {
    pub(super) unit: Unit,
    pub(super) negative: Negative,
    /// See [`crate::domain::decimal::DecimalNotation`].
    pub(super) group_separator: Option<u8>,
}

/// Short names that are no codes. Longer ones first where one begins another.
const NAMES: [&str; 18] = [
    "kr.", "kr", "zł", "Kč", "Ft", "lei", "SFr.", "Fr.", "fr.", "Rs.", "Rs", "RM", "Rp", "лв.",
    "лв", "руб.", "ден", "R",
];

impl NumberText {
    /// Nothing stands around numbers.
    pub(super) const PLAIN: Self =
        Self { unit: Unit::None, negative: Negative::Leading, group_separator: None };

    /// The number alone, with its sign in front; `None` when the text is not written like that.
    pub(super) fn number<'t>(&self, text: &'t str) -> Option<Cow<'t, str>> {
        let text = text.trim();
        if text.is_ascii() && self.unit == Unit::None && self.negative == Negative::Leading {
            return Some(Cow::Borrowed(text));
        }
        let money = self.unit == Unit::Currency;
        let (mut rest, mut negative) = (text, None);
        let parentheses = money || self.negative == Negative::Parentheses;
        let trailing = money || self.negative == Negative::Trailing;
        let mut units = 0;
        loop {
            if let Some((minus, behind)) = sign(rest).filter(|_| negative.is_none()) {
                (negative, rest) = (Some(minus), behind.trim_start());
            } else if let Some(whole) = without_cents(rest).filter(|_| money) {
                rest = whole;
            } else if let Some(before) =
                rest.strip_suffix(MINUS).filter(|_| trailing && negative.is_none())
            {
                (negative, rest) = (Some(true), before.trim_end());
            } else if let Some(inner) =
                in_parentheses(rest).filter(|_| parentheses && negative.is_none())
            {
                (negative, rest) = (Some(true), inner.trim());
            } else if let Some(less) = self.without_unit(rest) {
                (units, rest) = (units + 1, less);
            } else {
                break;
            }
        }
        let is_whole = match self.unit {
            Unit::None => true,
            Unit::Percent => units == 1,
            Unit::Currency => units <= 1,
        };
        // A sign that is left is one too many.
        if !is_whole || sign(rest).is_some() || rest.ends_with(MINUS) && negative.is_some() {
            return None;
        }
        let sign = if negative == Some(true) { "-" } else { "" };
        Some(Cow::Owned(format!("{sign}{}", self.with_plain_groups(rest))))
    }

    /// The text without the unit at its beginning or end.
    fn without_unit<'t>(&self, text: &'t str) -> Option<&'t str> {
        match self.unit {
            Unit::None => None,
            Unit::Percent => {
                let less = text.strip_suffix(['%', '٪', '％']).map(str::trim_end);
                less.or_else(|| text.strip_prefix('%').map(str::trim_start))
            }
            Unit::Currency => {
                // A point may be one of the number, or of the name: `Fr. 5`, `kr .5`.
                let begins = ["+-−(", "+-−(.,"]
                    .map(|others| text.find(|c: char| c.is_ascii_digit() || others.contains(c)));
                let units = begins.into_iter().flatten().map(|at| text[..at].trim_end());
                if let Some(unit) = units.into_iter().find(|unit| is_currency(unit)) {
                    return Some(text[unit.len()..].trim_start());
                }
                let end = text.rfind(|c: char| c.is_ascii_digit() || "-−)".contains(c))?;
                let digit = text[end..].chars().next().map_or(1, char::len_utf8);
                let tail = &text[end + digit..];
                // What separates fractions may stand at the end of a number: `5. €`.
                let unit = tail.trim_start_matches(['.', ',', '\u{2013}', '\u{2014}']).trim_start();
                (!unit.is_empty() && is_currency(unit.trim_end()))
                    .then(|| text[..text.len() - unit.len()].trim_end())
            }
        }
    }

    /// The spaces and apostrophes that stand between groups, each kind as the one that is declared.
    fn with_plain_groups<'t>(&self, number: &'t str) -> Cow<'t, str> {
        let plain = |c: char| match (self.group_separator, c) {
            (Some(b' '), '\u{a0}' | '\u{2007}' | '\u{2009}' | '\u{202f}') => ' ',
            (Some(b'\''), '\u{2019}' | '\u{02bc}') => '\'',
            _ => c,
        };
        match number.is_ascii() {
            true => Cow::Borrowed(number),
            false => Cow::Owned(number.chars().map(plain).collect()),
        }
    }
}

/// The minus of keyboards, and that of typographers.
const MINUS: [char; 2] = ['-', '\u{2212}'];

/// Whether a sign is a minus, and what stands behind it.
fn sign(text: &str) -> Option<(bool, &str)> {
    let minus = text.strip_prefix(MINUS).map(|rest| (true, rest));
    minus.or_else(|| text.strip_prefix('+').map(|rest| (false, rest)))
}

/// The text without the dash that stands for no cents, as in `5.-` and `100,–`, if one ends it.
fn without_cents(text: &str) -> Option<&str> {
    let before = text.strip_suffix(['-', '\u{2212}', '\u{2013}', '\u{2014}'])?;
    before.strip_suffix(['.', ',']).filter(|whole| whole.ends_with(|c: char| c.is_ascii_digit()))
}

fn in_parentheses(text: &str) -> Option<&str> {
    text.strip_prefix('(').and_then(|inner| inner.strip_suffix(')'))
}

/// What may stand in front of a sign, or behind it, to tell the dollars and pounds of countries apart. Other letters
/// are none: `M€` is a million.
const COUNTRIES: [&str; 22] = [
    "US", "CA", "C", "AU", "A", "NZ", "HK", "NT", "SG", "S", "R", "MX", "Mex", "CL", "AR", "CO",
    "BZ", "TT", "J", "GB", "E", "NAM",
];

/// The codes of ISO 4217 that are in use.
const CODES: &str = "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN \
    BZD CAD CDF CHF CLF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF \
    GTQ GYD HKD HNL HRK HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR \
    LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP \
    PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP \
    TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWG";

/// A sign, perhaps of a country (`US$`, `R$`); a code; or a short name.
fn is_currency(unit: &str) -> bool {
    let is_code = unit.len() == 3 && CODES.split_ascii_whitespace().any(|code| code == unit);
    let is_sign = |sign: Option<char>, letters: &str| {
        sign.is_some_and(is_currency_sign) && (letters.is_empty() || COUNTRIES.contains(&letters))
    };
    let (mut from_end, mut from_start) = (unit.chars(), unit.chars());
    let (last, first) = (from_end.next_back(), from_start.next());
    is_code
        || is_sign(last, from_end.as_str())
        || is_sign(first, from_start.as_str())
        || NAMES.contains(&unit)
}

fn is_currency_sign(c: char) -> bool {
    matches!(
        c,
        '$' | '£'..='¥'
            | '\u{58f}' | '\u{60b}' | '\u{7fe}' | '\u{7ff}' | '\u{9f2}' | '\u{9f3}' | '\u{9fb}'
            | '\u{af1}' | '\u{bf9}' | '\u{e3f}' | '\u{17db}' | '\u{20a0}'..='\u{20cf}'
            | '\u{a838}' | '\u{fdfc}' | '\u{fe69}' | '\u{ff04}' | '\u{ffe0}' | '\u{ffe1}'
            | '\u{ffe5}' | '\u{ffe6}' | '\u{1e2ff}' | '\u{1ecb0}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAIN: NumberText = NumberText::PLAIN;
    const MONEY: NumberText = NumberText { unit: Unit::Currency, ..PLAIN };
    const PERCENT: NumberText = NumberText { unit: Unit::Percent, ..PLAIN };

    fn number(how: NumberText, text: &str) -> Option<String> {
        how.number(text).map(Cow::into_owned)
    }

    #[test]
    fn currencies_are_taken_off_wherever_they_stand_and_whatever_they_are() {
        for (text, expected) in [
            ("12.50", "12.50"),
            ("€ 12,50", "12,50"),
            ("12,50 €", "12,50"),
            ("12,50\u{a0}€", "12,50"),
            ("US$12.50", "12.50"),
            ("R$ 12,50", "12,50"),
            ("EUR 12.50", "12.50"),
            ("12.50EUR", "12.50"),
            ("Fr. 12.50", "12.50"),
            ("kr 5", "5"),
            ("5 kr.", "5"),
            ("12 zł", "12"),
            ("₹1,00,000", "1,00,000"),
            ("-$5", "-5"),
            ("$-5", "-5"),
            ("−5 €", "-5"),
            ("($5.00)", "-5.00"),
            ("$ (5.00)", "-5.00"),
            ("5.00-", "-5.00"),
            ("5.00- EUR", "-5.00"),
            ("100,-", "100"),
            ("5.- CHF", "5"),
            ("CHF 49,–", "49"),
            ("-5,- €", "-5"),
            ("1.250,– €", "1.250"),
            ("5.00 EUR-", "-5.00"),
            ("+5", "5"),
            (".5 $", ".5"),
        ] {
            assert_eq!(number(MONEY, text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_sum_of_money_is_none() {
        for text in ["--5", "-5-", "(-5)", "$5$", "€ 5 EUR", "+-5"] {
            assert_eq!(number(MONEY, text), None, "{text}");
        }
        for text in [
            "5 pcs",
            "5 PCS",
            "about 5",
            "5 €uro cents",
            "A5",
            "1 M€",
            "12 k€",
            "3 MIO",
            "5 €m",
            "99 ¢",
        ] {
            let left = number(MONEY, text).expect("no sign too many");
            assert!(left.contains(|c: char| c.is_alphabetic() || c == '¢'), "{text}: {left}");
        }
    }

    #[test]
    fn a_percentage_has_one_sign() {
        for (text, expected) in [
            ("12.5%", Some("12.5")),
            ("12,5 %", Some("12,5")),
            ("-3\u{a0}%", Some("-3")),
            ("%5", Some("5")),
            ("5", None),
            ("5%%", None),
        ] {
            assert_eq!(number(PERCENT, text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_minus_stands_where_it_is_declared_or_in_front() {
        let trailing = NumberText { negative: Negative::Trailing, ..PLAIN };
        let parentheses = NumberText { negative: Negative::Parentheses, ..PLAIN };
        assert_eq!(number(trailing, "12.50-").as_deref(), Some("-12.50"));
        assert_eq!(number(trailing, "-12.50").as_deref(), Some("-12.50"));
        assert_eq!(number(trailing, "-12.50-"), None);
        assert_eq!(number(parentheses, "(12.50)").as_deref(), Some("-12.50"));
        assert_eq!(number(parentheses, "( 12 )").as_deref(), Some("-12"));
        assert_eq!(number(parentheses, "(-12)"), None);
        assert_eq!(number(PLAIN, "(12.50)").as_deref(), Some("(12.50)"));
        assert_eq!(number(PLAIN, "12.50-").as_deref(), Some("12.50-"));
    }

    #[test]
    fn spaces_and_apostrophes_of_any_kind_stand_between_groups() {
        let spaces = NumberText { group_separator: Some(b' '), ..PLAIN };
        for text in ["1 234,50", "1\u{a0}234,50", "1\u{202f}234,50", "1\u{2009}234,50"] {
            assert_eq!(number(spaces, text).as_deref(), Some("1 234,50"), "{text:?}");
        }
        let apostrophes = NumberText { group_separator: Some(b'\''), ..PLAIN };
        assert_eq!(number(apostrophes, "1’234.50").as_deref(), Some("1'234.50"));
        assert_eq!(number(PLAIN, "1\u{a0}234").as_deref(), Some("1\u{a0}234"));
    }

    proptest! {
        #[test]
        fn no_digit_is_lost_added_or_moved(
            text in "[-+(]?(US\\$|€|EUR |kr )?[-+]?[0-9]{1,9}([.,' \u{a0}\u{202f}][0-9]{1,4}){0,3} ?(%|€|zł)?[-)]?"
        ) {
            let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
            for unit in [Unit::None, Unit::Percent, Unit::Currency] {
                for negative in [Negative::Leading, Negative::Trailing, Negative::Parentheses] {
                    for group_separator in [None, Some(b' '), Some(b'\'')] {
                        let how = NumberText { unit, negative, group_separator };
                        if let Some(number) = how.number(&text) {
                            prop_assert_eq!(digits(&number), digits(&text), "{}", number);
                        }
                    }
                }
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,12}") {
            for unit in [Unit::None, Unit::Percent, Unit::Currency] {
                let how = NumberText { unit, negative: Negative::Parentheses, group_separator: Some(b' ') };
                let _ = how.number(&text);
            }
        }
    }
}
