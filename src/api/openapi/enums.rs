//! Owns how domain types look in the API: words become string enums, a source name a pattern.

use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ParseError, ParseFromParameter, ParseResult, Type};

use crate::domain::chain_end::StopReason;
use crate::domain::reject::ReasonCode;
use crate::domain::run::{Mode, RunStatus, Trigger};
use crate::domain::source_name::SourceName;

/// The members of [`Type`] that are the same for every value made of text.
macro_rules! text_type {
    ($type:ty, $name:literal) => {
        const IS_REQUIRED: bool = true;
        type RawValueType = Self;
        type RawElementValueType = Self;

        fn name() -> std::borrow::Cow<'static, str> {
            $name.into()
        }

        fn as_raw_value(&self) -> Option<&Self> {
            Some(self)
        }

        fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
            Box::new(std::iter::once(self))
        }
    };
}
pub(crate) use text_type;

/// Makes a type declared with `string_enum!` a string enum of the document, and of parameters and bodies.
macro_rules! string_enums {
    ($($type:ident = $name:literal: $doc:literal),+ $(,)?) => { $(
        impl poem_openapi::types::Type for $type {
            crate::api::openapi::enums::text_type!($type, $name);

            fn schema_ref() -> poem_openapi::registry::MetaSchemaRef {
                poem_openapi::registry::MetaSchemaRef::Reference($name.to_owned())
            }

            fn register(registry: &mut poem_openapi::registry::Registry) {
                let words = Self::ALL.iter().map(|word| word.as_str());
                let schema = crate::api::openapi::enums::string_enum_schema($doc, words);
                registry.create_schema::<Self, _>($name.to_owned(), |_| schema);
            }
        }

        impl poem_openapi::types::ParseFromParameter for $type {
            fn parse_from_parameter(text: &str) -> poem_openapi::types::ParseResult<Self> {
                text.parse().map_err(|_| {
                    let words: Vec<_> = Self::ALL.iter().map(|word| word.as_str()).collect();
                    let message = format!("{text:?} is not one of: {}", words.join(", "));
                    poem_openapi::types::ParseError::custom(message)
                })
            }
        }

        impl poem_openapi::types::ParseFromJSON for $type {
            fn parse_from_json(
                value: Option<serde_json::Value>,
            ) -> poem_openapi::types::ParseResult<Self> {
                use poem_openapi::types::ParseFromParameter;
                match value.unwrap_or_default() {
                    serde_json::Value::String(text) => Self::parse_from_parameter(&text),
                    other => Err(poem_openapi::types::ParseError::expected_type(other)),
                }
            }
        }

        impl poem_openapi::types::ToJSON for $type {
            fn to_json(&self) -> Option<serde_json::Value> {
                Some(self.as_str().into())
            }
        }
    )+ };
}
pub(crate) use string_enums;

/// The schema of a string enum.
pub(crate) fn string_enum_schema(
    description: &'static str,
    words: impl Iterator<Item = &'static str>,
) -> MetaSchema {
    MetaSchema {
        description: Some(description),
        enum_items: words.map(Into::into).collect(),
        ..MetaSchema::new("string")
    }
}

string_enums! {
    Mode = "Mode": "How much of the source a run reads: what is new, or everything.",
    ReasonCode = "ReasonCode": "Why a row was set aside.",
    RunStatus = "RunStatus": "Where a run stands. Active are `queued` and `running`; `degraded`: \
        everything was processed, but a check of the job file is broken; `failed`: a task has failed.",
    StopReason = "StopReason": "Why no further page of a chain was asked for.",
    Trigger = "Trigger": "Who asked for a run.",
}

impl Type for SourceName {
    text_type!(SourceName, "SourceName");

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema {
            pattern: Some("^[a-z][a-z0-9_]{0,62}$".to_owned()),
            ..MetaSchema::new("string")
        }))
    }
}

impl ParseFromParameter for SourceName {
    fn parse_from_parameter(text: &str) -> ParseResult<Self> {
        text.parse().map_err(ParseError::custom)
    }
}
