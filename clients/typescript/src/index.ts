/**
 * A client for Dromos, the credential broker: the generated messages and
 * services, and what every caller of them needs besides.
 *
 * @module
 */

import { ConnectError, type Interceptor } from "@connectrpc/connect";
import { ErrorInfoSchema } from "./gen/google/rpc/error_details_pb.js";

export * from "./gen/dromos/v1/access_pb.js";
export * from "./gen/dromos/v1/audit_pb.js";
export * from "./gen/dromos/v1/connection_pb.js";
export * from "./gen/dromos/v1/key_pb.js";
export * from "./gen/dromos/v1/provider_pb.js";
export * from "./gen/dromos/v1/workspace_pb.js";

/** Sends the API key with every call; give it to a transport's interceptors. */
export function apiKey(key: string): Interceptor {
  return (next) => (request) => {
    request.header.set("authorization", `Bearer ${key}`);
    return next(request);
  };
}

/**
 * Why a call failed in one machine-readable word, for instance
 * `CONNECTION_NOT_FOUND`: the reason of the error's google.rpc.ErrorInfo in
 * the domain "dromos", if it has one.
 */
export function errorReason(error: unknown): string | undefined {
  return ConnectError.from(error)
    .findDetails(ErrorInfoSchema)
    .find((info) => info.domain === "dromos")?.reason;
}
