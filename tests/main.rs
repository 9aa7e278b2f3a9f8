//! The one test binary: a file for each behaviour.

mod conversations;
mod house;
mod sandbox;
mod support;
