// The authorization servers of the machine suite: oidc-provider as the service's, which takes workload tokens and ID-JAGs,
// and a second one as an identity provider, which gives ID-JAGs for its ID tokens.
import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';
import { Nonces, told, useOnce } from './oauth_machine_proofs.mjs';
import { peer } from './support.mjs';

const load = (name) => import(pathToFileURL(peer.resolve(`oidc-provider${name}`)).href);
const { default: Provider, errors } = await load('');
const { default: internals } = await load('/lib/helpers/weak_cache.js');
const { handler: clientCredentials } = await load('/lib/actions/grants/client_credentials.js');
const helpers = await load('/lib/helpers/grants.js');
const { decodeJwt, decodeProtectedHeader, importJWK, jwtVerify, SignJWT } = peer('jose');

const URN = 'urn:ietf:params:oauth:';
const [JWT_BEARER, EXCHANGE] = [`${URN}grant-type:jwt-bearer`, `${URN}grant-type:token-exchange`];
const [ID_TOKEN, ID_JAG] = [`${URN}token-type:id_token`, `${URN}token-type:id-jag`];
const SCOPE = 'tasks:read tasks:write';
const SECRET_WORDS = ['client_secret', 'client_assertion', 'assertion', 'subject_token', 'code', 'code_verifier', 'refresh_token', 'token'];

/** A signer of its own: `sign(claims, { typ })` gives a JWT, `key` is its public key. */
export async function newIssuer(issuer) {
  const jwk = { ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' }), kid: 'ec', alg: 'ES256', use: 'sig' };
  const secret = await importJWK(jwk, 'ES256');
  const sign = ({ lifetime = 300, ...claims }, typ = 'JWT') => {
    const iat = Math.floor(Date.now() / 1000) + Math.min(lifetime, 0);
    return new SignJWT({ iss: issuer, iat, exp: iat + Math.abs(lifetime) - (lifetime < 0 ? 60 : 0), jti: randomUUID(), ...claims }).setProtectedHeader({ alg: 'ES256', kid: 'ec', typ }).sign(secret);
  };
  const { d, ...key } = jwk;
  return { issuer, jwk, key, sign };
}

const signingKeys = (issuer) => ({ keys: [issuer.jwk, { ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }), kid: 'rsa', alg: 'RS256', use: 'sig' }] });
const without = { devInteractions: { enabled: false }, userinfo: { enabled: false }, rpInitiatedLogout: { enabled: false } };
const machine = (client_id, token_endpoint_auth_method, more) => ({ client_id, token_endpoint_auth_method, redirect_uris: [], response_types: [], grant_types: ['client_credentials', JWT_BEARER], ...more });

/** Whom an assertion is about. */
function subjectOf(assertion) {
  try {
    return assertion && decodeJwt(assertion).sub;
  } catch {
    return 'unreadable';
  }
}

/** Records every request to `provider`, and answers some with a fault of `state`. */
function watched(provider, name, { state, journal, remember, nonces }) {
  provider.on('grant.error', (ctx, error) => (ctx.detail = error.error_detail ?? error.cause?.message));
  provider.use(async (ctx, next) => {
    const kinds = { '/token': 'token', '/token/revocation': 'revoke', '/reg': 'register' };
    const kind = kinds[ctx.path] ?? (ctx.path.includes('.well-known') ? 'metadata' : ctx.path.startsWith('/auth') ? 'authorize' : 'other');
    const entry = { kind, at_server: name, path: ctx.path.replace(/^\/auth\/.*/, '/auth/…'), agent: ctx.get('user-agent') };
    const proof = ctx.req.headers.dpop;
    const basic = /^Basic (.*)$/i.exec(ctx.get('authorization'))?.[1];
    let given = kind === 'authorize' ? { ...ctx.query } : {};
    if (ctx.method === 'POST' && kind !== 'register') {
      let body = await text(ctx.req);
      given = Object.fromEntries(new URLSearchParams(body));
      // A workload may come without a client id; oidc-provider wants one.
      if (given.grant_type === JWT_BEARER && !given.client_id && !basic && !given.client_assertion) body += '&client_id=anonymous';
      ctx.req.body = body;
    }
    const [basicId, basicSecret] = basic ? Buffer.from(basic, 'base64').toString().split(':').map(decodeURIComponent) : [];
    remember([...SECRET_WORDS.map((word) => given[word]), basic, basicSecret, proof]);
    const asserted = given.client_assertion && { ...decodeProtectedHeader(given.client_assertion), ...decodeJwt(given.client_assertion) };
    const by = [basic && 'basic', given.client_secret && 'post', asserted && 'jwt'].filter(Boolean).join('+') || 'none';
    Object.assign(entry, { client: given.client_id ?? basicId ?? asserted?.sub, scope: given.scope, resource: given.resource });
    if (kind === 'token') Object.assign(entry, { grant: given.grant_type?.replace(`${URN}grant-type:`, ''), by, kid: asserted?.kid, alg: asserted?.alg, audience: given.audience, subject: subjectOf(given.assertion ?? given.subject_token) });
    if (kind === 'authorize') Object.assign(entry, { challenge: given.code_challenge_method, redirect: given.redirect_uri });
    if (proof !== undefined && nonces) {
      Object.assign(entry, { proof: true, ...(await told(proof, nonces)) });
      try {
        useOnce(proof);
        if (decodeJwt(proof).ath !== undefined) throw new Error('a proof with ath at an authorization server');
      } catch (error) {
        entry.problem = error.message;
      }
    }
    const fault = state.fail.find(({ at = 'token', where = 'as', times }) => at === kind && where === name && times > 0);
    if (fault) {
      fault.times -= 1;
      Object.assign(ctx, { status: fault.status, body: fault.body ?? 'injected fault' });
      ctx.set(fault.headers ?? {});
      return journal({ ...entry, status: fault.status, fault: true });
    }
    await next();
    const { body } = ctx;
    if (kind === 'token' && body?.access_token) {
      remember([body.access_token, body.refresh_token, body.id_token]);
      if (name === 'as') entry.token = state.tokens.push(body.access_token) - 1;
      Object.assign(entry, { type: body.token_type, granted: body.scope });
      if (nonces && state.asEach) nonces.next();
    }
    if (kind === 'metadata' && name === 'as' && state.methods) ctx.body.token_endpoint_auth_methods_supported = state.methods;
    if (kind === 'register') Object.assign(entry, { client: body?.client_id, metadata: ctx.oidc?.body }), remember([body?.client_secret, body?.registration_access_token]);
    journal({ ...entry, status: ctx.status, error: body?.error, why: ctx.detail ?? body?.error_description });
  });
}

/** The service's authorization server; `outside` are the issuers whose assertions it takes. */
export async function startAuthority({ issuer, resource, keys, outside, ...scene }) {
  const own = await newIssuer(issuer);
  const { state } = scene;
  const nonces = new Nonces();
  const secret = { client_secret: 'a/secret+of the:peers%=' };
  scene.remember([secret.client_secret]);
  const provider = new Provider(issuer, {
    clients: [
      machine('robot-basic', 'client_secret_basic', secret),
      machine('robot-post', 'client_secret_post', secret),
      machine('robot-key', 'private_key_jwt', { jwks: { keys } }),
      machine('workload', 'none', { grant_types: [JWT_BEARER] }),
      machine('anonymous', 'none', { grant_types: [JWT_BEARER] }),
      { client_id: 'person-key', token_endpoint_auth_method: 'private_key_jwt', jwks: { keys }, application_type: 'native', redirect_uris: ['http://127.0.0.1/callback'], grant_types: ['authorization_code', 'refresh_token'] },
    ],
    jwks: signingKeys(own),
    cookies: { keys: [randomBytes(16).toString('hex')] },
    clientAuthMethods: ['none', 'client_secret_basic', 'client_secret_post', 'private_key_jwt'],
    enabledJWA: { clientAuthSigningAlgValues: ['ES256', 'RS256'] },
    scopes: ['openid', 'offline_access', ...SCOPE.split(' ')],
    features: {
      ...without,
      clientCredentials: { enabled: true },
      revocation: { enabled: true },
      registration: { enabled: true },
      dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => state.asNonce, allowReplay: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => { throw new errors.InvalidTarget('name the resource'); },
        useGrantedResource: () => true,
        getResourceServerInfo(_ctx, indicator) {
          if (indicator !== resource) throw new errors.InvalidTarget();
          return { scope: SCOPE, audience: resource, accessTokenTTL: state.lifetime, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } } };
        },
      },
    },
    pkce: { required: () => true },
    issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    expiresWithSession: () => false,
    rotateRefreshToken: () => true,
    findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    interactions: { url: (_ctx, { uid }) => `/sign-in?uid=${uid}` },
    extraTokenClaims: (ctx) => ({ workload: ctx.oidc.workload?.sub }),
    assertJwtClientAuthClaimsAndHeader(_ctx, claims, _header, client) {
      const time = Date.now() / 1000;
      const wrong = [
        claims.aud !== issuer && `aud is ${claims.aud}`, claims.sub !== client.clientId && 'sub is another', claims.exp > time + 300 && 'exp is too far ahead',
        !(claims.iat <= time + 5) && 'iat is missing or to come', claims.jti.length < 16 && 'jti is short',
      ].filter(Boolean);
      if (wrong.length > 0) {
        scene.journal({ kind: 'problem', why: `a client assertion: ${wrong}` });
        throw new errors.InvalidClientAuth(wrong.join());
      }
    },
  });
  internals(provider).DPoPNonces = nonces;

  const bound = Object.fromEntries(Object.entries(helpers).map(([name, helper]) => [name, helper.bind(undefined, provider)]));
  const usedUp = new Set();
  const takeAssertion = async (ctx) => {
    const { assertion } = ctx.oidc.params;
    try {
      const from = outside.find(({ issuer }) => issuer === decodeJwt(assertion).iss);
      if (!from) throw new Error('an issuer that nobody knows');
      const { payload, protectedHeader } = await jwtVerify(assertion, await importJWK(from.key, 'ES256'), { issuer: from.issuer, audience: issuer });
      if (state.refuse) throw new Error('refused as the scene wants it');
      if (from.jag) {
        if (protectedHeader.typ !== 'oauth-id-jag+jwt' || payload.client_id !== ctx.oidc.client.clientId || payload.resource !== resource) throw new Error('an ID-JAG for someone else');
        if (usedUp.has(payload.jti)) throw new Error('an ID-JAG that came before');
      }
      ctx.oidc.workload = payload;
    } catch (error) {
      throw new errors.InvalidGrant(error.message);
    }
    await clientCredentials(provider, bound, ctx);
    usedUp.add(ctx.oidc.workload.jti);
  };
  provider.registerGrantType(JWT_BEARER, takeAssertion, ['assertion', 'scope', 'resource'], ['resource']);
  watched(provider, 'as', { ...scene, nonces });

  /** Signs the user in and consents for her, or does not, as the page of an interaction would. */
  const signIn = async (request, response) => {
    const { params } = await provider.interactionDetails(request, response);
    if (state.deny) return provider.interactionResult(request, response, { error: 'access_denied', error_description: 'the user does not want it' });
    const grant = new provider.Grant({ accountId: 'ada', clientId: params.client_id });
    grant.addOIDCScope(params.scope);
    grant.addResourceScope(resource, params.scope);
    return provider.interactionResult(request, response, { login: { accountId: 'ada' }, consent: { grantId: await grant.save() } });
  };
  return { handle: provider.callback(), signIn, nonces, key: own.key };
}

/** The identity provider, with an issuer that signs its ID tokens. */
export async function startIdentityProvider({ issuer, audience, resource, ...scene }) {
  const own = { ...await newIssuer(issuer), jag: true };
  const { state } = scene;
  const idp = (client_id, token_endpoint_auth_method, more) => machine(client_id, token_endpoint_auth_method, { grant_types: [EXCHANGE], ...more });
  const secret = { client_secret: 'Zq8-another/secret+0f:the_peers' };
  scene.remember([secret.client_secret]);
  const provider = new Provider(issuer, {
    clients: [idp('idp-robot', 'client_secret_basic', secret), idp('idp-public', 'none')],
    jwks: signingKeys(own),
    cookies: { keys: [randomBytes(16).toString('hex')] },
    features: without,
    pkce: { required: () => true },
  });
  const exchange = async (ctx) => {
    const { params, client } = ctx.oidc;
    if (state.idpRefuse) throw new errors.InvalidGrant('the policy forbids it');
    const wrong = [
      params.subject_token_type !== ID_TOKEN && 'subject_token_type', params.requested_token_type !== ID_JAG && 'requested_token_type',
      params.audience !== audience && `audience ${params.audience}`, params.resource !== resource && `resource ${params.resource}`,
    ].filter(Boolean);
    if (wrong.length > 0) throw new errors.InvalidRequest(`wrong: ${wrong}`);
    let sub;
    try {
      ({ payload: { sub } } = await jwtVerify(params.subject_token, await importJWK(own.key, 'ES256'), { issuer, audience: client.clientId }));
    } catch (error) {
      throw new errors.InvalidGrant(error.message);
    }
    const jag = await own.sign({ sub, aud: audience, client_id: state.jagClient, resource, scope: params.scope }, 'oauth-id-jag+jwt');
    ctx.body = { access_token: jag, issued_token_type: ID_JAG, token_type: 'N_A', expires_in: 300, scope: params.scope };
  };
  provider.registerGrantType(EXCHANGE, exchange, ['subject_token', 'subject_token_type', 'requested_token_type', 'audience', 'resource', 'scope'], []);
  watched(provider, 'idp', scene);
  return { handle: provider.callback(), own };
}
