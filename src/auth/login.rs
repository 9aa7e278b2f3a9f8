//! The credential of a login: which token signs, and what follows when the service refuses it (AUTH-1, AUTH-14, AUTH-15).
//!
//! Refuses to log in where the user has a key: its refusal is final.

use http::header::{AUTHORIZATION, HeaderMap};
use url::Url;

use super::keys::{KeySource, Keys};
use super::oauth::dpop::Role;
use super::oauth::{Ask, Need, OAuth, Token, Way, Why};
use super::{Again, Authorizer, Header, Signed, Source};
use crate::error::{Error, Kind, Remedy, Result};
use crate::protocol::http::Challenge;

/// Why a rejected request is not sent again.
#[derive(Clone, Debug)]
pub enum Rejection {
    /// There is no other credential.
    Denied,
    /// A login is needed, or has failed.
    Login(Error),
    /// Whether there is another credential is not known.
    Unknown(Error),
}

impl Authorizer {
    /// Handles a rejected request: it may be sent again if another key has been stored since it was signed, or if the
    /// login gives another token. Reads the key store once per rejected key; a key that was passed in cannot change.
    ///
    /// # Errors
    /// [`Rejection`].
    pub async fn rejected(
        &self,
        signed: Signed,
        challenge: &Challenge,
        ask: Ask,
    ) -> Result<Again, Rejection> {
        let wants_scope = challenge.wants_scope();
        if signed == Signed::BARE || (challenge.status != 401 && !wants_scope) {
            return Err(Rejection::Denied);
        }
        let Source::Stored(keys) = &self.source else { return Err(Rejection::Denied) };
        if !wants_scope {
            self.look_again(signed, keys).await?;
        }
        if self.key_state().which != signed {
            return Ok(Again);
        }
        if challenge.refuses_proof() && self.key_state().bound().is_some() {
            let why = format!("{} does not accept the proof that belongs to the token", self.shown_origin);
            return Err(Rejection::Login(
                Error::new(Kind::AuthDenied, why).hint("check this machine's clock"),
            ));
        }
        match &self.login {
            Some(login) if self.has_no_key() => self.renew(login, challenge, ask).await,
            _ => Err(Rejection::Denied),
        }
    }

    /// Reads the key store again; of several rejected requests with the same key, only the first does.
    async fn look_again(&self, signed: Signed, keys: &Keys) -> Result<(), Rejection> {
        if self.login.is_some() && self.key_state().token.is_some() {
            return Ok(());
        }
        let _one_reader = self.reading.lock().await;
        let is_first = self.key_state().which == signed;
        match is_first {
            true => self.read_key(keys).await.map_err(Rejection::Unknown),
            false => Ok(()),
        }
    }

    fn has_no_key(&self) -> bool {
        matches!(
            self.key_state().came_from,
            None | Some(KeySource::Absent | KeySource::Login | KeySource::Machine)
        )
    }

    async fn renew(&self, login: &OAuth, challenge: &Challenge, ask: Ask) -> Result<Again, Rejection> {
        if let Some(error) = &self.cleartext_error {
            return Err(Rejection::Login(error.clone()));
        }
        let need = Need {
            why: if challenge.wants_scope() { Why::MoreScopes } else { Why::Refused },
            refused: self.key_state().token.as_ref().map(|token| token.access.clone()),
            challenge: challenge.bearer(),
            ask,
            way: Way::Browser,
        };
        let had_token = need.refused.is_some();
        match login.renew(need).await {
            Ok(token) => {
                self.use_token(login, token);
                Ok(Again)
            }
            Err(error) if !had_token && error.next_step() == Some(&Remedy::KeyInsteadOfLogin) => {
                Err(Rejection::Denied)
            }
            Err(error) => Err(Rejection::Login(error)),
        }
    }

    /// Returns the credential of the stored login, if any.
    pub(super) async fn logged_in(&self) -> Result<(Option<Header>, Option<KeySource>, Option<Token>)> {
        let Some(login) = &self.login else { return Ok((None, None, None)) };
        if !login.is_listed() {
            return login.check_need().map(|()| (None, None, None));
        }
        if let Some(error) = &self.cleartext_error {
            return Err(error.clone());
        }
        let token = login.token().await?;
        let header = token.as_ref().map(|token| (AUTHORIZATION, token.header.clone()));
        Ok((header, token.is_some().then(|| source_of(login)), token))
    }

    /// Logs in, whatever was configured.
    ///
    /// # Errors
    /// Errors of the login.
    pub async fn sign_in(&self) -> Result<()> {
        let Some(login) = &self.login else {
            return Err(Error::new(Kind::Usage, "this service takes a key, not a login"));
        };
        let token = login.renew(Need::of_user(Way::Browser)).await?;
        self.use_token(login, token);
        Ok(())
    }

    fn use_token(&self, login: &OAuth, token: Token) {
        let header = (AUTHORIZATION, token.header.clone());
        self.use_credential(Some(header), Some(source_of(login)), Some(token));
    }

    /// Takes the nonce that a response of the service holds, for the next proof (RFC 9449 section 8.2).
    pub fn heard(&self, url: &Url, headers: &HeaderMap) {
        if self.login.is_some()
            && let Some((_, binding)) = self.key_state().bound()
        {
            binding.heard(url, Role::Resource, headers);
        }
    }

    /// Says whether a challenge only asks for the nonce that came with it (RFC 9449 section 9).
    pub fn lacks_nonce(&self, challenge: &Challenge) -> bool {
        challenge.wants_nonce() && self.key_state().bound().is_some()
    }

    /// Says whether a login signs.
    pub fn signs_with_login(&self) -> bool {
        self.login.is_some() && self.key_state().token.is_some()
    }

    /// Notes that the service took a request that this credential signed.
    pub fn accepted(&self, signed: Signed) {
        if let Some(login) = &self.login
            && login.is_unproven()
            && self.key_state().which == signed
        {
            login.accepted();
        }
    }
}

fn source_of(login: &OAuth) -> KeySource {
    if login.is_machine() { KeySource::Machine } else { KeySource::Login }
}
