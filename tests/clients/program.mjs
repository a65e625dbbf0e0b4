// Does every operation with swagger-js, which reads the document when it runs.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import SwaggerClient from "swagger-client";

const plan = JSON.parse(readFileSync(process.argv[2], "utf8"));
const { apis } = await SwaggerClient({
  url: `${plan.url}/swagger.json`,
  authorizations: { token: `Bearer ${plan.token}` },
});
const { health, keys, token } = apis;

assert.equal((await health.check_live()).body.status, "ok");
assert.equal((await health.is_live()).status, 200);
assert.equal((await health.check_ready()).body.status, "ok");
assert.equal((await health.is_ready()).status, 200);

assert.deepEqual((await token.get_token()).body.scopes, ["read", "write", "delete"]);
assert.equal((await token.check_token()).status, 200);

const pairs = { word: "one", world: "two" };
assert.equal((await keys.store_keys({ pairs, expire_in: 60 })).body.stored, 2);
assert.deepEqual((await keys.list_keys({ filter: "wor$" })).body, pairs);
assert.deepEqual((await keys.list_keys({ filter: "wo$d", values: false })).body, { word: null, world: null });
assert.equal((await keys.count_keys({ filter: "wor$" })).headers["total-count"], "2");

const change = async (key, change) => (await keys.change_key({ key, change })).body;
assert.deepEqual(await change("counter", { increment: 2 ** 40 }), { counter: `${2 ** 40}` });
assert.deepEqual(await change("counter", { append: "0" }), { counter: `${2 ** 40}0` });
assert.deepEqual(await change("word", { expire_in: 30 }), { word: "one" });

const bytes = { key: "bytes" };
const sent = { requestContentType: "application/octet-stream" };
assert.equal((await keys.put_value({ ...bytes, value: Buffer.from([255]) }, sent)).body.stored, 1);
const shown = [await keys.change_value({ ...bytes, change: { append: "0" } }), await keys.get_value(bytes)];
for (const { data } of shown) assert.equal(Buffer.from(await data.arrayBuffer()).toString("base64"), "/zA=");
assert.equal((await keys.has_value(bytes)).status, 200);
assert.equal((await keys.delete_value(bytes)).body.deleted, 1);

const transaction = {
  if: { word: (await keys.get_key({ key: "word" })).headers.etag, world: "*", lock: null },
  get: ["word", "nothing"],
  put: { lock: "mine" },
  delete: ["world"],
  expire_in: 30,
};
const outcome = (await keys.transact({ transaction })).body;
assert.deepEqual(outcome, { values: { word: "one", nothing: null }, stored: 1, deleted: 1 });

const put = (key, value, conditions = {}) =>
  keys.put_key({ key, value, ...conditions }, { requestContentType: "application/octet-stream" });
const refusal = async (call) => (await assert.rejects(call, Error), call.catch((error) => error.response.body.code));
assert.equal(await refusal(put("word", "three", { "If-None-Match": "*" })), "precondition_failed");
assert.equal(await refusal(keys.get_key({ key: "nothing" })), "key_not_found");

const exported = await keys.list_keys({ filter: "lock" }, { responseContentType: "application/x-ndjson" });
assert.deepEqual(exported.text.split("\n").filter(Boolean).map((line) => JSON.parse(line).value ?? JSON.parse(line)), [
  "mine",
  { count: 1 },
]);

assert.equal((await keys.delete_key({ key: "lock" })).body.deleted, 1);
assert.equal((await keys.delete_keys({ filter: "wor$" })).body.deleted, 1);
assert.equal((await keys.delete_keys()).body.deleted, 1);

for (const { key, base64, json } of plan.entries) {
  assert.equal((await put(key, Buffer.from(base64, "base64"))).body.stored, 1, key);
  assert.equal((await keys.has_key({ key })).status, 200, key);
  assert.deepEqual((await keys.get_key({ key })).body, { [key]: json });
}
