// The service's side of DPoP (RFC 9449): nonces, and proofs checked by jose.
import { createHash, randomBytes } from 'node:crypto';
import { peer } from './support.mjs';

const { calculateJwkThumbprint, decodeJwt, decodeProtectedHeader, EmbeddedJWK, jwtVerify } = peer('jose');

const WINDOW = 60; // seconds that a proof may be old or early
const KEPT = 32; // nonces that are good while each answer tells a new one

/** The nonces of one server. oidc-provider takes it in the place of its own, which change by the clock. */
export class Nonces {
  #good = [];

  constructor() {
    this.rotate();
  }

  /** Makes a new one; those before stay good. */
  next() {
    this.#good = [...this.#good, randomBytes(24).toString('base64url')].slice(-KEPT);
  }

  /** Makes a new one, and refuses all before. */
  rotate() {
    this.#good = [];
    this.next();
  }

  nextChallenge() {
    return this.#good.at(-1);
  }

  checkChallenge(nonce) {
    return this.#good.includes(nonce);
  }
}

const seen = new Set();

/** Notes a proof as used: throws if one with its `jti` came before, to whichever server. */
export function useOnce(proof) {
  const { jti } = decodeJwt(proof);
  if (typeof jti !== 'string' || jti.length < 16) throw new Error('a proof with a poor jti');
  if (seen.has(jti)) throw new Error('a proof whose jti came before');
  seen.add(jti);
}

/** What the journal tells of a proof that is perhaps bad. */
export async function told(proof, nonces) {
  try {
    const { nonce } = decodeJwt(proof);
    const state = nonce === undefined ? 'none' : nonce === nonces.nextChallenge() ? 'newest' : nonces.checkChallenge(nonce) ? 'good' : 'old';
    return { jkt: await calculateJwkThumbprint(decodeProtectedHeader(proof).jwk), nonce: state };
  } catch {
    return { jkt: 'unreadable', nonce: 'unreadable' };
  }
}

/**
 * Checks the proof of one request with an access token bound to the key `jkt`. Returns `nonce` if all is right but the
 * nonce, which must be one of `nonces` where those are given; throws why a proof is bad.
 */
export async function checkProof({ proof, method, url, token, jkt, nonces }) {
  if (typeof proof !== 'string' || proof.includes(',')) throw new Error('not one proof');
  const { payload, protectedHeader } = await jwtVerify(proof, EmbeddedJWK, { algorithms: ['ES256'], typ: 'dpop+jwt' });
  const { jwk } = protectedHeader;
  if (Object.keys(jwk).some((name) => !['kty', 'crv', 'x', 'y', 'alg', 'use', 'kid'].includes(name))) throw new Error(`a key with ${Object.keys(jwk)}`);
  if (payload.htm !== method) throw new Error(`htm is ${payload.htm}, not ${method}`);
  if (payload.htu !== url) throw new Error(`htu is ${payload.htu}, not ${url}`);
  if (typeof payload.iat !== 'number' || Math.abs(Date.now() / 1000 - payload.iat) > WINDOW) throw new Error(`iat is ${payload.iat}`);
  if (payload.ath !== createHash('sha256').update(token).digest('base64url')) throw new Error('ath is not that of the token');
  if (await calculateJwkThumbprint(jwk) !== jkt) throw new Error('the token is bound to another key');
  useOnce(proof);
  return nonces && !nonces.checkChallenge(payload.nonce) ? 'nonce' : 'good';
}
