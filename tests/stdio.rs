//! The real binary on its standard streams, in front of a programmable service.

mod ending;
mod framing;
mod load;
mod logs;
mod repeats;
mod start;
mod streams;
mod tools;
