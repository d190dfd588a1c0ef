// What an application does with the JavaScript client, in Node and in a browser alike, against a server of which
// `docs` may be written. Gives what was seen, for the test to compare.

async function thrown(promise) {
  try {
    await promise;
  } catch (error) {
    const { name, message, code, status, pointer, requestId } = error;
    return { name, message, code, status, pointer, identified: requestId?.length > 0 };
  }
  return null;
}

export async function program({ Client, ClientError, ProblemError }, url) {
  const seen = {};
  const client = new Client(url + "/", { key: "pw_unused" });
  seen.ready = await client.ready();
  const index = await client.index("docs");
  seen.index = [index.alias, index.count, (await client.indexes()).map((each) => each.alias).sort()];
  seen.most = (await client.version()).limits.k;

  const found = await client.search("docs", { text: "volcano", k: 2, fields: ["title"] });
  seen.search = found.hits.map((hit) => [hit.id, hit.payload]);
  const [vector] = await client.embed(["volcano"], { kind: "query" });
  seen.vector = [vector instanceof Float32Array, vector.length === index.dim];
  for (const given of [vector, Array.from(vector)]) {
    const again = await client.search("docs", { vector: given, k: 2, fields: ["title"] });
    seen.sameByVector = JSON.stringify(again.hits) === JSON.stringify(found.hits);
  }
  const batch = await client.searchBatch("docs", [{ text: "espresso", k: 1 }, { id: "nobody" }]);
  seen.batch = [batch.results[0].hits[0].payload.title, batch.results[1].error.code];
  const facets = await client.facets("docs", [{ field: "words", step: 5 }], { query: { vector, k: 7 } });
  const [{ present, ranges }] = facets.facets;
  seen.facets = [facets.count, ranges.reduce((sum, one) => sum + one.count, 0) === present];
  const several = await client.searchIndexes(["docs"], { vector, k: 2, explain: true });
  seen.several = [several.merged, several.hits[0].index, several.hits[0].id, several.hits[1].explain.dense.rank];
  seen.many = (await client.embed(Array.from({ length: 300 }, (_, number) => `text ${number}`))).length;

  const bread = { id: "n/1 é", payload: { title: "Rye bread", text: "Bake rye bread in a hot oven with steam." } };
  const written = await client.put("docs", [bread, { id: "bad", payload: { words: "many" } }], { idempotencyKey: "k1" });
  const repeated = await client.put("docs", [bread, { id: "bad", payload: { words: "many" } }], { idempotencyKey: "k1" });
  seen.put = [written.written, written.failed[0].id, repeated.seq === written.seq];
  const baked = await client.search("docs", { text: "how is rye bread baked", k: 1, min_seq: written.seq });
  seen.found = baked.hits[0].id;
  seen.document = (await client.document("docs", "n/1 é", { fields: ["title"] })).payload;
  const filter = { field: "url", eq: "https://example.org/kitchen/espresso" };
  seen.counted = (await client.delete("docs", { filter, dry_run: true })).deleted;
  seen.deleted = (await client.delete("docs", { ids: ["n/1 é", "nobody"] })).deleted;
  seen.gone = (await thrown(client.document("docs", "n/1 é"))).code;
  seen.recall = (await client.recall("docs", { queries: 10, k: 3 })).recall;
  seen.used = (await client.usage()).keys[0].key;
  seen.rebuilds = (await client.rebuilds()).length;

  seen.problem = await thrown(client.search("docs", { text: "volcano", filter: { field: "nowhere", eq: 1 } }));
  seen.switch = (await thrown(client.switch("docs", index.generation, { etag: "another" }))).code;
  const problem = await client.search("nowhere", { text: "volcano" }).catch((error) => error);
  seen.kinds = [problem instanceof ProblemError, problem instanceof ClientError, problem instanceof Error];
  seen.stranger = await thrown(new Client(`${url}/icon.svg?`).version());
  for (const wrong of [() => new Client("docs"), () => new Client(url, { key: "pw_…" })]) {
    (seen.wrong ??= []).push((await thrown(Promise.resolve().then(wrong))).name);
  }

  const aborted = new AbortController();
  const waiting = client.search("docs", { text: "volcano" }, { signal: aborted.signal });
  aborted.abort(new Error("enough"));
  seen.aborted = (await thrown(waiting)).message;
  const never = { signal: AbortSignal.abort(new Error("before")), timeoutMs: 1 };
  seen.neverSent = (await thrown(client.search("docs", { text: "volcano" }, never))).message;
  return seen;
}
