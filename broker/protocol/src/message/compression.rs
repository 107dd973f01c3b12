//! Compression of message bodies (`CompressorFactory`).
//!
//! Decompressing needs no more memory than the caller's limit and a window of the same order.

use std::io::{self, Read, Write};

use bytes::Bytes;

use super::sys_flag;

/// The largest window that a Zstandard stream may ask for, as a power of two: 16 MiB, which is the
/// limit of a frame.
const ZSTD_WINDOW_LOG_MAX: u32 = 24;

/// An algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CompressionType {
    /// LZ4 frames.
    Lz4,
    /// Zstandard.
    Zstd,
    /// ZLIB (RFC 1950).
    #[default]
    Zlib,
}

impl CompressionType {
    /// What a system flag says; without a type, as before 5.0, it is ZLIB. `None` for a type that
    /// does not exist.
    pub fn of(sys_flag: i32) -> Option<Self> {
        match sys_flag & sys_flag::COMPRESSION_MASK {
            0 | sys_flag::COMPRESSION_ZLIB => Some(Self::Zlib),
            sys_flag::COMPRESSION_LZ4 => Some(Self::Lz4),
            sys_flag::COMPRESSION_ZSTD => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The bits of a system flag: that it is compressed, and how.
    pub fn flag(self) -> i32 {
        sys_flag::COMPRESSED
            | match self {
                Self::Lz4 => sys_flag::COMPRESSION_LZ4,
                Self::Zstd => sys_flag::COMPRESSION_ZSTD,
                Self::Zlib => sys_flag::COMPRESSION_ZLIB,
            }
    }
}

/// Why a body cannot be compressed or decompressed.
#[derive(Debug, thiserror::Error)]
pub enum CompressionError {
    /// A type that does not exist.
    #[error("the system flag {0:#x} names no compression")]
    UnknownType(i32),
    /// More than the limit comes out.
    #[error("the decompressed body exceeds {0} bytes")]
    TooLong(usize),
    /// Not a stream of that algorithm, or a damaged one.
    #[error("damaged data: {0}")]
    Damaged(#[from] io::Error),
}

/// The plain body of a message: decompressed if `sys_flag` says so, else as it is.
///
/// # Errors
/// It is damaged or its plain form exceeds `limit` bytes.
pub fn decompress(body: &Bytes, sys_flag: i32, limit: usize) -> Result<Bytes, CompressionError> {
    if sys_flag & sys_flag::COMPRESSED == 0 {
        return Ok(body.clone());
    }
    let kind = CompressionType::of(sys_flag).ok_or(CompressionError::UnknownType(sys_flag))?;
    decompress_as(body, kind, limit)
}

/// Decompresses bytes of a known algorithm.
///
/// # Errors
/// As [`decompress`].
pub fn decompress_as(
    bytes: &[u8],
    kind: CompressionType,
    limit: usize,
) -> Result<Bytes, CompressionError> {
    match kind {
        CompressionType::Lz4 => read_all(lz4_flex::frame::FrameDecoder::new(bytes), limit),
        CompressionType::Zlib => read_all(flate2::read::ZlibDecoder::new(bytes), limit),
        CompressionType::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            read_all(decoder, limit)
        }
    }
}

fn read_all(decoder: impl Read, limit: usize) -> Result<Bytes, CompressionError> {
    let mut plain = Vec::new();
    decoder.take(limit as u64 + 1).read_to_end(&mut plain)?;
    if plain.len() > limit {
        return Err(CompressionError::TooLong(limit));
    }
    Ok(plain.into())
}

/// Compresses a body. `level` goes from 1, fast, to 9, small; LZ4 has only one.
///
/// # Errors
/// The compressor fails.
pub fn compress(body: &[u8], kind: CompressionType, level: i32) -> Result<Bytes, CompressionError> {
    let level = level.clamp(1, 9);
    let out = match kind {
        CompressionType::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(body)?;
            encoder.finish().map_err(io::Error::from)?
        }
        CompressionType::Zlib => {
            let level = flate2::Compression::new(level.unsigned_abs());
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(body)?;
            encoder.finish()?
        }
        CompressionType::Zstd => zstd::stream::encode_all(body, level)?,
    };
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [CompressionType; 3] = [
        CompressionType::Lz4,
        CompressionType::Zstd,
        CompressionType::Zlib,
    ];

    #[test]
    fn a_body_survives_every_algorithm() {
        let body = Bytes::from("hello ".repeat(10_000));
        for kind in ALL {
            let small = compress(&body, kind, 5).unwrap();
            assert!(small.len() < body.len() / 10, "{kind:?}");
            let back = decompress(&small, kind.flag(), body.len()).unwrap();
            assert_eq!(back, body, "{kind:?}");
        }
    }

    #[test]
    fn a_body_above_the_limit_is_refused() {
        for kind in ALL {
            let bomb = compress(&vec![0; 1 << 20], kind, 9).unwrap();
            let result = decompress(&bomb, kind.flag(), (1 << 20) - 1);
            assert!(
                matches!(result, Err(CompressionError::TooLong(_))),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn a_damaged_body_is_an_error() {
        for kind in ALL {
            let small = compress(b"hello hello hello hello", kind, 5).unwrap();
            let cut = small.slice(..small.len() - 6);
            assert!(decompress(&cut, kind.flag(), 100).is_err(), "{kind:?}");
            let garbage = Bytes::from_static(b"no such stream");
            assert!(decompress(&garbage, kind.flag(), 100).is_err(), "{kind:?}");
        }
    }

    #[test]
    fn the_flag_says_whether_and_how() {
        let body = Bytes::from_static(b"plain");
        assert_eq!(decompress(&body, 0, 0).unwrap(), body);
        assert_eq!(CompressionType::Zlib.flag(), 769);
        assert_eq!(
            CompressionType::of(sys_flag::COMPRESSED),
            Some(CompressionType::Zlib)
        );
        assert!(matches!(
            decompress(&body, 0x701, 10),
            Err(CompressionError::UnknownType(0x701))
        ));
    }
}
