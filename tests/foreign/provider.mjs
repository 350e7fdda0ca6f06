// npm's oidc-provider as it comes, for `make bench WHAT=token`: client_credentials by
// private_key_jwt and introspection, with its own adapter in memory. Reads one JSON object from
// stdin (port, certificate, key, clients), prints one line when it listens.
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import Provider from "oidc-provider";

const given = JSON.parse(readFileSync(0, "utf8"));
const issuer = `https://localhost:${given.port}`;
const provider = new Provider(issuer, {
  clients: given.clients.map(({ id, jwk }) => ({
    client_id: id,
    grant_types: ["client_credentials"],
    redirect_uris: [],
    response_types: [],
    scope: "devices:read",
    token_endpoint_auth_method: "private_key_jwt",
    token_endpoint_auth_signing_alg: "ES256",
    jwks: { keys: [jwk] },
  })),
  scopes: ["devices:read"],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true },
  },
});
createServer(
  { cert: readFileSync(given.certificate), key: readFileSync(given.key) },
  provider.callback(),
).listen(given.port, "127.0.0.1", () => console.log(JSON.stringify({ issuer, pid: process.pid })));
