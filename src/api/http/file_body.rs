//! Owns a body that is a file, taken as it comes, whatever its type is said to be.

use poem::http::header::CONTENT_LENGTH;
use poem::{Body, Request, RequestBody};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use super::problem::{Kind, Problem};

/// The file itself. A form that holds one among others is refused: it would be kept with what is around it.
pub(crate) struct FileBody {
    /// Its bytes, as they come.
    pub(crate) body: Body,
    /// How many they are, if that is told.
    pub(crate) length: Option<u64>,
}

impl<'a> ApiExtractor<'a> for FileBody {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(_registry: &mut Registry) {}

    fn request_meta() -> Option<MetaRequest> {
        let schema = MetaSchema::new_with_format("string", "binary");
        let content = vec![MetaMediaType {
            content_type: "application/octet-stream",
            schema: MetaSchemaRef::Inline(Box::new(schema)),
        }];
        let description = Some("The file itself, whatever its type.");
        Some(MetaRequest { description, content, required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        if request
            .content_type()
            .is_some_and(|kind| kind.to_ascii_lowercase().starts_with("multipart/"))
        {
            let detail = "send the file itself as the body, not a form with the file in it: `curl -X POST -T \
                          FILE`, not `curl --form`";
            return Err(Problem::new(Kind::UnsupportedMediaType, detail).into());
        }
        let length = request.headers().get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        Ok(Self { body: body.take()?, length })
    }
}
