//! `asistry keys` and the stored keys, with the real binary and the encrypted file.

#[cfg(target_os = "linux")]
mod terminal;

const OLD: &str = "ask_old0Vq8sTz31LmXw07Kd";
const NEW: &str = "ask_new0Vq8sTz31LmXw07Kd";
/// Where nobody listens.
const NOWHERE: &str = "http://127.0.0.1:9/mcp";
