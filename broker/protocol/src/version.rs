//! Protocol versions: the ordinals of Apache RocketMQ's `MQVersion`.

/// 3.0.7 snapshot: a client below it is not told to reset its offsets.
pub const V3_0_7_SNAPSHOT: i32 = 28;
/// 3.0.11: from here on a registration body carries filter servers and topics.
pub const V3_0_11: i32 = 37;
/// 3.4.9: from here on `maxReconsumeTimes` of a send-back is honoured.
pub const V3_4_9: i32 = 121;
/// 4.1.0 snapshot: a broker below it is not asked for SQL filters.
pub const V4_1_0_SNAPSHOT: i32 = 232;
/// 4.9.4: from here on a client reads strict JSON in route answers.
pub const V4_9_4: i32 = 401;
/// 4.9.8: the version whose behaviour Hotfire follows, and the one it declares.
pub const V4_9_8: i32 = 409;
/// 5.0.0: from here on a compressed registration ends with queue mappings.
pub const V5_0_0: i32 = 413;
/// What our own commands declare.
pub const CURRENT: i32 = V4_9_8;
