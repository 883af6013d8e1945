// What the checks share: plain questions, and a way to end with one clear word.

export const url = process.env.URL;
export const total = Number(process.env.TOTAL);

export async function ask(query, variables) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/graphql-response+json' },
    body: JSON.stringify({ query, variables }),
  });
  const answer = await response.json();
  if (answer.errors) throw new Error(JSON.stringify(answer.errors));
  return answer;
}

// Every envelope behind a cursor, by pages: what a subscription must have told.
export async function pages(after, kinds) {
  const digests = [];
  for (;;) {
    const answer = await ask(
      `query ($after: String, $kinds: [PayloadKind!]) { envelopes(first: 200, after: $after, filter: { kinds: $kinds }) {
         nodes { digest } pageInfo { hasNextPage endCursor } } }`,
      { after, kinds },
    );
    const page = answer.data.envelopes;
    digests.push(...page.nodes.map((node) => node.digest));
    if (!page.pageInfo.hasNextPage) return digests;
    after = page.pageInfo.endCursor;
  }
}

export async function everythingIsIndexed() {
  for (let tries = 0; tries < 600; tries += 1) {
    const answer = await ask('{ status { envelopeCount } }');
    if (Number(answer.data.status.envelopeCount) >= total) return;
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error('not everything was indexed within a minute');
}

export function same(name, got, wanted) {
  const at = wanted.findIndex((item, nth) => item !== got[nth]);
  if (at >= 0 || got.length !== wanted.length) {
    throw new Error(`${name}: ${got.length} came, ${wanted.length} should have; the first difference is at ${at}`);
  }
  console.log(`ok ${name}: ${got.length}`);
}

export function check(name, holds, what) {
  if (!holds) throw new Error(`${name}: ${typeof what === 'string' ? what : JSON.stringify(what)}`);
  console.log(`ok ${name}`);
}
