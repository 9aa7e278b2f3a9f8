//! A login by a person: bind the port, register, ask the authorization server about the client, and only then open the
//! window; store the tokens, and only then say that it is done.
//!
//! Refuses every response that is not for this login, and goes on waiting.

use tokio::sync::watch;

use super::authorize::{self, Asked, Unfit};
use super::callback::{Arrived, FIXED_PORTS, Listener, Page, port_of};
use super::discovery::Found;
use super::dpop::DpopKey;
use super::flow::{kept_for_use, no_server, overdue};
use super::grant::{Client, Grant, Tokens};
use super::registration::{named_client, register, with_offline};
use super::token::AtServer;
use super::{Inner, Keeping, LOGIN_LIMIT, Stage, Token, device};
use crate::error::{Remedy, Result};
use crate::profile::StoreKind;
use crate::secret::Secret;

/// A login by a person.
pub struct PersonLogin<'a> {
    /// The logins of the profile.
    pub inner: &'a Inner,
    /// The authorization server.
    pub found: &'a Found,
    /// The scopes to ask for.
    pub wanted: Vec<String>,
    /// The key that the tokens will be bound to, if the service wants that.
    pub binding: Option<DpopKey>,
    /// Where it is said that a person is waited for.
    pub stage: &'a watch::Sender<Stage>,
}

impl PersonLogin<'_> {
    /// Logs in with a browser on this machine, or with what is pasted.
    ///
    /// # Errors
    /// As [`super::OAuth::renew`].
    pub async fn in_browser(mut self, known: Option<Grant>) -> Result<Token> {
        self.found.server.check_pkce()?;
        let store = self.store().await?;
        let early = store.filter(|_| !has_tokens(known.as_ref()));
        let named = named_client(&self.inner.options, &self.found.server);
        self.wanted = with_offline(self.wanted, &self.found.server);
        let registered =
            known.map(|grant| grant.client).filter(|client| client.is_registered_for(&self.wanted));
        let ports = match (&named, registered.as_ref().and_then(|client| client.redirect_uri.as_deref())) {
            (Some(_), _) => FIXED_PORTS.to_vec(),
            (None, Some(uri)) => port_of(uri).into_iter().collect(),
            (None, None) => Vec::new(),
        };
        let mut listener = Listener::bind(&ports).await?;
        let redirect_uri = listener.redirect_uri().to_owned();
        let fits = |client: &Client| client.redirect_uri.as_deref() == Some(redirect_uri.as_str());
        let (mut client, is_old) = match (named, registered.filter(fits)) {
            (Some(named), _) => (named, false),
            (None, Some(registered)) => (registered, true),
            (None, None) => (self.registered(&redirect_uri, early).await?, false),
        };
        let mut request = self.request(&client, &redirect_uri)?;
        if is_old && self.is_forgotten(&request).await {
            client = self.registered(&redirect_uri, early).await?;
            request = self.request(&client, &redirect_uri)?;
        }
        let pasted = self.inner.person.pasted.clone();
        let _ = self.stage.send(Stage::Asking(None));
        // A browser may fetch the page before its opener says that it has opened.
        let mut opening = Some((self.inner.person.open)(request.url.clone()));
        let until = tokio::time::sleep(LOGIN_LIMIT);
        tokio::pin!(until);
        let mut paste = pasted.as_ref().map(|pasted| pasted());
        loop {
            let line = async {
                match &mut paste {
                    Some(paste) => paste.await,
                    None => std::future::pending().await,
                }
            };
            let opened = async {
                match &mut opening {
                    Some(opening) => opening.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // The URL is shown before anything else happens.
                biased;
                is_open = opened => {
                    opening = None;
                    if !is_open {
                        let _ = self.stage.send(Stage::Asking(Some(request.url.to_string())));
                    }
                }
                arrived = listener.next() => match request.code(&arrived.query) {
                    Err(Unfit::Stray) => drop(arrived.page.send(Page::Stray)),
                    Err(Unfit::Failed(error)) => {
                        let page = Page::Failed(error.message().to_owned());
                        listener.show(arrived.page, page).await;
                        return Err(error);
                    }
                    Ok(code) => {
                        let Arrived { page, .. } = arrived;
                        let done = self.exchange(&request, code, client, (&redirect_uri, store)).await;
                        let told = done.as_ref().err().map(|error| error.message().to_owned());
                        listener.show(page, told.map_or(Page::Done, Page::Failed)).await;
                        return done;
                    }
                },
                line = line => match request.pasted(&line?) {
                    Ok(code) => return self.exchange(&request, code, client, (&redirect_uri, store)).await,
                    Err(Unfit::Failed(error)) => return Err(error),
                    Err(Unfit::Stray) => {
                        (self.inner.person.say)("that is not the URL of this login: paste the whole address, which begins with http://127.0.0.1:");
                        paste = pasted.as_ref().map(|pasted| pasted());
                    }
                },
                () = &mut until => return Err(overdue(self.inner)),
            }
        }
    }

    /// Logs in with a code that is entered on another device.
    ///
    /// # Errors
    /// As [`super::OAuth::renew`].
    pub async fn on_device(mut self, known: Option<Grant>) -> Result<Token> {
        device::check(&self.found.server)?;
        let store = self.store().await?;
        let early = store.filter(|_| !has_tokens(known.as_ref()));
        let server = &self.found.server;
        self.wanted = with_offline(self.wanted, server);
        let registered =
            known.map(|grant| grant.client).filter(|client| client.is_registered_for(&self.wanted));
        let client = match named_client(&self.inner.options, server).or(registered) {
            Some(client) => client,
            None => self.registered("http://127.0.0.1/callback", early).await?,
        };
        let resource = self.found.resource.as_deref();
        let say = &self.inner.person.say;
        let at = self.at(&client);
        // Only token requests carry a proof.
        let beginning = AtServer { binding: None, ..at };
        let device = device::begin(beginning, &self.wanted, resource).await?;
        (self.inner.person.open)(device.place.clone()).await;
        say(&format!("Enter the code {} there.", device.code));
        let tokens = device::finish(at, &device, &self.wanted).await?;
        self.keep(client, tokens, store).await
    }

    /// Returns the store that will take the login, found out before a person is asked; none where none opens.
    async fn store(&self) -> Result<Option<StoreKind>> {
        if self.inner.current().is_unlockable {
            // Said when the lock failed.
            return Ok(None);
        }
        let error = match self.inner.keys.store_for_new(None).await {
            Ok(store) => return Ok(Some(store)),
            Err(error) => error,
        };
        if self.inner.keeping == Keeping::Stored {
            return Err(error.remedy(Remedy::LoginInFile));
        }
        (self.inner.person.say)(&format!(
            "the login will end with this process, because it cannot be stored: {}",
            error.message()
        ));
        Ok(None)
    }

    /// Registers a client, and stores it at once if there is a store for it: a login that is declined needs no other one.
    async fn registered(&self, redirect_uri: &str, store: Option<StoreKind>) -> Result<Client> {
        let client = register(&self.inner.web, &self.found.server, redirect_uri, &self.wanted).await;
        // Nothing but the refusal of a request has said that there is an authorization server.
        let client =
            client.map_err(|error| if self.found.is_assumed { no_server(self.inner) } else { error })?;
        if let Some(store) = store {
            let grant = Grant::new(&self.found.server.issuer, self.found.resource.clone(), client.clone());
            self.inner.write(&grant, store).await?;
        }
        Ok(client)
    }

    fn request(&self, client: &Client, redirect_uri: &str) -> Result<authorize::Request> {
        let asked = Asked {
            client_id: &client.id,
            redirect_uri,
            scopes: &self.wanted,
            resource: self.found.resource.as_deref(),
            key: self.binding.as_ref().map(DpopKey::thumbprint),
        };
        authorize::Request::new(&self.inner.web, &self.found.server, asked)
    }

    /// Asks the authorization server whether it still knows a client, so that no window shows an error. What is no
    /// clear word about the client is none.
    async fn is_forgotten(&self, request: &authorize::Request) -> bool {
        let Ok(reply) = self.inner.web.get_page(&request.url).await else { return false };
        let names_client =
            |text: &str| text.contains("invalid_client") || text.contains("unauthorized_client");
        let by_redirect = reply
            .location(&request.url)
            .is_some_and(|to| to.query_pairs().any(|(name, value)| name == "error" && names_client(&value)));
        by_redirect || matches!(reply.status, 400 | 401 | 404 | 422)
    }

    fn at<'a>(&'a self, client: &'a Client) -> AtServer<'a> {
        let (web, server) = (&self.inner.web, &self.found.server);
        AtServer { web, server, client, binding: self.binding.as_ref() }
    }

    async fn exchange(
        &self,
        request: &authorize::Request,
        code: Secret,
        client: Client,
        (redirect_uri, store): (&str, Option<StoreKind>),
    ) -> Result<Token> {
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code.expose()),
            ("redirect_uri", redirect_uri),
            ("code_verifier", request.verifier.expose()),
        ];
        fields.extend(self.found.resource.as_deref().map(|resource| ("resource", resource)));
        let tokens = self.at(&client).tokens(&fields, &self.wanted).await?;
        self.keep(client, tokens, store).await
    }

    async fn keep(&self, client: Client, tokens: Tokens, store: Option<StoreKind>) -> Result<Token> {
        let mut grant = Grant::new(&self.found.server.issuer, self.found.resource.clone(), client);
        (grant.requested, grant.tokens) = (self.wanted.clone(), Some(tokens));
        grant.binding = self.binding.clone();
        if store.is_none() {
            self.inner.current().in_memory = true;
        }
        kept_for_use(self.inner, grant, store).await
    }
}

/// Says whether there is a login, which a new registration must not replace before its own login is made.
fn has_tokens(known: Option<&Grant>) -> bool {
    known.is_some_and(|grant| grant.tokens.is_some())
}
