//! The bits of a message's system flag (`MessageSysFlag`).

/// The body is compressed.
pub const COMPRESSED: i32 = 0x1;
/// The topic has the filter type MULTI_TAG.
pub const MULTI_TAGS: i32 = 0x2;
/// A half message; as a value of the bits of [`TRANSACTION_MASK`].
pub const TRANSACTION_PREPARED: i32 = 0x4;
/// A committed transactional message.
pub const TRANSACTION_COMMIT: i32 = 0x8;
/// A rolled back transactional message.
pub const TRANSACTION_ROLLBACK: i32 = 0xC;
/// The bits of the transaction type.
pub const TRANSACTION_MASK: i32 = 0xC;
/// The born host is an IPv6 address.
pub const BORN_HOST_V6: i32 = 0x10;
/// The store host is an IPv6 address.
pub const STORE_HOST_V6: i32 = 0x20;
/// The bits of the compression type; all zero is ZLIB, as before 5.0.
pub const COMPRESSION_MASK: i32 = 0x700;
/// LZ4 frames.
pub const COMPRESSION_LZ4: i32 = 0x100;
/// Zstandard.
pub const COMPRESSION_ZSTD: i32 = 0x200;
/// ZLIB (RFC 1950).
pub const COMPRESSION_ZLIB: i32 = 0x300;

/// The transaction type: 0, [`TRANSACTION_PREPARED`], [`TRANSACTION_COMMIT`] or
/// [`TRANSACTION_ROLLBACK`].
pub const fn transaction_type(sys_flag: i32) -> i32 {
    sys_flag & TRANSACTION_MASK
}

/// Whether such a message is in a consume queue: half messages, so called by their flag, and
/// roll-backs are not.
pub const fn is_consumable(sys_flag: i32) -> bool {
    matches!(transaction_type(sys_flag), 0 | TRANSACTION_COMMIT)
}

/// The same flag with another transaction type.
pub const fn with_transaction_type(sys_flag: i32, transaction: i32) -> i32 {
    (sys_flag & !TRANSACTION_MASK) | transaction
}
