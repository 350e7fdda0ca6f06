// A browser with an authenticator that nobody of us wrote, unmodified: nid-webauthn-emulator. Reads
// one JSON object from stdin (api, origin, token, person), prints what it saw as JSON.
import { readFileSync } from "node:fs";
import emulator from "nid-webauthn-emulator";

const {
  AuthenticatorEmulator,
  PasskeysCredentialsMemoryRepository,
  default: WebAuthnEmulator,
} = emulator;
const given = JSON.parse(readFileSync(0, "utf8"));

async function ask(path, body, token) {
  const answer = await fetch(`${given.api}/v1/console/${path}`, {
    method: "POST",
    headers: {
      origin: given.origin,
      ...(body && { "content-type": "application/json" }),
      ...(token && { authorization: `Bearer ${token}` }),
    },
    body: body && JSON.stringify(body),
  });
  return { status: answer.status, ...(await answer.json()) };
}

async function cameIn(browser, begun) {
  const credential = browser.getJSON(given.origin, begun.options);
  return await ask("sign-in/passkey", { ceremony: begun.ceremony, credential });
}

function makes(browser, options) {
  try {
    browser.createJSON(given.origin, options);
    return "made";
  } catch (error) {
    return error.message;
  }
}

const seen = [];
for (const algorithm of ["ES256", "EdDSA", "RS256"]) {
  const browser = new WebAuthnEmulator(
    new AuthenticatorEmulator({
      algorithmIdentifiers: [algorithm],
      credentialsRepository: new PasskeysCredentialsMemoryRepository(),
    }),
  );
  const begun = await ask("passkeys/options", undefined, given.token);
  const credential = browser.createJSON(given.origin, begun.options);
  const made = { ceremony: begun.ceremony, name: algorithm, credential };
  const added = await ask("passkeys", made, given.token);
  const alone = await cameIn(browser, await ask("sign-in/passkey/options"));
  const second = await cameIn(browser, await ask("sign-in/second-factor/options", given.person));
  const again = await ask("passkeys/options", undefined, given.token);
  seen.push({
    algorithm,
    added: added.status,
    alone: alone.method,
    second: second.method,
    again: makes(browser, again.options),
  });
}
console.log(JSON.stringify(seen));
