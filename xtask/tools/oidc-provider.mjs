// An OpenID provider for the tests: npm's oidc-provider, which is certified,
// with PKCE required and refresh tokens that rotate; using a spent one revokes
// its grant.
//
//   node oidc-provider.mjs [PORT] [CONFIG]
//
// PORT: 0 or none takes a free one. CONFIG: JSON, from the argument or from
// OIDC_PROVIDER_CONFIG, with any of
//   clients            [{client_id, client_secret, redirect_uris, …}], RFC 7591
//   access_token_ttl   seconds (60)
//   refresh_token_ttl  seconds (3600)
//   rotate             whether refresh tokens rotate (true)
//
// Standard output: `listening ISSUER` once it serves, then one JSON object a
// line for everything that happens to grants and tokens, as
// {"event":"refresh_token.consumed","grant_id":…,"client_id":…}. No token is
// printed. Its users sign in with any name and password at the development
// pages. It ends when its standard input does.

import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

// The library's notices must not mix with the events.
console.info = console.error;
console.log = console.error;

const [port = '0', argument] = process.argv.slice(2);
const config = JSON.parse(argument ?? process.env.OIDC_PROVIDER_CONFIG ?? '{}');

const clients = config.clients ?? [
  { client_id: 'dromos', client_secret: 'made-up', redirect_uris: ['http://127.0.0.1/auth/callback'] },
];

const privateKey = (type, options) =>
  generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' });

function makeProvider(issuer) {
  return new Provider(issuer, {
    clients: clients.map((client) => ({
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'client_secret_basic',
      ...client,
    })),
    jwks: {
      keys: [
        { ...privateKey('rsa', { modulusLength: 2048 }), use: 'sig', alg: 'RS256', kid: 'rsa' },
        { ...privateKey('ec', { namedCurve: 'P-256' }), use: 'sig', alg: 'ES256', kid: 'ec' },
      ],
    },
    features: {
      devInteractions: { enabled: true },
      introspection: { enabled: true },
      revocation: { enabled: true },
    },
    pkce: { required: () => true },
    rotateRefreshToken: config.rotate ?? true,
    issueRefreshToken: async () => true,
    scopes: ['openid', 'offline_access', 'profile', 'email'],
    claims: { openid: ['sub'], email: ['email'], profile: ['name'] },
    cookies: { keys: ['made-up'] },
    ttl: {
      AccessToken: config.access_token_ttl ?? 60,
      AuthorizationCode: 60,
      Grant: 86_400,
      IdToken: 300,
      Interaction: 600,
      RefreshToken: config.refresh_token_ttl ?? 3600,
      Session: 3600,
    },
    findAccount: (_context, id) => ({
      accountId: id,
      claims: async () => ({ sub: id, name: id, email: `${id}@users.example` }),
    }),
  });
}

function print(event, fields) {
  process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);
}

function report(provider) {
  for (const kind of ['access_token', 'refresh_token', 'authorization_code']) {
    for (const what of ['saved', 'consumed', 'destroyed']) {
      const event = `${kind}.${what}`;
      provider.on(event, (token) =>
        print(event, { grant_id: token.grantId, client_id: token.clientId }),
      );
    }
  }
  provider.on('grant.revoked', (context, grantId) =>
    print('grant.revoked', { grant_id: grantId, client_id: context.oidc.client?.clientId }),
  );
  provider.on('grant.success', (context) =>
    print('grant.success', {
      grant_type: context.oidc.params.grant_type,
      client_id: context.oidc.client?.clientId,
    }),
  );
  provider.on('grant.error', (context, error) => {
    const fields = {
      grant_type: context.oidc.params?.grant_type,
      client_id: context.oidc.client?.clientId,
      error: error.error,
      error_detail: error.error_detail,
    };
    print('grant.error', fields);
    if (error.error_detail === 'refresh token already used') {
      print('refresh_token.reused', fields);
    }
  });
  provider.on('server_error', (_context, error) => console.error(error));
}

const server = createServer();
server.listen(Number(port), '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = makeProvider(issuer);
  report(provider);
  server.on('request', provider.callback());
  process.stdout.write(`listening ${issuer}\n`);
});

process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
process.stdin.on('error', () => process.exit(0));
