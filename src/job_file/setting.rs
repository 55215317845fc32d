//! Owns values of a job file that may come from elsewhere: secrets, which always do, and settings,
//! which may. A job file holds only where a value is; the value itself is read when it is needed.
//!
//! Must not know what a value is used for.

use std::env::VarError;
use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::files::{self, Unfit};

/// Where a secret is kept: `{ env = "X" }` or `{ file = "/run/secrets/x" }`, never the secret
/// itself.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(untagged, deny_unknown_fields)]
pub enum Secret {
    /// In an environment variable.
    Env {
        /// The name of the variable.
        env: String,
    },
    /// In a file, without its last line end.
    File {
        /// The path, relative to the folder of the job file.
        file: PathBuf,
    },
}

/// The text of a secret. It shows itself to no one but the caller of [`SecretText::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

/// A value that is no secret: a text, or `{ env = "X", default = "…" }`.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum Setting {
    /// The value itself.
    Literal(String),
    /// The value of an environment variable.
    Variable(Variable),
}

/// An environment variable and what to use when it is not set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// The name of the variable.
    pub env: String,
    /// The value when the variable is not set or empty.
    pub default: Option<String>,
}

/// A text that may be written into the job file or kept as a secret elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum PlainOrSecret {
    /// The text itself.
    Plain(String),
    /// Where the text is kept.
    Secret(Secret),
}

/// Why a value cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("`{key}` needs {place}, which {problem}")]
pub struct SettingError {
    /// The key of the job file that asks for the value.
    pub key: String,
    /// Where the value should be.
    pub place: String,
    /// What is wrong there.
    pub problem: Problem,
    /// What the operating system says.
    #[source]
    pub source: Option<std::io::Error>,
}

/// What is wrong where a value should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The variable is not set, or empty.
    #[error("is not set: set it where kasparro is started")]
    NotSet,
    /// The file is not there.
    #[error("does not exist: create it with the secret in it")]
    NotThere,
    /// The file is empty.
    #[error("is empty: put the secret in it")]
    Empty,
    /// Something that is no UTF-8 text.
    #[error("holds no UTF-8 text")]
    NotText,
    /// Something that is no file, or a very large one.
    #[error("is no file with a secret in it")]
    NoFile,
    /// The operating system does not let us read it.
    #[error("cannot be read")]
    Unreadable,
}

impl SettingError {
    fn new(key: &str, place: impl fmt::Display, problem: Problem) -> Self {
        Self { key: key.to_owned(), place: place.to_string(), problem, source: None }
    }

    /// Whether the value was not supplied, as opposed to one that cannot be used.
    pub fn is_absent(&self) -> bool {
        match self.problem {
            Problem::NotSet | Problem::NotThere | Problem::Empty => true,
            Problem::NotText | Problem::NoFile | Problem::Unreadable => false,
        }
    }
}

impl Secret {
    /// Reads the secret. `key` is the key of the job file, for errors; `base_dir` its folder.
    ///
    /// # Errors
    /// When the variable or the file is absent, empty or unreadable.
    pub fn resolve(&self, key: &str, base_dir: &Path) -> Result<SecretText, SettingError> {
        match self {
            Self::Env { env } => variable(key, env, system_variable).map(SecretText),
            Self::File { file } => read_secret(key, &base_dir.join(file)),
        }
    }
}

impl fmt::Display for Secret {
    /// Where the secret is kept, to be read within a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env { env } => f.write_str(&variable_called(env)),
            Self::File { file } => f.write_str(&file_called(file)),
        }
    }
}

impl SecretText {
    /// The secret itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for SecretText {
    fn from(secret: String) -> Self {
        Self(secret)
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(***)")
    }
}

impl Setting {
    /// The value. `key` is the key of the job file, for errors.
    ///
    /// # Errors
    /// When it is in a variable that is not set and there is no default.
    pub fn resolve(&self, key: &str) -> Result<String, SettingError> {
        self.resolve_with(key, system_variable)
    }

    fn resolve_with(
        &self,
        key: &str,
        lookup: impl Fn(&str) -> Result<String, VarError>,
    ) -> Result<String, SettingError> {
        match self {
            Self::Literal(text) => Ok(text.clone()),
            Self::Variable(Variable { env, default }) => {
                match (variable(key, env, lookup), default) {
                    (Err(error), Some(default)) if error.is_absent() => Ok(default.clone()),
                    (found, _) => found,
                }
            }
        }
    }
}

fn variable_called(name: &str) -> String {
    format!("the environment variable {name}")
}

fn file_called(path: &Path) -> String {
    format!("the file {}", path.display())
}

fn system_variable(name: &str) -> Result<String, VarError> {
    std::env::var(name)
}

/// An empty variable counts as not set: compose files and CI set absent ones to the empty text.
fn variable(
    key: &str,
    name: &str,
    lookup: impl Fn(&str) -> Result<String, VarError>,
) -> Result<String, SettingError> {
    let problem = match lookup(name) {
        Ok(text) if !text.is_empty() => return Ok(text),
        Ok(_) | Err(VarError::NotPresent) => Problem::NotSet,
        Err(VarError::NotUnicode(_)) => Problem::NotText,
    };
    Err(SettingError::new(key, variable_called(name), problem))
}

fn read_secret(key: &str, file: &Path) -> Result<SecretText, SettingError> {
    let failed = |problem| SettingError::new(key, file_called(file), problem);
    let text = files::read_text(file, files::MAX_SECRET_FILE).map_err(|error| {
        let problem = match error.kind() {
            std::io::ErrorKind::NotFound => Problem::NotThere,
            std::io::ErrorKind::InvalidData => Problem::NotText,
            _ if Unfit::of(&error).is_some() => Problem::NoFile,
            _ => Problem::Unreadable,
        };
        SettingError { source: Some(error), ..failed(problem) }
    })?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(failed(Problem::Empty)),
        text => Ok(SecretText(text.to_owned())),
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretVisitor)
    }
}

/// Refuses every literal without repeating it: the error may end in a log.
struct SecretVisitor;

impl SecretVisitor {
    fn refuse<E: serde::de::Error>() -> Result<Secret, E> {
        Err(E::custom(
            "a secret is never written into a job file: say where it is kept, \
             { env = \"NAME_OF_VARIABLE\" } or { file = \"/run/secrets/name\" }",
        ))
    }
}

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("where a secret is kept: { env = \"X\" } or { file = \"/run/secrets/x\" }")
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Secret, E> {
        Self::refuse()
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Secret, E> {
        Self::refuse()
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<Secret, E> {
        Self::refuse()
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Secret, E> {
        Self::refuse()
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Secret, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            env: Option<String>,
            file: Option<PathBuf>,
        }
        match Table::deserialize(MapAccessDeserializer::new(map))? {
            Table { env: Some(env), file: None } => Ok(Secret::Env { env }),
            Table { env: None, file: Some(file) } => Ok(Secret::File { file }),
            Table { .. } => Err(A::Error::custom("a secret takes one of `env` and `file`")),
        }
    }
}

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SettingVisitor)
    }
}

/// By hand, because an untagged enum would say no more than "did not match any variant".
struct SettingVisitor;

impl<'de> Visitor<'de> for SettingVisitor {
    type Value = Setting;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or { env = \"X\", default = \"…\" }")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Setting, E> {
        Ok(Setting::Literal(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Setting, A::Error> {
        Variable::deserialize(MapAccessDeserializer::new(map)).map(Setting::Variable)
    }
}

impl<'de> Deserialize<'de> for PlainOrSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PlainOrSecretVisitor)
    }
}

struct PlainOrSecretVisitor;

impl<'de> Visitor<'de> for PlainOrSecretVisitor {
    type Value = PlainOrSecret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, or a secret: { env = \"X\" } or { file = \"/run/secrets/x\" }")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<PlainOrSecret, E> {
        Ok(PlainOrSecret::Plain(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PlainOrSecret, A::Error> {
        SecretVisitor.visit_map(map).map(PlainOrSecret::Secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "s3cr3t-canary";

    #[derive(Debug, Deserialize)]
    struct Keys {
        secret: Option<Secret>,
        setting: Option<Setting>,
    }

    fn parse(text: &str) -> Result<Keys, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn a_secret_names_a_variable_or_a_file() {
        let keys = parse("secret = { env = \"X\" }").unwrap();
        assert_eq!(keys.secret.unwrap(), Secret::Env { env: "X".into() });
        let keys = parse("secret = { file = \"/run/secrets/x\" }").unwrap();
        assert_eq!(keys.secret.unwrap().to_string(), "the file /run/secrets/x");
    }

    #[test]
    fn a_literal_secret_is_refused_without_being_repeated() {
        for literal in [format!("{CANARY:?}"), "123456".into(), "1.5".into()] {
            let error = parse(&format!("secret = {literal}")).unwrap_err();
            assert!(error.message().contains("never written into a job file"), "{error}");
            assert!(!error.message().contains(&literal), "{error}");
        }
    }

    #[test]
    fn a_secret_takes_exactly_one_known_key() {
        for table in ["{}", "{ env = \"X\", file = \"x\" }", "{ env = \"X\", default = \"y\" }"] {
            assert!(parse(&format!("secret = {table}")).is_err(), "{table}");
        }
    }

    #[test]
    fn a_secret_in_a_file_is_read_late_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let secret = Secret::File { file: "key".into() };
        let absent = secret.resolve("rest_api.auth.value", folder.path()).unwrap_err();
        assert!(absent.is_absent());
        assert!(absent.to_string().contains("rest_api.auth.value"), "{absent}");

        nix::unistd::mkfifo(&folder.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let pipe = Secret::File { file: "pipe".into() }.resolve("k", folder.path()).unwrap_err();
        assert_eq!(pipe.problem, Problem::NoFile);
        let said = crate::domain::failure::chain(&pipe);
        assert!(said.ends_with("is no file with a secret in it: it is a named pipe, not a file"));
        std::fs::write(folder.path().join("key"), format!("{CANARY}\r\n")).unwrap();
        let text = secret.resolve("rest_api.auth.value", folder.path()).unwrap();
        assert_eq!(text.expose(), CANARY);
        assert!(!format!("{secret} {secret:?} {text:?}").contains(CANARY));
    }

    #[test]
    fn a_variable_that_is_not_set_or_empty_gives_way_to_the_default() {
        let keys = parse("setting = { env = \"X\", default = \"d\" }").unwrap();
        let setting = keys.setting.unwrap();
        let with = |found: Result<&str, VarError>| {
            setting.resolve_with("k", |_| found.clone().map(str::to_owned)).unwrap()
        };
        assert_eq!(with(Ok("set")), "set");
        assert_eq!(with(Ok("")), "d");
        assert_eq!(with(Err(VarError::NotPresent)), "d");
    }

    #[test]
    fn a_missing_variable_is_named_with_the_key_that_needs_it() {
        let keys = parse("setting = { env = \"KASPARRO_TEST_NEVER_SET\" }").unwrap();
        let error = keys.setting.unwrap().resolve("rest_api.base_url").unwrap_err().to_string();
        assert!(error.contains("KASPARRO_TEST_NEVER_SET"), "{error}");
        assert!(error.contains("`rest_api.base_url`"), "{error}");
    }

    #[test]
    fn a_setting_of_another_type_says_what_is_expected() {
        let error = parse("setting = 7").unwrap_err();
        assert!(error.message().contains("{ env = \"X\", default = \"…\" }"), "{error}");
    }
}
