//! Owns reading a JSON body: at most 1 MiB (it has arrived before, see `concurrency_limit`), strict, and with the place of an error in the answer.
//!
//! Not poem-openapi's own `Json`: that reads without a limit, keeps the last of repeated keys, and
//! cannot tell text that is no JSON (400) from JSON that says the wrong thing (422), nor where.

use poem::error::ReadBodyError;
use poem::{Request, RequestBody};
use poem_openapi::error::ContentTypeError;
use poem_openapi::payload::{ParsePayload, Payload};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;

use super::problem::{Kind, Problem};

/// The largest body, in bytes.
pub(crate) const MAX_BYTES: usize = 1 << 20;

/// A body of that type.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: Type> Payload for JsonBody<T> {
    const CONTENT_TYPE: &'static str = "application/json";

    fn check_content_type(content_type: &str) -> bool {
        let essence = content_type.split(';').next().unwrap_or_default();
        essence.trim().eq_ignore_ascii_case(Self::CONTENT_TYPE)
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Type + DeserializeOwned> ParsePayload for JsonBody<T> {
    const IS_REQUIRED: bool = true;

    async fn from_request(_request: &Request, body: &mut RequestBody) -> poem::Result<Self> {
        let bytes = body.take()?.into_bytes_limit(MAX_BYTES).await.map_err(unread)?;
        Ok(Self(parse(&bytes)?))
    }
}

poem_openapi::impl_apirequest_for_payload!(JsonBody<T>, T: Type + DeserializeOwned);

/// A body of that type, or none at all, whatever its type is said to be: for operations whose body has nothing that must
/// be there.
pub(crate) struct OptionalJsonBody<T>(pub(crate) Option<T>);

impl<'a, T: Type + DeserializeOwned> ApiExtractor<'a> for OptionalJsonBody<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content_type = JsonBody::<T>::CONTENT_TYPE;
        let content = vec![MetaMediaType { content_type, schema: T::schema_ref() }];
        Some(MetaRequest { description: None, content, required: false })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let bytes = match body.take() {
            Ok(body) => body.into_bytes_limit(MAX_BYTES).await.map_err(unread)?,
            Err(_) => return Ok(Self(None)),
        };
        if bytes.is_empty() {
            return Ok(Self(None));
        }
        match request.content_type() {
            Some(kind) if JsonBody::<T>::check_content_type(kind) => Ok(Self(Some(parse(&bytes)?))),
            Some(kind) => {
                Err(ContentTypeError::NotSupported { content_type: kind.to_owned() }.into())
            }
            None => Err(ContentTypeError::ExpectContentType.into()),
        }
    }
}

/// Says in a document that bodies hold no other fields than those that it names.
pub(crate) fn strict(mut document: Value) -> Value {
    let mut bodies = Vec::new();
    for operations in document["paths"].as_object().into_iter().flat_map(|paths| paths.values()) {
        for operation in operations.as_object().into_iter().flat_map(|methods| methods.values()) {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            bodies.extend(schema["$ref"].as_str().map(|name| name.replacen('#', "", 1)));
        }
    }
    for body in bodies {
        if let Some(schema) = document.pointer_mut(&body) {
            schema["additionalProperties"] = false.into();
        }
    }
    document
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        // The text names the field and the place within the body; it quotes the client only.
        Category::Data => Problem::new(Kind::InvalidRequest, error.to_string()),
        _ => Problem::new(Kind::MalformedBody, error.to_string()),
    })
}

/// The problem that a body could not be read whole.
pub(crate) fn unread(error: ReadBodyError) -> Problem {
    match error {
        ReadBodyError::PayloadTooLarge => too_large(),
        _ => Problem::new(Kind::MalformedBody, "the body ended before it was complete"),
    }
}

/// The problem that a body is larger than any may be.
pub(crate) fn too_large() -> Problem {
    Problem::new(Kind::BodyTooLarge, format!("a body may have {MAX_BYTES} bytes at most"))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[expect(dead_code, reason = "only read by serde or schemars")]
        source: Option<String>,
    }

    fn refusal(body: &str) -> (u16, String) {
        let problem = parse::<Body>(body.as_bytes()).unwrap_err();
        let json = serde_json::from_str::<serde_json::Value>(
            &poem_openapi::types::ToJSON::to_json_string(&problem),
        );
        (problem.status().as_u16(), json.unwrap()["detail"].as_str().unwrap().to_owned())
    }

    #[test]
    fn a_broken_body_is_refused_with_its_place() {
        let (status, detail) = refusal("{\n  \"source\": ");
        assert_eq!(
            (status, detail.as_str()),
            (400, "EOF while parsing a value at line 2 column 12")
        );
        assert_eq!(refusal("").0, 400);
        assert_eq!(refusal("{} x").0, 400);
    }

    #[test]
    fn json_that_says_the_wrong_thing_is_refused_with_the_field() {
        let (status, detail) = refusal(r#"{"sorce": "a"}"#);
        assert_eq!(status, 422);
        assert!(detail.contains("unknown field `sorce`"), "{detail}");
        assert!(refusal(r#"{"source": 1}"#).1.contains("expected a string"));
        assert!(refusal(r#"{"source": "a", "source": "b"}"#).1.contains("duplicate field"));
        assert_eq!(refusal("[]").0, 422);
    }
}
