/**
 * The generated services against a running gateway, over gRPC and gRPC-Web.
 * `cargo xtask test` starts one and sets GATEWAY_URL and DROMOS_API_KEY.
 */

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { Code, ConnectError, createClient, type Interceptor, type Transport } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import {
  apiKey,
  Connection_Status,
  ConnectionService,
  errorReason,
  type Provider,
  ProviderService,
} from "../src/index.js";

function setting(name: string): string {
  const value = process.env[name];
  assert.ok(value, `${name} is not set: run \`cargo xtask test --suite typescript\``);
  return value;
}

const baseUrl = setting("GATEWAY_URL");
const key = setting("DROMOS_API_KEY");

type MakeTransport = (interceptors: Interceptor[]) => Transport;

const transports: Record<string, MakeTransport> = {
  grpc: (interceptors) => createGrpcTransport({ baseUrl, interceptors, defaultTimeoutMs: 20_000 }),
  "grpc-web": (interceptors) =>
    createGrpcWebTransport({ baseUrl, interceptors, defaultTimeoutMs: 20_000 }),
};

async function refusal(call: Promise<unknown>): Promise<ConnectError> {
  const error = await call.then(
    () => assert.fail("the call succeeded"),
    (error: unknown) => error,
  );
  assert.ok(error instanceof ConnectError, String(error));
  return error;
}

for (const [name, makeTransport] of Object.entries(transports)) {
  describe(name, () => {
    const transport = makeTransport([apiKey(key)]);
    const connections = createClient(ConnectionService, transport);
    const providers = createClient(ProviderService, transport);
    const providerName = `interop-ts-${name}`;
    let provider: Provider;

    before(async () => {
      provider = await providers.createProvider({
        provider: {
          name: providerName,
          displayName: "Interoperability",
          oauth2: {
            authorizationEndpoint: "https://login.example.com/authorize",
            tokenEndpoint: "https://login.example.com/token",
            clientId: "c",
            clientSecret: "made-up",
            scopes: ["read"],
          },
          strategy: { type: "oauth2" },
        },
      });
    });

    test("a created provider is listed and keeps its secret", async () => {
      assert.notEqual(provider.id, "");
      assert.equal(provider.oauth2?.clientSecret, undefined);
      const listed = await providers.listProviders({});
      assert.ok(listed.providers.some((other) => other.name === providerName));
    });

    test("a requested connection is pending", async () => {
      const requested = await connections.requestConnection({
        userId: "user-1",
        providerName,
        returnUrl: "http://127.0.0.1:9/done",
      });
      assert.match(requested.authUrl, /\/connect\//);
      assert.equal(requested.providerId, provider.id);
      assert.deepEqual(requested.scopes, ["read"]);

      const { connectionId } = requested;
      const checked = await connections.checkConnection({ connectionId });
      assert.equal(checked.connectionId, connectionId);
      assert.equal(checked.status, Connection_Status.PENDING);
    });

    test("an unknown connection is not found and says so in one word", async () => {
      const connectionId = "00000000-0000-7000-8000-000000000000";
      const error = await refusal(connections.getToken({ connectionId }));
      assert.equal(error.code, Code.NotFound);
      assert.equal(errorReason(error), "CONNECTION_NOT_FOUND");
    });

    for (const [what, interceptors] of [
      ["without a key", []],
      ["with an unknown key", [apiKey("not-a-key")]],
    ] as const) {
      test(`${what} nothing is answered`, async () => {
        const stranger = createClient(ProviderService, makeTransport([...interceptors]));
        const error = await refusal(stranger.listProviders({}));
        assert.equal(error.code, Code.Unauthenticated);
        assert.equal(errorReason(error), "UNAUTHENTICATED");
      });
    }
  });
}
