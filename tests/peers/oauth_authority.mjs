// An authorization server: better-auth with its OAuth provider, its jwt plugin and an in-memory SQLite database, configured
// as for an MCP service. Has one user. Refuses loopback redirects of clients that don't register as native.
import { pathToFileURL } from 'node:url';
import { peer } from './support.mjs';

const load = (name) => import(pathToFileURL(peer.resolve(name)).href);
const { betterAuth } = await load('better-auth');
const { getMigrations } = await load('better-auth/db/migration');
const { jwt } = await load('better-auth/plugins');
const { oauthProvider } = await load('@better-auth/oauth-provider');
const { oauthProviderResourceClient } = await load('@better-auth/oauth-provider/resource-client');
const Database = peer('better-sqlite3');

export const PATH = '/auth';
export const USER = { name: 'Ada', email: 'ada@example.com', password: 'a password of the peers' };
const SCOPES = ['openid', 'profile', 'email', 'offline_access', 'organizations:read', 'tasks:read', 'tasks:write'];

/** Starts one with an empty database, issuer `origin` + PATH, that issues tokens for `resource`. */
export async function startAuthority(origin, resource) {
  const database = new Database(':memory:');
  const auth = betterAuth({
    appName: 'peers',
    baseURL: origin,
    basePath: PATH,
    secret: 'a secret of the peers, which is long enough',
    database,
    emailAndPassword: { enabled: true },
    rateLimit: { enabled: false },
    telemetry: { enabled: false },
    logger: { level: 'error' },
    disabledPaths: ['/token'],
    plugins: [
      jwt({ jwt: { issuer: origin + PATH } }),
      oauthProvider({
        loginPage: '/sign-in',
        consentPage: '/consent',
        scopes: SCOPES,
        resources: [resource],
        clientRegistrationDefaultResources: [resource],
        allowDynamicClientRegistration: true,
        allowUnauthenticatedClientRegistration: true,
        silenceWarnings: { oauthAuthServerConfig: true, openidConfig: true },
      }),
    ],
  });
  await (await getMigrations(auth.options)).runMigrations();
  await auth.api.signUpEmail({ body: USER });
  const { getProtectedResourceMetadata, verifyBearerToken } = oauthProviderResourceClient(auth).getActions();

  return {
    /** Handles a web Request. */
    handle: (request) => auth.handler(request),
    /** Returns the claims of an access token for `resource`, or throws the challenge to send. */
    verify: (token, requiredScopes) => verifyBearerToken(token, { verifyOptions: { audience: resource }, requiredScopes }),
    resourceMetadata: (scopes) => getProtectedResourceMetadata({ resource, scopes_supported: scopes }),
    /** Lifetime in seconds of access tokens issued from now on. */
    setLifetime: (seconds) => database.prepare('update oauthResource set accessTokenTtl = ?').run(seconds),
    /** Revokes every grant: deletes refresh tokens and consents. */
    revokeGrants: () => database.exec('delete from oauthAccessToken; delete from oauthRefreshToken; delete from oauthConsent'),
    /** Registers a client in the user's name; it may have a secret. */
    async register(metadata) {
      const { headers } = await auth.api.signInEmail({ body: USER, returnHeaders: true });
      const cookie = headers.getSetCookie().map((line) => line.split(';')[0]).join('; ');
      return auth.api.createOAuthClient({ body: metadata, headers: new Headers({ cookie }) });
    },
    stop: () => database.close(),
  };
}
