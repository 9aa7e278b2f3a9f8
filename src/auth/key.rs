//! Builds the header that carries a key.
//!
//! Refuses malformed keys.

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::form;
use super::keys::Found;
use crate::error::{Error, Kind, Remedy, Result, UsableStores};
use crate::profile::Profile;
use crate::secret::Secret;
use crate::service::AuthScheme;

pub(super) fn no_key(profile: &Profile, home: UsableStores) -> Error {
    let Profile { name, service, .. } = profile;
    if service.auth.scheme == AuthScheme::Oauth {
        let scopes = service.auth.scopes.join(" ");
        let scopes = if scopes.is_empty() { scopes } else { format!(" with the scopes {scopes}") };
        let why = format!(
            "{} requires an OAuth login{scopes}, which this version of asistry does not support yet",
            service.title
        );
        return Error::new(Kind::AuthRequired, why).remedy(Remedy::AddKey {
            page: String::new(),
            starter: None,
            home,
        });
    }
    Error::new(Kind::AuthRequired, format!("there is no key for the profile {name}")).remedy(Remedy::AddKey {
        page: service.auth.key_page.clone(),
        starter: service.starter(),
        home,
    })
}

/// Builds the header for a key after checking its form.
pub(super) fn header_of(profile: &Profile, found: &Found) -> Result<(HeaderName, HeaderValue)> {
    let key = form::trimmed(&found.secret);
    let fits = if found.forced { form::sendable(&key) } else { form::checked(&profile.service, &key) };
    fits.map_err(|unfit| unfit.into_error(&found.source, profile))?;
    let auth = &profile.service.auth;
    let (name, text) = match auth.scheme {
        AuthScheme::Header => (auth.header.as_str(), key.expose().to_owned()),
        AuthScheme::Bearer | AuthScheme::Oauth => {
            (AUTHORIZATION.as_str(), format!("Bearer {}", key.expose()))
        }
    };
    let text = Zeroizing::new(text);
    let (Ok(name), Ok(mut value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&text))
    else {
        let why = format!("the key of {} cannot be sent in a header named “{name}”", profile.service.title);
        return Err(Error::new(Kind::Config, why).hint("fix the header in the service file"));
    };
    value.set_sensitive(true);
    Ok((name, value))
}

/// Returns the text of a key, for `keys show --reveal`.
pub fn revealed(key: &Secret) -> &str {
    key.expose()
}
