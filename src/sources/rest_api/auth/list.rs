//! Owns that a source may be authenticated in several ways at once: one table, or a list of them.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Auth;
use super::authorize::{AuthContext, Authorize, SentToken};
use crate::sources::SourceError;
use crate::sources::rest_api::request::RequestParts;

/// One way in which requests are authenticated, or several.
#[derive(Debug, Clone)]
pub struct AuthList {
    kinds: Vec<Auth>,
    /// Whether the job file has a list.
    is_list: bool,
}

/// A kind, and where it is.
pub(in crate::sources::rest_api) struct Placed<'a> {
    /// The keys below `rest_api` that lead to its table.
    pub keys: Vec<String>,
    pub kind: &'a dyn Authorize,
}

impl Placed<'_> {
    /// The key of its table: `rest_api.auth`, or `rest_api.auth[1]`.
    pub fn at(&self) -> String {
        match &self.keys[..] {
            [auth, number] => format!("rest_api.{auth}[{number}]"),
            keys => format!("rest_api.{}", keys.join(".")),
        }
    }
}

impl AuthList {
    /// The kinds, in the order in which they write into a request.
    pub(in crate::sources::rest_api) fn each(&self) -> impl Iterator<Item = Placed<'_>> {
        self.kinds.iter().enumerate().map(|(number, auth)| {
            let mut keys = vec!["auth".to_owned()];
            keys.extend(self.is_list.then(|| number.to_string()));
            Placed { keys, kind: auth.kind() }
        })
    }

    /// What serde cannot check: the keys below `rest_api`, and what is wrong there.
    pub(in crate::sources::rest_api) fn problems(&self) -> Vec<(Vec<String>, String)> {
        let mut problems = Vec::new();
        let mut written = BTreeSet::new();
        if self.kinds.is_empty() {
            let message = "is an empty list: leave it out, or name a kind of authentication";
            problems.push((vec!["auth".to_owned()], message.to_owned()));
        }
        for Placed { keys, kind } in self.each() {
            for (key, problem) in kind.problems() {
                problems.push((with(&keys, key), problem));
            }
            for place in kind.writes() {
                if written.contains(&place) {
                    let message = format!("writes into {place}, as another one of the list does");
                    problems.push((keys.clone(), message));
                }
                written.insert(place);
            }
        }
        problems
    }

    /// Adds to a request what the API knows us by; answers the tokens of login servers that went with it.
    /// The context is that of the whole.
    ///
    /// # Errors
    /// When a secret or a token cannot be had, or not be sent.
    pub(in crate::sources::rest_api) fn authorize<'a>(
        &'a self,
        request: &'a mut RequestParts,
        context: AuthContext<'a>,
    ) -> BoxFuture<'a, Result<Vec<SentToken>, SourceError>> {
        async move {
            let mut sent = Vec::new();
            for placed in self.each() {
                let context = AuthContext { at: &placed.at(), ..context };
                sent.extend(placed.kind.authorize(request, context).await?);
            }
            Ok(sent)
        }
        .boxed()
    }
}

fn with(keys: &[String], key: &str) -> Vec<String> {
    keys.iter().cloned().chain([key.to_owned()]).collect()
}

impl<'de> Deserialize<'de> for AuthList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor { may_be_list: true })
    }
}

/// An element of the list.
struct One(Auth);

impl<'de> Deserialize<'de> for One {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let list = deserializer.deserialize_any(ListVisitor { may_be_list: false })?;
        list.kinds.into_iter().next().map(Self).ok_or_else(refused)
    }
}

/// Refuses every literal without repeating it: it may be a key.
fn refused<E: Error>() -> E {
    E::custom(
        "expected a table such as { type = \"bearer\", token = { env = \"NAME_OF_VARIABLE\" } }, or a list \
         of such tables; a secret is never written into a job file",
    )
}

/// By hand, because an untagged enum would say no more than "did not match any variant".
struct ListVisitor {
    may_be_list: bool,
}

impl<'de> Visitor<'de> for ListVisitor {
    type Value = AuthList;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table such as { type = \"bearer\", … }, or a list of such tables")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<AuthList, E> {
        Err(refused())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<AuthList, E> {
        Err(refused())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<AuthList, E> {
        Err(refused())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<AuthList, E> {
        Err(refused())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<AuthList, E> {
        Err(refused())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<AuthList, A::Error> {
        let auth = Auth::deserialize(MapAccessDeserializer::new(map))?;
        Ok(AuthList { kinds: vec![auth], is_list: false })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<AuthList, A::Error> {
        if !self.may_be_list {
            return Err(refused());
        }
        let mut kinds = Vec::new();
        while let Some(One(auth)) = seq.next_element()? {
            kinds.push(auth);
        }
        Ok(AuthList { kinds, is_list: true })
    }
}

impl JsonSchema for AuthList {
    fn schema_name() -> Cow<'static, str> {
        "AuthList".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<Auth>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
    }
}
