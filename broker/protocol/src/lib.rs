//! Pure codecs of the RocketMQ remoting protocol.
