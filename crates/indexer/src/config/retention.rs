//! Rules of retention: what is erased when it has become too old.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use store::erase::Rule;
use wire::{Generation, PayloadKind};

use super::{ConfigError, sections::refuse};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest age, a hundred years: the network is younger.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60 * 36_500);

/// One rule, as the file states it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a rule of retention is a table of the configuration file: [[retention]]"
)]
pub struct Retention {
    /// Only these generations, for example v1; all without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generations: Option<Vec<String>>,
    /// Only these kinds of payloads, for example message-v1; all without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kinds: Option<Vec<String>>,
    /// The age from which messages are erased, for example 90d.
    pub older_than: String,
}

impl Retention {
    /// An empty rule with every key, to list the keys that exist.
    pub(super) fn with_every_key() -> Self {
        Self { generations: Some(Vec::new()), kinds: Some(Vec::new()), older_than: String::new() }
    }

    fn rule(&self) -> Result<Rule, ConfigError> {
        Ok(Rule {
            generations: words(
                "retention.generations",
                "generation",
                self.generations.as_deref(),
                Generation::ALL,
                Generation::as_str,
            )?,
            kinds: words(
                "retention.kinds",
                "kind of payload",
                self.kinds.as_deref(),
                PayloadKind::ALL,
                PayloadKind::as_str,
            )?,
            older_than: age(&self.older_than)?,
        })
    }
}

/// Parses the rules of the file.
///
/// # Errors
/// A sentence that names the key, the value that is wrong, and the values that are possible.
pub(super) fn rules(all: &[Retention]) -> Result<Vec<Rule>, ConfigError> {
    let mut rules: Vec<Rule> = Vec::new();
    for one in all {
        let rule = one.rule()?;
        // The one with the longer age would never erase anything.
        if rules
            .iter()
            .any(|other| (&other.generations, &other.kinds) == (&rule.generations, &rule.kinds))
        {
            return Err(refuse(
                "retention",
                "two rules have the same generations and kinds: keep the one with the shorter older_than",
            ));
        }
        rules.push(rule);
    }
    Ok(rules)
}

/// Parses names into values, sorted and without duplicates.
fn words<T: Copy + Ord>(
    key: &str,
    what: &str,
    words: Option<&[String]>,
    all: &[T],
    name: fn(T) -> &'static str,
) -> Result<Option<Vec<T>>, ConfigError> {
    let Some(words) = words else { return Ok(None) };
    if words.is_empty() {
        return Err(refuse(key, "the list is empty: leave the key out to mean all"));
    }
    let spelled = |one: T| name(one).to_lowercase().replace('_', "-");
    let mut found = Vec::new();
    for word in words {
        let Some(one) = all.iter().copied().find(|one| spelled(*one) == *word) else {
            let known: Vec<String> = all.iter().copied().map(spelled).collect();
            let reason = format!("there is no {what} `{word}`; known are: {}", known.join(", "));
            return Err(refuse(key, &reason));
        };
        found.push(one);
    }
    found.sort_unstable();
    found.dedup();
    Ok(Some(found))
}

fn age(text: &str) -> Result<Duration, ConfigError> {
    let key = "retention.older_than";
    let parsed = [('d', DAY), ('h', DAY / 24)].into_iter().find_map(|(unit, one)| {
        let number: u32 = text.strip_suffix(unit)?.parse().ok()?;
        one.checked_mul(number)
    });
    match parsed {
        Some(age) if age.is_zero() => {
            Err(refuse(key, "must be at least 1h: 0 would erase everything"))
        }
        Some(age) if age > LONGEST => Err(refuse(key, "must be at most 36500d")),
        Some(age) => Ok(age),
        None => Err(refuse(
            key,
            &format!("`{text}` is no age: write a number of days or hours, like 90d or 12h"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(generations: &[&str], kinds: &[&str], older_than: &str) -> Retention {
        let list = |words: &[&str]| {
            (!words.is_empty()).then(|| words.iter().map(|word| (*word).to_owned()).collect())
        };
        Retention {
            generations: list(generations),
            kinds: list(kinds),
            older_than: older_than.into(),
        }
    }

    #[test]
    fn rules_mean_what_they_say() {
        let all = [rule(&["v2", "v1", "v2"], &["message-v2"], "90d"), rule(&[], &[], "12h")];
        let parsed = rules(&all).unwrap();
        assert_eq!(parsed[0].generations, Some(vec![Generation::V1, Generation::V2]));
        assert_eq!(parsed[0].kinds, Some(vec![PayloadKind::MessageV2]));
        assert_eq!(parsed[0].older_than, 90 * DAY);
        let everything = Rule { generations: None, kinds: None, older_than: DAY / 2 };
        assert_eq!(parsed[1], everything);
        for kind in PayloadKind::ALL {
            let word = kind.as_str().to_lowercase().replace('_', "-");
            assert_eq!(rules(&[rule(&[], &[&word], "1d")]).unwrap()[0].kinds, Some(vec![*kind]));
        }
    }

    #[test]
    fn what_is_wrong_names_the_key_and_the_possible_values() {
        for (wrong, wanted) in [
            (rule(&["v9"], &[], "1d"), &["retention.generations", "`v9`", "v1, v2, v3, v4"][..]),
            (rule(&["V1"], &[], "1d"), &["`V1`"]),
            (rule(&[], &["message"], "1d"), &["retention.kinds", "`message`", "message-v1"]),
            (rule(&[], &[], "90"), &["retention.older_than", "`90`", "90d"]),
            (rule(&[], &[], "-1d"), &["`-1d`"]),
            (rule(&[], &[], "0d"), &["at least 1h"]),
            (rule(&[], &[], "40000d"), &["at most 36500d"]),
            (rule(&[], &[], "4294967295d"), &["at most 36500d"]),
            (rule(&[], &[], ""), &["12h"]),
        ] {
            let said = rules(&[wrong]).unwrap_err().to_string();
            assert!(wanted.iter().all(|part| said.contains(part)), "{said}");
        }
        let empty = Retention { kinds: Some(Vec::new()), ..rule(&[], &[], "1d") };
        assert!(rules(&[empty]).unwrap_err().to_string().contains("leave the key out"));
        let twice = [rule(&["v1", "v2"], &[], "1d"), rule(&["v2", "v1"], &[], "2d")];
        assert!(rules(&twice).unwrap_err().to_string().contains("same generations and kinds"));
    }
}
