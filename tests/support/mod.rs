//! What tests share. A stand-in that nobody called is a failure.

pub mod conversation;
