//! Values that travel by name.

use super::names;

names! {
    /// How a consumer gets its messages (`ConsumeType`).
    pub enum ConsumeType {
        /// It pulls as it likes.
        Actively = "CONSUME_ACTIVELY",
        /// Its listener is called.
        #[default]
        Passively = "CONSUME_PASSIVELY",
        /// It pops (5.x).
        Pop = "CONSUME_POP",
    }

    /// How the members of a group share messages (`MessageModel`).
    pub enum MessageModel {
        /// Every member gets every message.
        Broadcasting = "BROADCASTING",
        /// Every message goes to one member.
        #[default]
        Clustering = "CLUSTERING",
    }

    /// Where a group without offsets begins (`ConsumeFromWhere`).
    pub enum ConsumeFromWhere {
        /// At the end.
        #[default]
        LastOffset = "CONSUME_FROM_LAST_OFFSET",
        /// An old name of the same.
        LastOffsetAndFromMinWhenBootFirst =
            "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        /// An old name of the same.
        MinOffset = "CONSUME_FROM_MIN_OFFSET",
        /// An old name of the same.
        MaxOffset = "CONSUME_FROM_MAX_OFFSET",
        /// At the beginning.
        FirstOffset = "CONSUME_FROM_FIRST_OFFSET",
        /// At a time.
        Timestamp = "CONSUME_FROM_TIMESTAMP",
    }

    /// How many tags a message of a topic has (`TopicFilterType`).
    pub enum TopicFilterType {
        /// One.
        #[default]
        SingleTag = "SINGLE_TAG",
        /// Several.
        MultiTag = "MULTI_TAG",
    }

    /// What came of a message that was consumed on command (`CMResult`).
    pub enum ConsumeResult {
        /// The listener was content.
        #[default]
        Success = "CR_SUCCESS",
        /// It wants the message again.
        Later = "CR_LATER",
        /// An ordered listener rolled back.
        Rollback = "CR_ROLLBACK",
        /// An ordered listener committed.
        Commit = "CR_COMMIT",
        /// It failed.
        ThrowException = "CR_THROW_EXCEPTION",
        /// It returned nothing.
        ReturnNull = "CR_RETURN_NULL",
    }
}
