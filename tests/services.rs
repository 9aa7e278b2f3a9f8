//! What differs between services is data: a service of the user has it by its file alone.

mod known;
mod limits;
mod sixth;

use crate::support::home::{Home, Ran};
use crate::support::service::Service;

/// The key of every service here.
const KEY: &str = "six_0123456789abcdef0123456789";

/// A home with a service `six` that a stand-in plays.
struct Six {
    home: Home,
    service: Service,
}

impl Six {
    /// `wire` is what it speaks, `more` the rest of its file before its key.
    fn new(wire: &str, more: &str, service: Service) -> Self {
        let home = Home::new();
        let text = format!(
            "title = 'Six'\nendpoint = '{{base}}/mcp'\nwire = '{wire}'\n{more}\n\
             [auth]\nscheme = 'header'\nheader = 'X-Six-Key'\nkey_prefixes = ['six_']\n\
             [variables.base]\nkind = 'url'\ndefault = '{}'\nabout = 'where it is'\n",
            service.url().trim_end_matches("/mcp")
        );
        home.write("config/services/six.toml", text);
        Self { home, service }
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = self.home.command(["-p", "six"].iter().chain(arguments));
        Ran::of(command.env("ASISTRY_API_KEY", KEY))
    }

    /// How many requests came with this verb.
    fn came(&self, verb: &str) -> usize {
        self.service.received().iter().filter(|received| received.verb == verb).count()
    }
}
