//! Owns keeping a file in a bucket: it appears there whole, or not at all, and takes no other's place unasked.

use std::io::{self, Read};

use reqwest::header::{CONTENT_LENGTH, HeaderValue};
use sha2::{Digest, Sha256};

use super::dialect::{ListOf, Object};
use super::{Asked, Buckets, OpenedFile, Pattern};
use crate::domain::upload::UploadOutcome;
use crate::sources::files::off_thread::off_thread;
use crate::sources::rest_api::file_request::FileRequest;
use crate::sources::{SourceError, SourceErrorKind, Upload};

/// How a service says that there is an object already: the condition failed, or another was quicker.
const TAKEN: &[u16] = &[409, 412];
/// How one says that it knows no such condition.
const UNKNOWN_CONDITION: u16 = 501;

impl Buckets {
    /// Whether an entry of `paths` leads to an object, which need not be there yet.
    ///
    /// # Errors
    /// When the entry or the address is none.
    pub(super) fn leads(&self, entry: &str, address: &str) -> Result<bool, SourceError> {
        let ((bucket, pattern), (of, key)) = (self.parts(entry)?, self.parts(address)?);
        let pattern = Pattern::new(pattern).map_err(|why| super::no_pattern(entry, &why))?;
        Ok(bucket == of && self.is_meant(&pattern, key))
    }

    /// Keeps a file as an object; `None` where there is another one, which is not to be replaced.
    ///
    /// # Errors
    /// When the service refuses, or does not answer: then it may be there or not, and the same file can be kept again.
    pub(super) async fn kept(&self, upload: &Upload) -> Result<Option<UploadOutcome>, SourceError> {
        let (bucket, key) = self.parts(&upload.address)?;
        if let Some(there) = self.there(bucket, key, &upload.address).await? {
            return match self.is_same(bucket, there, upload).await? {
                true => Ok(Some(UploadOutcome::Unchanged)),
                false if upload.replace => {
                    self.sent(bucket, key, upload, false).await?;
                    Ok(Some(UploadOutcome::Replaced))
                }
                false => Ok(None),
            };
        }
        // Somebody else may be about to keep another one there.
        let status = self.sent(bucket, key, upload, !upload.replace).await?;
        if !TAKEN.contains(&status) {
            if status == UNKNOWN_CONDITION {
                self.sent(bucket, key, upload, false).await?;
            }
            return Ok(Some(UploadOutcome::New));
        }
        let is_same = match self.there(bucket, key, &upload.address).await? {
            Some(there) => self.is_same(bucket, there, upload).await?,
            None => false,
        };
        Ok(is_same.then_some(UploadOutcome::Unchanged))
    }

    /// The object of that key, if there is one.
    async fn there(
        &self,
        bucket: &str,
        key: &str,
        address: &str,
    ) -> Result<Option<Object>, SourceError> {
        let mut next: Option<String> = None;
        loop {
            let list = ListOf { bucket, prefix: key, flat: true, next: next.as_deref() };
            let page = self.page(address, list).await?;
            if let Some(object) = page.objects.into_iter().find(|object| object.key == key) {
                return Ok(Some(object));
            }
            if page.next.is_none() || page.next == next {
                return Ok(None);
            }
            next = page.next;
        }
    }

    /// Whether an object has the bytes of a file.
    async fn is_same(
        &self,
        bucket: &str,
        there: Object,
        upload: &Upload,
    ) -> Result<bool, SourceError> {
        if there.size != upload.bytes {
            return Ok(false);
        }
        let file = self.listed(bucket, there);
        let asked = Asked { file: &file, known: None, from: 0, pinned: false };
        let Some(OpenedFile::Body(mut body)) = self.ask(asked).await? else { return Ok(false) };
        let hashed = off_thread(move || {
            let (mut hasher, mut piece) = (Sha256::new(), vec![0; 256 << 10]);
            loop {
                match body.bytes.read(&mut piece) {
                    Ok(0) => return Ok(hasher.finalize()),
                    Ok(read) => hasher.update(&piece[..read]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        return Err(SourceError::new(
                            SourceErrorKind::BrokenOff,
                            error.to_string(),
                        ));
                    }
                }
            }
        });
        Ok(hashed.await?[..] == upload.sha256[..])
    }

    /// Sends a file, and gives the status of the answer: of a success, or one of those that `kept` understands.
    async fn sent(
        &self,
        bucket: &str,
        key: &str,
        upload: &Upload,
        only_new: bool,
    ) -> Result<u16, SourceError> {
        let mut request = FileRequest {
            name: upload.address.clone(),
            sha256: Some(upload.sha256),
            ..FileRequest::default()
        };
        request.conditions.insert(CONTENT_LENGTH, HeaderValue::from(upload.bytes));
        let mut url = self.dialect.put_address(bucket, key, only_new, &mut request)?;
        let expected: &[u16] = if only_new { &[409, 412, UNKNOWN_CONDITION] } else { &[] };
        let sent = async {
            self.dialect.sign(&mut url, &mut request).await?;
            self.client.put(&url, &request, &upload.file, expected).await
        };
        let sent = sent.await;
        sent.map_err(|error| match self.dialect.advice(&error) {
            Some(advice) => error.advise(format!("{advice}, and write")),
            None => error,
        })
    }
}
