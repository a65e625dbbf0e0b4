// Does every operation with openapi-fetch and the types that openapi-typescript makes.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import createClient from "openapi-fetch";

import type { components, paths } from "./schema.js";

type Entry = { key: string; base64: string; json: components["schemas"]["Value"] };
type Plan = { url: string; token: string; entries: Entry[] };
const plan: Plan = JSON.parse(readFileSync(process.argv[2]!, "utf8"));
const client = createClient<paths>({
  baseUrl: plan.url,
  headers: { Authorization: `Bearer ${plan.token}` },
  // Each member of an object is a parameter of its own, as the document says.
  querySerializer: { object: { style: "form", explode: true } },
});
const at = (key: string) => ({ path: { key } });

assert.equal((await client.GET("/health/live")).data?.status, "ok");
assert.equal((await client.HEAD("/health/live")).response.status, 200);
assert.equal((await client.GET("/health/ready")).data?.status, "ok");
assert.equal((await client.HEAD("/health/ready")).response.status, 200);

assert.deepEqual((await client.GET("/token")).data?.scopes, ["read", "write", "delete"]);
assert.equal((await client.HEAD("/token")).response.status, 200);

const pairs = { expire_in: 60, query_pairs: { world: "two" } };
const stored = await client.PUT("/keys", { params: { query: pairs }, body: { word: "one" } });
assert.equal(stored.data?.stored, 2);
const query = { filter: "wor$" };
assert.deepEqual((await client.GET("/keys", { params: { query } })).data, { word: "one", world: "two" });
const names = await client.GET("/keys", { params: { query: { filter: "wo$d", values: false } } });
assert.deepEqual(names.data, { word: null, world: null });
assert.equal((await client.HEAD("/keys", { params: { query } })).response.headers.get("Total-Count"), "2");

const counter = { params: at("counter") };
const counted = await client.PATCH("/keys/{key}", { ...counter, body: { increment: 2 ** 40 } });
assert.deepEqual(counted.data, { counter: `${2 ** 40}` });
const appended = await client.PATCH("/keys/{key}", { ...counter, body: { append: "0" } });
assert.deepEqual(appended.data, { counter: `${2 ** 40}0` });
const expiring = await client.PATCH("/keys/{key}", { params: at("word"), body: { expire_in: 30 } });
assert.deepEqual(expiring.data, { word: "one" });

const bytes = { params: at("bytes"), parseAs: "arrayBuffer" } as const;
const base64 = (data?: unknown) => Buffer.from((data ?? []) as ArrayBuffer).toString("base64");
const raw = { body: Buffer.from([255]) as unknown as string, bodySerializer: (body: unknown) => body as BodyInit };
assert.equal((await client.PUT("/values/{key}", { params: at("bytes"), ...raw })).data?.stored, 1);
assert.equal(base64((await client.PATCH("/values/{key}", { ...bytes, body: { append: "0" } })).data), "/zA=");
assert.equal(base64((await client.GET("/values/{key}", bytes)).data), "/zA=");
const checked = await client.HEAD("/values/{key}", { params: at("bytes") });
assert.equal(checked.response.headers.get("Content-Length"), "2");
assert.equal((await client.DELETE("/values/{key}", { params: at("bytes") })).data?.deleted, 1);

const tag = (await client.GET("/keys/{key}", { params: at("word") })).response.headers.get("ETag");
const outcome = await client.POST("/keys", {
  body: {
    if: { word: tag, world: "*", lock: null },
    get: ["word", "nothing"],
    put: { lock: "mine" },
    delete: ["world"],
    expire_in: 30,
  },
});
assert.deepEqual(outcome.data, { values: { word: "one", nothing: null }, stored: 1, deleted: 1 });

// A body is JSON if not said otherwise; the type of `format: binary` is a string, whatever is sent.
const put = (key: string, value: Uint8Array, header = {}) =>
  client.PUT("/keys/{key}", {
    params: { ...at(key), header },
    headers: { "Content-Type": "application/octet-stream" },
    body: value as unknown as string,
    bodySerializer: (body) => body,
  });
assert.equal((await put("word", Buffer.from("three"), { "If-None-Match": "*" })).error?.code, "precondition_failed");
assert.equal((await client.GET("/keys/{key}", { params: at("nothing") })).error?.code, "key_not_found");

assert.equal((await client.DELETE("/keys/{key}", { params: at("lock") })).data?.deleted, 1);
assert.equal((await client.DELETE("/keys", { params: { query } })).data?.deleted, 1);
assert.equal((await client.DELETE("/keys")).data?.deleted, 1);

for (const { key, base64, json } of plan.entries) {
  assert.equal((await put(key, Buffer.from(base64, "base64"))).data?.stored, 1, key);
  assert.equal((await client.HEAD("/keys/{key}", { params: at(key) })).response.status, 200, key);
  assert.deepEqual((await client.GET("/keys/{key}", { params: at(key) })).data, { [key]: json });
  const headers = { Accept: "application/octet-stream" };
  const bytes = await client.GET("/keys/{key}", { params: at(key), headers, parseAs: "arrayBuffer" });
  // Without a body there are no data.
  assert.equal(Buffer.from(bytes.data ?? new ArrayBuffer(0)).toString("base64"), base64);
  assert.equal((await client.PUT("/keys", { body: { [key]: json } })).data?.stored, 1, key);
}
