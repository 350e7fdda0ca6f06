// Clients that nobody of us wrote, unmodified: openid-client and jose. Reads one JSON object from
// stdin (issuer, client_id, client_secret or key, dpop, resource), prints what it saw as JSON.
import { readFileSync } from "node:fs";
import * as jose from "jose";
import * as oauth from "openid-client";

const given = JSON.parse(readFileSync(0, "utf8"));

async function authentication() {
  if (given.client_secret !== undefined) return oauth.ClientSecretBasic(given.client_secret);
  const key = await crypto.subtle.importKey(
    "jwk",
    given.key,
    { name: "ECDSA", namedCurve: "P-256" },
    false,
    ["sign"],
  );
  return oauth.PrivateKeyJwt({ key, kid: given.key.kid });
}

const config = await oauth.discovery(
  new URL(given.issuer),
  given.client_id,
  undefined,
  await authentication(),
  { algorithm: "oauth2" },
);
const DPoP = given.dpop
  ? oauth.getDPoPHandle(config, await oauth.randomDPoPKeyPair("ES256"))
  : undefined;

const token = await oauth.clientCredentialsGrant(config, { scope: given.scope }, { DPoP });
const keys = jose.createRemoteJWKSet(new URL(config.serverMetadata().jwks_uri));
const verified = await jose.jwtVerify(token.access_token, keys, {
  algorithms: ["ES256"],
  audience: given.audience,
  issuer: given.audience,
  typ: "at+jwt",
});

async function read() {
  const answer = await oauth.fetchProtectedResource(
    config,
    token.access_token,
    new URL(given.resource),
    "GET",
    undefined,
    undefined,
    { DPoP },
  );
  return answer.status;
}

async function refused() {
  try {
    return await read();
  } catch (error) {
    return error.status ?? error.cause?.status ?? String(error);
  }
}

const before = await oauth.tokenIntrospection(config, token.access_token);
const opened = [await read(), await read()];
await oauth.tokenRevocation(config, token.access_token);
const after = await oauth.tokenIntrospection(config, token.access_token);
const ended = await refused();
console.log(
  JSON.stringify({
    type: token.token_type,
    scope: token.scope,
    claims: verified.payload,
    before,
    opened,
    after,
    ended,
  }),
);
