//! The body of a batch: several messages of one topic (`MessageDecoder.encodeMessages`).
//!
//! Each element is its total size, a magic number and a checksum (both 0), the user's flag, the
//! body and the properties. Topic, queue and the rest are those of the request.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Message, property};

/// The bytes of an element beside its body and properties.
const OVERHEAD: usize = 22;

/// A message of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchElement {
    /// The user's flag.
    pub flag: i32,
    /// The payload.
    pub body: Bytes,
    /// The properties as text, as they were sent and are to be stored.
    pub properties: String,
}

impl BatchElement {
    /// The element of a message.
    pub fn of(message: &Message) -> Self {
        Self {
            flag: message.flag,
            body: message.body.clone(),
            properties: property::encode(&message.properties),
        }
    }

    /// The message of an element.
    pub fn message(&self, topic: impl Into<String>) -> Message {
        Message {
            topic: topic.into(),
            flag: self.flag,
            properties: property::decode(&self.properties),
            body: self.body.clone(),
        }
    }
}

/// Why bytes are not a batch, or messages cannot become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end before the element does.
    #[error("the batch ends early")]
    Truncated,
    /// A length that does not fit its element.
    #[error("the length of the {0} does not fit the batch")]
    Length(&'static str),
    /// The properties are not UTF-8.
    #[error("the properties are not UTF-8")]
    Text,
}

/// Writes a batch.
///
/// # Errors
/// Properties above 32,767 bytes or a body above 2 GiB; `out` is then unchanged.
pub fn encode<'a>(
    elements: impl IntoIterator<Item = &'a BatchElement>,
    out: &mut BytesMut,
) -> Result<(), BatchError> {
    let start = out.len();
    for element in elements {
        if let Err(error) = put(element, out) {
            out.truncate(start);
            return Err(error);
        }
    }
    Ok(())
}

fn put(element: &BatchElement, out: &mut BytesMut) -> Result<(), BatchError> {
    let BatchElement {
        body, properties, ..
    } = element;
    let properties_len =
        i16::try_from(properties.len()).map_err(|_| BatchError::Length("properties"))?;
    let size = OVERHEAD + body.len() + properties.len();
    let size = i32::try_from(size).map_err(|_| BatchError::Length("body"))?;
    out.put_i32(size);
    out.put_i32(0);
    out.put_i32(0);
    out.put_i32(element.flag);
    out.put_i32(body.len() as i32);
    out.put_slice(body);
    out.put_i16(properties_len);
    out.put_slice(properties.as_bytes());
    Ok(())
}

/// Reads a batch. Bodies share the memory of `bytes`.
///
/// # Errors
/// Not a sequence of whole elements.
pub fn decode(bytes: Bytes) -> Result<Vec<BatchElement>, BatchError> {
    let owned = |raw: RawElement| BatchElement {
        properties: raw.properties().to_owned(),
        flag: raw.flag,
        body: raw.body,
    };
    elements(bytes).map(|raw| raw.map(owned)).collect()
}

/// An element where it lies: for those who look at a batch without keeping it.
#[derive(Debug, Clone)]
pub struct RawElement {
    /// The user's flag.
    pub flag: i32,
    /// The payload.
    pub body: Bytes,
    /// The properties, which are UTF-8.
    properties: Bytes,
}

impl RawElement {
    /// The properties as text, as they were sent.
    pub fn properties(&self) -> &str {
        // It was checked when the element was read.
        std::str::from_utf8(&self.properties).unwrap_or_default()
    }
}

/// Reads a batch, one element after the other, sharing the memory of `bytes`. What is behind an
/// error is not looked at.
pub fn elements(mut bytes: Bytes) -> impl Iterator<Item = Result<RawElement, BatchError>> {
    std::iter::from_fn(move || {
        if !bytes.has_remaining() {
            return None;
        }
        let element = take(&mut bytes);
        if element.is_err() {
            bytes.clear();
        }
        Some(element)
    })
}

fn take(bytes: &mut Bytes) -> Result<RawElement, BatchError> {
    let short = |_| BatchError::Truncated;
    let size = bytes.clone().try_get_i32().map_err(short)?;
    let size = usize::try_from(size).map_err(|_| BatchError::Length("element"))?;
    if size < OVERHEAD {
        return Err(BatchError::Length("element"));
    }
    if size > bytes.len() {
        return Err(BatchError::Truncated);
    }
    let mut element = bytes.split_to(size);
    // Size, magic number and checksum; the last two are not looked at.
    element.advance(12);
    let flag = element.try_get_i32().map_err(short)?;
    let body_len = element.try_get_i32().map_err(short)?;
    let body = split(&mut element, usize::try_from(body_len).ok(), "body")?;
    let properties_len = element
        .try_get_i16()
        .map_err(|_| BatchError::Length("body"))?;
    let properties = split(
        &mut element,
        usize::try_from(properties_len).ok(),
        "properties",
    )?;
    if element.has_remaining() {
        return Err(BatchError::Length("element"));
    }
    if std::str::from_utf8(&properties).is_err() {
        return Err(BatchError::Text);
    }
    Ok(RawElement {
        flag,
        body,
        properties,
    })
}

fn split(bytes: &mut Bytes, len: Option<usize>, what: &'static str) -> Result<Bytes, BatchError> {
    match len {
        Some(len) if len <= bytes.len() => Ok(bytes.split_to(len)),
        _ => Err(BatchError::Length(what)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(elements: &[BatchElement]) -> Bytes {
        let mut out = BytesMut::new();
        encode(elements, &mut out).unwrap();
        out.freeze()
    }

    fn sample() -> Vec<BatchElement> {
        let tagged = Message::new("T", "one").with_tag("TagA");
        vec![BatchElement::of(&tagged), BatchElement::default()]
    }

    #[test]
    fn an_element_has_the_documented_layout() {
        let element = BatchElement {
            flag: 7,
            body: Bytes::from_static(b"hi"),
            properties: "k\u{1}v".to_owned(),
        };
        let expected = b"\0\0\0\x1b\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0\x02hi\0\x03k\x01v";
        assert_eq!(encoded(&[element]), &expected[..]);
    }

    #[test]
    fn a_batch_survives_the_round_trip() {
        assert_eq!(decode(encoded(&sample())).unwrap(), sample());
        assert_eq!(sample()[0].message("T").tag(), Some("TagA"));
    }

    #[test]
    fn a_batch_cut_inside_an_element_is_an_error() {
        let whole = encoded(&sample());
        for len in 1..whole.len() {
            let at_border = len == whole.len() - OVERHEAD;
            assert_eq!(decode(whole.slice(..len)).is_ok(), at_border, "{len}");
        }
    }

    #[test]
    fn lengths_beyond_the_element_are_errors() {
        let mut bytes = BytesMut::from(&encoded(&sample())[..]);
        bytes[19] += 1;
        assert_eq!(
            decode(bytes.freeze()),
            Err(BatchError::Length("properties"))
        );
        assert_eq!(
            decode(Bytes::from_static(&[0, 0, 0, 5, 0])),
            Err(BatchError::Length("element"))
        );
    }

    #[test]
    fn properties_beyond_16_bits_are_refused() {
        let element = BatchElement {
            properties: "p".repeat(32_768),
            ..BatchElement::default()
        };
        let mut out = BytesMut::new();
        let result = encode(&[BatchElement::default(), element], &mut out);
        assert_eq!(result, Err(BatchError::Length("properties")));
        assert!(out.is_empty());
    }
}
